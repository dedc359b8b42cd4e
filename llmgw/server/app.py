"""Everything on the data plane that is not hot, as a Starlette app.

The lists of models, the counts of tokens, the hot paths when they come with a query, those whose
model stands in the path, and the answers to what is not there.
Errors are in the dialect of the path, and flat off the dialects' paths; always with a request
id.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from llmgw.core.errors import (
    MethodNotAllowed,
    UnsupportedOperation,
)
from llmgw.core.operation import Endpoint
from llmgw.dialects.endpoints import (
    BATCH_EMBED_CONTENTS,
    EMBED_CONTENT,
    ENDPOINTS,
    GENERATE,
    OPENAI,
    STREAM_ARRAY,
    STREAM_GENERATE,
)
from llmgw.server.asgi import serve
from llmgw.server.gateway import Gateway
from llmgw.server.prefixes import Prefixes, path_fields
from llmgw.server.rest import METHODS, Rest, key_of_query

_GEMINI_METHODS = {
    "generateContent": GENERATE,
    "streamGenerateContent": STREAM_GENERATE,
    "embedContent": EMBED_CONTENT,
    "batchEmbedContents": BATCH_EMBED_CONTENTS,
}
_GEMINI_STREAMS = {"sse": STREAM_GENERATE, "json": STREAM_ARRAY}
"""By `alt`."""


def build_app(gateway: Gateway) -> Starlette:
    """The app behind `gateway`'s protocol."""
    rest = Rest(gateway)
    routes = [Route(path, HotPath(gateway, endpoint)) for path, endpoint in ENDPOINTS.items()]
    for path, endpoint in ENDPOINTS.items():
        if endpoint.dialect == OPENAI and path.startswith("/v1/"):
            # Azure's paths since they need no api-version: the body names the deployment.
            routes.append(Route(f"/openai{path}", HotPath(gateway, endpoint, f"/openai{path}")))
    routes.append(Route("/openai/v1/models", rest.list_models, methods=METHODS))
    routes.append(Route("/openai/deployments/{asked:path}", DeploymentPath(gateway)))
    routes.append(Route("/api/tags", rest.list_ollama_models, methods=METHODS))
    routes.append(Route("/api/show", rest.show_ollama_model, methods=METHODS))
    routes.append(Route("/api/version", rest.show_ollama_version, methods=METHODS))
    routes.append(Route("/v1/messages/count_tokens", rest.count_messages, methods=METHODS))
    gemini_path = GeminiPath(gateway)
    routes.append(Route("/v1beta/models", rest.list_gemini_models, methods=["GET", "HEAD"]))
    routes.append(Route("/v1beta/models/{asked:path}", gemini_path))
    routes.append(Route("/v1/models/{asked:path}", gemini_path, methods=["POST"]))
    routes.append(Route("/v1/models", rest.list_models, methods=METHODS))
    routes.append(Route("/v1/models/{model:path}", rest.show_model, methods=METHODS))
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    app.router.default = Prefixes(gateway, app.router, rest.nowhere)
    return app


class HotPath:
    """A hot path by ASGI. path: where it is served, if not at the endpoint's own."""

    def __init__(self, gateway: Gateway, endpoint: Endpoint, path: str | None = None) -> None:
        self._gateway = gateway
        self._endpoint = endpoint
        self._path = path or endpoint.path
        self._rest = Rest(gateway)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["raw_path"] != self._path.encode():
            # An escaped spelling: whoever routes by path in front of us may read it otherwise.
            await self._rest.nowhere(scope, receive, send)
            return
        if scope["method"] == "POST":
            more = path_fields(scope)
            await serve(self._gateway, self._endpoint, scope, receive, send, more_fields=more)
            return
        error = MethodNotAllowed(f"{self._path} takes POST", headers=(("allow", "POST"),))
        await self._rest.answer_error(Request(scope, receive), error)(scope, receive, send)


class GeminiPath:
    """`models/NAME:generateContent`, `:countTokens`, `:embedContent`...: the path says model and method."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._rest = Rest(gateway)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        model, _, method = request.path_params["asked"].rpartition(":")
        if method == "countTokens" and model and scope["method"] == "POST":
            await (await self._rest.count_contents(request, model))(scope, receive, send)
            return
        endpoint = _GEMINI_METHODS.get(method)
        if endpoint is None or not model or scope["method"] != "POST":
            await self._rest.nowhere(scope, receive, send)
            return
        if endpoint is STREAM_GENERATE:
            form = request.query_params.get("alt") or request.query_params.get("$alt") or "json"
            if form not in _GEMINI_STREAMS:
                error = UnsupportedOperation(f"'alt' is sse or json, not '{form}'", param="alt")
                await self._rest.answer_error(request, error)(scope, receive, send)
                return
            endpoint = _GEMINI_STREAMS[form]
        more = {**path_fields(scope), **key_of_query(request)}
        await serve(self._gateway, endpoint, scope, receive, send, model=model, more_fields=more)


class DeploymentPath:
    """Azure's paths, `/openai/deployments/NAME/chat/completions` and the like: the name is the model's.

    Any `api-version` is taken. The rest is OpenAI's (Azure OpenAI REST API reference).
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._rest = Rest(gateway)
        self._by_suffix = {
            endpoint.suffix: endpoint for endpoint in ENDPOINTS.values() if endpoint.dialect == OPENAI
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        endpoint, model = self._asked(request.path_params["asked"], scope["raw_path"])
        if endpoint is None or not model:
            await self._rest.nowhere(scope, receive, send)
            return
        if scope["method"] == "POST":
            more = path_fields(scope)
            await serve(self._gateway, endpoint, scope, receive, send, model=model, more_fields=more)
            return
        error = MethodNotAllowed(f"{endpoint.suffix} takes POST", headers=(("allow", "POST"),))
        await self._rest.answer_error(request, error)(scope, receive, send)

    def _asked(self, path: str, raw: bytes) -> tuple[Endpoint | None, str]:
        """The endpoint and the model. The endpoint's part must be spelled without escapes:
        whoever routes by path in front of us may read them otherwise."""
        for suffix in sorted(self._by_suffix, key=len, reverse=True):
            if path.endswith(suffix) and raw.endswith(suffix.encode()):
                return self._by_suffix[suffix], path.removesuffix(suffix)
        return None, ""
