"""Everything on the data plane that is not hot, as a Starlette app.

`/v1/models`, the hot paths when they come with a query, and the answers to what is not there.
Errors are in the dialect of the path, and flat off the dialects' paths; always with a request
id.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from llmgw.core.errors import (
    GatewayError,
    InvalidCredentials,
    MethodNotAllowed,
    ModelNotFound,
    NotFound,
    UnsupportedOperation,
)
from llmgw.core.exchange import Exchange
from llmgw.core.operation import Endpoint, Operation
from llmgw.core.reply import Reply
from llmgw.dialects.endpoints import ENDPOINTS, GENERATE, OPENAI, STREAM_GENERATE, dialect_of
from llmgw.dialects.failures import error_reply
from llmgw.engine.admit import admit
from llmgw.engine.settle import blame, tell
from llmgw.ports.policy import Ticket
from llmgw.server.asgi import serve
from llmgw.server.gateway import Gateway
from llmgw.wire.headers import fields_of, pairs_of

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_MODELS = Endpoint("/v1/models", OPENAI, Operation.CHAT, "/models")
_GEMINI_METHODS = {"generateContent": GENERATE, "streamGenerateContent": STREAM_GENERATE}
_ELSEWHERE = Endpoint("other", OPENAI, Operation.CHAT, "")


def build_app(gateway: Gateway) -> Starlette:
    """The app behind `gateway`'s protocol."""
    rest = Rest(gateway)
    routes = [Route(path, HotPath(gateway, endpoint)) for path, endpoint in ENDPOINTS.items()]
    gemini = GeminiPath(gateway)
    routes.append(Route("/v1beta/models", rest.list_gemini_models, methods=["GET", "HEAD"]))
    routes.append(Route("/v1beta/models/{asked:path}", gemini))
    routes.append(Route("/v1/models/{asked:path}", gemini, methods=["POST"]))
    routes.append(Route("/v1/models", rest.list_models, methods=_METHODS))
    routes.append(Route("/v1/models/{model:path}", rest.show_model, methods=_METHODS))
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    app.router.default = rest.nowhere
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
            await serve(self._gateway, self._endpoint, scope, receive, send)
            return
        error = MethodNotAllowed(f"{self._endpoint.path} takes POST", headers=(("allow", "POST"),))
        await self._rest.answer_error(Request(scope, receive), error)(scope, receive, send)


class GeminiPath:
    """`models/NAME:generateContent` and its streamed twin: the model and the method are in the path."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._rest = Rest(gateway)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        model, _, method = request.path_params["asked"].rpartition(":")
        endpoint = _GEMINI_METHODS.get(method)
        if endpoint is None or not model or scope["method"] != "POST":
            await self._rest.nowhere(scope, receive, send)
            return
        if endpoint is STREAM_GENERATE and request.query_params.get("alt") != "sse":
            error = UnsupportedOperation("streams are given as events only; ask with ?alt=sse", param="alt")
            await self._rest.answer_error(request, error)(scope, receive, send)
            return
        key = request.query_params.get("key")
        more = {} if key is None else {b"x-goog-api-key": key.encode("latin-1", "replace")}
        await serve(self._gateway, endpoint, scope, receive, send, model=model, more_fields=more)


class Rest:
    """The answers that are not on the road."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

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
        peer = request.client.host if request.client else None
        gateway.road.meter.started()
        return gateway.exchange(endpoint, fields, b"", peer, gateway.road.loop.time())

    async def _names(self, request: Request, ex: Exchange) -> list[str]:
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("models can only be read", headers=(("allow", "GET, HEAD"),))
        generation = self._gateway.generation
        tickets: list[Ticket] = []
        try:
            reply = admit(iter((*generation.front, generation.elsewhere)), ex, tickets)
            if reply is not None and not isinstance(reply, Reply):
                reply = await reply
            if reply is not None or ex.principal is None:
                raise InvalidCredentials("no API key was sent")
            return generation.models(ex.principal)
        except GatewayError as error:
            ex.error = error
            raise
        finally:
            while tickets:
                tickets.pop().settle(ex)

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
    methods = ["generateContent", "streamGenerateContent"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "llmgw"}
