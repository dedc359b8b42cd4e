"""Everything on the data plane that is not hot, as a Starlette app.

The lists of models, the counts of tokens, the hot paths when they come with a query, those whose
model stands in the path, and the answers to what is not there.
Errors are in the dialect of the path, and flat off the dialects' paths; always with a request
id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from llmgw.core.errors import (
    ClientGone,
    GatewayError,
    InvalidCredentials,
    MethodNotAllowed,
    ModelNotFound,
    NotFound,
    RequestTimeout,
    RequestTooLarge,
    UnsupportedOperation,
)
from llmgw.core.exchange import Exchange
from llmgw.core.operation import Endpoint, Operation
from llmgw.core.principal import Principal
from llmgw.core.reply import Reply
from llmgw.dialects.anthropic import ANTHROPIC as MESSAGES
from llmgw.dialects.endpoints import (
    ANTHROPIC,
    ENDPOINTS,
    GEMINI,
    GENERATE,
    OLLAMA,
    OPENAI,
    STREAM_GENERATE,
    dialect_of,
)
from llmgw.dialects.failures import error_reply
from llmgw.dialects.gemini_request import parse_count_request
from llmgw.engine.admit import admit
from llmgw.engine.body import OFF_LOOP_BYTES, open_body
from llmgw.engine.settle import blame, tell
from llmgw.policies.access import Access
from llmgw.ports.policy import Ticket
from llmgw.server.asgi import serve
from llmgw.server.gateway import Gateway
from llmgw.server.prefixes import Prefixes, path_fields
from llmgw.tokens.estimate import estimate_request
from llmgw.wire.headers import fields_of, pairs_of

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_MODELS = Endpoint("/v1/models", OPENAI, Operation.CHAT, "/models")
_GEMINI_METHODS = {"generateContent": GENERATE, "streamGenerateContent": STREAM_GENERATE}
_TAGS = Endpoint("/api/tags", OLLAMA, Operation.CHAT, "")
_COUNT_TOKENS = Endpoint("/v1/messages/count_tokens", ANTHROPIC, Operation.CHAT, "")
_GEMINI_COUNT_TOKENS = Endpoint("countTokens", GEMINI, Operation.CHAT, "")
_OLLAMA_VERSION = "0.13.0"
"""The version of Ollama whose API is spoken; its clients ask, and refuse older ones."""
_ELSEWHERE = Endpoint("other", OPENAI, Operation.CHAT, "")


def build_app(gateway: Gateway) -> Starlette:
    """The app behind `gateway`'s protocol."""
    rest = Rest(gateway)
    routes = [Route(path, HotPath(gateway, endpoint)) for path, endpoint in ENDPOINTS.items()]
    routes.append(Route("/openai/deployments/{asked:path}", DeploymentPath(gateway)))
    routes.append(Route("/api/tags", rest.list_ollama_models, methods=_METHODS))
    routes.append(Route("/api/version", rest.show_ollama_version, methods=_METHODS))
    routes.append(Route("/v1/messages/count_tokens", rest.count_messages, methods=_METHODS))
    gemini_path = GeminiPath(gateway)
    routes.append(Route("/v1beta/models", rest.list_gemini_models, methods=["GET", "HEAD"]))
    routes.append(Route("/v1beta/models/{asked:path}", gemini_path))
    routes.append(Route("/v1/models/{asked:path}", gemini_path, methods=["POST"]))
    routes.append(Route("/v1/models", rest.list_models, methods=_METHODS))
    routes.append(Route("/v1/models/{model:path}", rest.show_model, methods=_METHODS))
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    app.router.default = Prefixes(gateway, app.router, rest.nowhere)
    return app


class HotPath:
    """A hot path by ASGI."""

    def __init__(self, gateway: Gateway, endpoint: Endpoint) -> None:
        self._gateway = gateway
        self._endpoint = endpoint
        self._rest = Rest(gateway)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["raw_path"] != self._endpoint.path.encode():
            # An escaped spelling: whoever routes by path in front of us may read it otherwise.
            await self._rest.nowhere(scope, receive, send)
            return
        if scope["method"] == "POST":
            more = path_fields(scope)
            await serve(self._gateway, self._endpoint, scope, receive, send, more_fields=more)
            return
        error = MethodNotAllowed(f"{self._endpoint.path} takes POST", headers=(("allow", "POST"),))
        await self._rest.answer_error(Request(scope, receive), error)(scope, receive, send)


