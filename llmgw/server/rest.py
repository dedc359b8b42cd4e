"""The answers of the data plane that are not on the road: models, counts of tokens, and errors elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llmgw.core.errors import (
    GatewayError,
    InvalidCredentials,
    InvalidRequest,
    MethodNotAllowed,
    ModelNotFound,
    NotFound,
)
from llmgw.core.exchange import Exchange
from llmgw.core.facts import ModelFacts
from llmgw.core.operation import Endpoint, Operation
from llmgw.core.principal import Principal
from llmgw.core.reply import Reply
from llmgw.dialects.anthropic import ANTHROPIC as MESSAGES
from llmgw.dialects.endpoints import (
    ANTHROPIC,
    GEMINI,
    OLLAMA,
    OPENAI,
    dialect_of,
)
from llmgw.dialects.failures import error_reply
from llmgw.dialects.gemini_request import parse_count_request
from llmgw.dialects.members import read_object, text_of
from llmgw.engine.admit import admit
from llmgw.engine.body import OFF_LOOP_BYTES, open_body
from llmgw.engine.settle import blame, tell
from llmgw.policies.access import Access
from llmgw.ports.policy import Ticket
from llmgw.server.body import read_body
from llmgw.server.front_door import LargeBody
from llmgw.server.gateway import Gateway
from llmgw.server.model_shapes import (
    anthropic_list,
    gemini_model,
    ollama_details,
    ollama_model,
    openai_model,
)
from llmgw.server.prefixes import path_fields
from llmgw.tokens.estimate import estimate_request
from llmgw.wire.headers import fields_of, pairs_of

_T = TypeVar("_T")
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_MODELS = Endpoint("/v1/models", OPENAI, Operation.CHAT, "/models")
_GEMINI_MODELS = Endpoint("/v1beta/models", GEMINI, Operation.CHAT, "")
_TAGS = Endpoint("/api/tags", OLLAMA, Operation.CHAT, "")
_SHOW = Endpoint("/api/show", OLLAMA, Operation.CHAT, "")
_COUNT_TOKENS = Endpoint("/v1/messages/count_tokens", ANTHROPIC, Operation.CHAT, "")
_GEMINI_COUNT_TOKENS = Endpoint("countTokens", GEMINI, Operation.CHAT, "")
_OLLAMA_VERSION = "0.13.0"
"""The version of Ollama whose API is spoken; its clients ask, and refuse older ones."""
_ELSEWHERE = Endpoint("other", OPENAI, Operation.CHAT, "")


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
                return self._answer(ex, anthropic_list(names))
            return self._answer(ex, {"object": "list", "data": [openai_model(name) for name in names]})
        except GatewayError as error:
            return self._refuse(request, ex, error)

    async def list_gemini_models(self, request: Request) -> Response:
        """The same in Gemini's shape."""
        ex = self._exchange(request, _GEMINI_MODELS)
        try:
            names = await self._names(request, ex)
        except GatewayError as error:
            return self._refuse(request, ex, error)
        models = [gemini_model(name, self._facts(ex, name)) for name in names]
        return self._answer(ex, {"models": models})

    async def list_ollama_models(self, request: Request) -> Response:
        """The same in Ollama's shape."""
        ex = self._exchange(request, _TAGS)
        try:
            names = await self._names(request, ex)
        except GatewayError as error:
            return self._refuse(request, ex, error)
        return self._answer(ex, {"models": [ollama_model(name) for name in names]})

    async def show_ollama_version(self, request: Request) -> Response:
        """The version of Ollama's API that is spoken."""
        ex = self._exchange(request, _TAGS)
        try:
            await self._names(request, ex)
        except GatewayError as error:
            return self._refuse(request, ex, error)
        return self._answer(ex, {"version": _OLLAMA_VERSION})

    async def show_ollama_model(self, request: Request) -> Response:
        """One model in Ollama's shape. What its clients look for there is what it can do."""
        if request.method != "POST":
            error = MethodNotAllowed("models are shown by POST", headers=(("allow", "POST"),))
            return self.answer_error(request, error)
        ex = self._exchange(request, _SHOW)

        def read() -> str:
            members = read_object(ex.body)
            # Older clients say `name`.
            ex.model = name = text_of(members, "model") or text_of(members, "name")
            if not name:
                raise InvalidRequest("the body has no 'model'", param="model")
            return name

        try:
            name = await self._permitted(request, ex, read)
        except GatewayError as error:
            return self._refuse(request, ex, error)
        # A route may have another model answer to that name.
        return self._answer(ex, ollama_details(name, self._facts(ex, ex.model or name)))

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
            return self._answer(ex, openai_model(name))
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
            fields = {**key_of_query(request), **fields}
        peer = request.client.host if request.client else None
        gateway.road.meter.started()
        return gateway.exchange(endpoint, fields, b"", peer, gateway.road.loop.time())

    def _facts(self, ex: Exchange, model: str) -> ModelFacts:
        """What is known of a model that the caller, who is known, may use."""
        assert ex.principal is not None
        return self._gateway.generation.facts(ex.principal, model)

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

        def estimate() -> int:
            open_body(ex)
            parse(ex.body, ex.model or "")
            return estimate_request(ex.body)

        try:
            tokens = await self._permitted(request, ex, estimate)
        except GatewayError as error:
            return self._refuse(request, ex, error)
        response = self._answer(ex, {member: tokens})
        response.headers["x-llmgw-usage"] = "estimated"
        return response

    async def _permitted(self, request: Request, ex: Exchange, read: Callable[[], _T]) -> _T:
        """What `read` makes of the body, once it is there, for a model that the caller may use.

        Either `ex` names the model before, or `read` has it name it.
        """
        gateway = self._gateway
        tickets: list[Ticket] = []
        try:
            await self._caller(ex, tickets)
            declared = ex.fields.get(b"content-length", b"")
            with LargeBody(gateway.bodies) as large:
                ex.body = await read_body(request.receive, declared, gateway.limits, large)
                if len(ex.body) > OFF_LOOP_BYTES:
                    found = await gateway.road.loop.run_in_executor(None, read)
                else:
                    found = read()
            ex.fields.update(path_fields(request.scope))
            gateway.generation.match(ex)
            self._access.admit(ex)
        finally:
            while tickets:
                tickets.pop().settle(ex)
        return found

    def _answer(self, ex: Exchange, body: object) -> Response:
        ex.status = 200
        self._end(ex)
        response = Response(
            msgspec.json.encode(body),
            media_type="application/json",
            headers={
                "x-request-id": ex.client_request_id or ex.request_id,
                "cache-control": "private, no-store",
                "vary": "authorization",
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
        if b"expect" in ex.fields and not ex.body:
            # It may or may not send the body that it was not asked for.
            response.raw_headers.append((b"connection", b"close"))
        return response

    def _end(self, ex: Exchange) -> None:
        road = self._gateway.road
        tell(ex, road, road.loop.time())


def key_of_query(request: Request) -> dict[bytes, bytes]:
    """The key that Gemini's clients may put into the query, as the header it stands for."""
    key = request.query_params.get("key")
    return {} if key is None else {b"x-goog-api-key": key.encode("latin-1", "replace")}