class GeminiPath:
    """`models/NAME:generateContent`, its streamed twin and `:countTokens`: the path says model and method."""

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
        if endpoint is STREAM_GENERATE and request.query_params.get("alt") != "sse":
            error = UnsupportedOperation("streams are given as events only; ask with ?alt=sse", param="alt")
            await self._rest.answer_error(request, error)(scope, receive, send)
            return
        more = {**path_fields(scope), **_key_of_query(request)}
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


class Rest:
    """The answers that are not on the road."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._access = Access()

    async def list_models(self, request: Request) -> Response:
        """The models that the caller's key may use, in the shape of the SDK that asks."""
        ex = self._exchange(request, _MODELS)
        try:
            names = await self._names(request, ex)
            if b"anthropic-version" in ex.fields:
                return self._answer(ex, _anthropic_list(names))
            return self._answer(ex, {"object": "list", "data": [_model(name) for name in names]})
        except GatewayError as error:
            return self._refuse(request, ex, error)

    async def list_gemini_models(self, request: Request) -> Response:
        """The same in Gemini's shape."""
        ex = self._exchange(request, _MODELS)
        try:
            names = await self._names(request, ex)
        except GatewayError as error:
            return self._refuse(request, ex, error)
        return self._answer(ex, {"models": [_gemini_model(name) for name in names]})

    async def list_ollama_models(self, request: Request) -> Response:
        """The same in Ollama's shape."""
        ex = self._exchange(request, _TAGS)
        try:
            names = await self._names(request, ex)
        except GatewayError as error:
            return self._refuse(request, ex, error)
        return self._answer(ex, {"models": [_ollama_model(name) for name in names]})

    async def show_ollama_version(self, request: Request) -> Response:
        """The version of Ollama's API that is spoken."""
        ex = self._exchange(request, _TAGS)
        try:
            await self._names(request, ex)
        except GatewayError as error:
            return self._refuse(request, ex, error)
        return self._answer(ex, {"version": _OLLAMA_VERSION})

    async def count_messages(self, request: Request) -> Response:
        """The input tokens of a Messages request, always by our own estimate, whoever the target is."""
        if request.method != "POST":
            error = MethodNotAllowed("tokens are counted by POST", headers=(("allow", "POST"),))
            return self.answer_error(request, error)
        ex = self._exchange(request, _COUNT_TOKENS)
        return await self._count(request, ex, MESSAGES.parse_count_request, "input_tokens")

    async def count_contents(self, request: Request, model: str) -> Response:
        """The same for Gemini's `countTokens`."""
        ex = self._exchange(request, _GEMINI_COUNT_TOKENS)
        ex.model = model
        return await self._count(request, ex, parse_count_request, "totalTokens")

    async def show_model(self, request: Request) -> Response:
        """One of them."""
        ex = self._exchange(request, _MODELS)
        name = request.path_params["model"]
        try:
            if name not in await self._names(request, ex):
                raise ModelNotFound(f"no model named '{name[:128]}'", param="model")
            return self._answer(ex, _model(name))
        except GatewayError as error:
            return self._refuse(request, ex, error)

    async def nowhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer to a path that is not there."""
        if scope["type"] != "http":
            return
        await self.answer_error(Request(scope, receive), NotFound("there is nothing at this path"))(
            scope, receive, send
        )

    def answer_error(self, request: Request, error: GatewayError) -> Response:
        """An error outside any request for a model; logged, counted and limited as such."""
        ex = self._exchange(request, _ELSEWHERE)
        try:
            self._gateway.generation.unproved(ex)
        except GatewayError as limited:
            error = limited
        return self._refuse(request, ex, error)

    def _exchange(self, request: Request, endpoint: Endpoint) -> Exchange:
        gateway = self._gateway
        fields = fields_of(request.headers.raw)
        if endpoint.dialect == GEMINI:
            fields = {**_key_of_query(request), **fields}
        peer = request.client.host if request.client else None
        gateway.road.meter.started()
        return gateway.exchange(endpoint, fields, b"", peer, gateway.road.loop.time())

    async def _names(self, request: Request, ex: Exchange) -> list[str]:
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("models can only be read", headers=(("allow", "GET, HEAD"),))
        generation = self._gateway.generation
        tickets: list[Ticket] = []
        try:
            return generation.models(await self._caller(ex, tickets))
        except GatewayError as error:
            ex.error = error
            raise
        finally:
            while tickets:
                tickets.pop().settle(ex)

    async def _caller(self, ex: Exchange, tickets: list[Ticket]) -> Principal:
        """Who asks, once their limits have let them. tickets: what has to be settled after."""
        generation = self._gateway.generation
        reply = admit(iter((*generation.front, generation.elsewhere)), ex, tickets)
        if reply is not None and not isinstance(reply, Reply):
            reply = await reply
        if reply is not None or ex.principal is None:
            raise InvalidCredentials("no API key was sent")
        return ex.principal

    async def _count(
        self, request: Request, ex: Exchange, parse: Callable[[bytes, str], object], member: str
    ) -> Response:
        """The estimate of a request that can be read, for a model that the caller may use."""
        gateway = self._gateway
        tickets: list[Ticket] = []
        try:
            await self._caller(ex, tickets)
            ex.body = await _body(request, gateway.limits.max_body, gateway.limits.body_timeout_s)

            def estimate() -> int:
                open_body(ex)
                parse(ex.body, ex.model or "")
                return estimate_request(ex.body)

            if len(ex.body) > OFF_LOOP_BYTES:
                tokens = await gateway.road.loop.run_in_executor(None, estimate)
            else:
                tokens = estimate()
            ex.fields.update(path_fields(request.scope))
            gateway.generation.match(ex)
            self._access.admit(ex)
        except GatewayError as error:
            return self._refuse(request, ex, error)
        finally:
            while tickets:
                tickets.pop().settle(ex)
        response = self._answer(ex, {member: tokens})
        response.headers["x-llmgw-usage"] = "estimated"
        return response

    def _answer(self, ex: Exchange, body: object) -> Response:
        ex.status = 200
        self._end(ex)
        response = Response(
            msgspec.json.encode(body),
            media_type="application/json",
            headers={
                "x-request-id": ex.client_request_id or ex.request_id,
                "cache-control": "private, no-store",
                "x-llmgw-config": ex.generation,
            },
        )
        response.raw_headers.extend(pairs_of(ex.limit_head))
        return response

    def _refuse(self, request: Request, ex: Exchange, error: GatewayError) -> Response:
        blame(ex, error)
        self._end(ex)
        dialect = None if self._gateway.generation.flat_errors else dialect_of(request.scope["path"])
        reply = error_reply(error, dialect, ex.client_request_id or ex.request_id, ex.limit_head)
        response = Response(reply.body, reply.status)
        response.raw_headers = [*pairs_of(reply.head), (b"content-length", b"%d" % len(reply.body))]
        return response

    def _end(self, ex: Exchange) -> None:
        road = self._gateway.road
        tell(ex, road, road.loop.time())


async def _body(request: Request, most: int, within_s: float) -> bytes:
    """The body of a request. Raises RequestTooLarge, RequestTimeout and ClientGone."""
    body = bytearray()
    try:
        async with asyncio.timeout(within_s):
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise RequestTooLarge(f"the body is larger than {most} bytes")
    except TimeoutError:
        raise RequestTimeout("the body did not arrive in time") from None
    except ClientDisconnect:
        raise ClientGone("the client left") from None
    return bytes(body)


def _key_of_query(request: Request) -> dict[bytes, bytes]:
    """The key that Gemini's clients may put into the query, as the header it stands for."""
    key = request.query_params.get("key")
    return {} if key is None else {b"x-goog-api-key": key.encode("latin-1", "replace")}


def _anthropic_list(names: list[str]) -> dict[str, Any]:
    return {
        "data": [
            {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
            for name in names
        ],
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }


def _gemini_model(name: str) -> dict[str, Any]:
    methods = ["generateContent", "streamGenerateContent", "countTokens"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}


def _ollama_model(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": "1970-01-01T00:00:00Z",
        "size": 0,
        "digest": "",
        "details": {
            "parent_model": "",
            "format": "",
            "family": "",
            "families": None,
            "parameter_size": "",
            "quantization_level": "",
        },
    }


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "llmgw"}
