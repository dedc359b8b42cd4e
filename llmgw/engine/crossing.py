"""A request whose target speaks another dialect than the client."""

from __future__ import annotations

import re

import msgspec

from llmgw.core.chat import ChatRequest
from llmgw.core.errors import (
    GatewayError,
    InvalidRequest,
    UpstreamError,
    UpstreamLimited,
    UpstreamMalformed,
    UpstreamOverloaded,
)
from llmgw.core.exchange import Exchange
from llmgw.core.operation import Endpoint
from llmgw.core.target import Target
from llmgw.dialects.base import (
    AUTH,
    CONTENT_FILTER,
    CONTEXT_LENGTH,
    INVALID,
    NOT_FOUND,
    OVERLOADED,
    PERMISSION,
    QUOTA,
    RATE_LIMIT,
    Dialect,
    Rendered,
    UpstreamFailure,
)
from llmgw.dialects.registry import client_dialect, is_translated, target_dialect
from llmgw.dialects.translation import TranslatedBody, TranslatedStream
from llmgw.engine.plan import Lane

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_.\[\]-]")
_MAX_NAME = 64
_MAX_NAMES = 32
_CALLERS = {
    INVALID: "invalid_request",
    CONTEXT_LENGTH: "context_length_exceeded",
    CONTENT_FILTER: "content_filter",
    NOT_FOUND: "not_found",
}
"""Failures that the caller can mend, with the code it is told."""


class Crossing:
    """endpoint: where the target is asked. dropped: what its dialect cannot say, head: as a header line."""

    __slots__ = (
        "_client",
        "_include_usage",
        "_model",
        "_request",
        "_upstream",
        "dropped",
        "endpoint",
        "head",
    )

    def __init__(self, ex: Exchange, endpoint: Endpoint, target: Target) -> None:
        """Raises InvalidRequest and UnsupportedOperation for what cannot be read."""
        self.endpoint = endpoint
        self._client: Dialect = client_dialect(ex.endpoint)
        self._upstream: Dialect = target_dialect(endpoint, target)
        self._model = ex.model or ""
        self._request: ChatRequest = self._client.parse_request(ex.body, self._model, ex.streamed)
        options = ex.envelope.value("stream_options") if ex.envelope is not None else None
        self._include_usage = isinstance(options, dict) and options.get("include_usage") is True
        self.dropped: tuple[str, ...] = ()
        self.head = b""

    def body(self, ex: Exchange, lane: Lane) -> bytes:
        """The request as the target has it. Raises UnsupportedOperation for structure it lacks."""
        request = msgspec.structs.replace(self._request, model=lane.target.model)
        if ex.clamp is not None and request.max_output is None:
            request = msgspec.structs.replace(request, max_output=ex.clamp)
        rendered: Rendered = self._upstream.render_request(request)
        self.dropped = rendered.dropped
        if self.dropped:
            # Names of members are the caller's words.
            plain = [_NOT_PLAIN.sub("_", name)[:_MAX_NAME] for name in self.dropped[:_MAX_NAMES]]
            self.head = f"x-llmgw-dropped: {', '.join(plain)}\r\n".encode()
        return rendered.body

    def stream(self) -> TranslatedStream:
        """What carries the target's stream to the client."""
        return TranslatedStream(self._upstream, self._client, self._request, self._model, self._include_usage)

    def whole(self, body: bytes) -> TranslatedBody:
        """The target's whole answer as the client's. Raises UpstreamMalformed."""
        try:
            return TranslatedBody(body, self._upstream, self._client, self._model, self._request)
        except ValueError as error:
            raise UpstreamMalformed(
                "the provider answered with something that is not an answer", phase="body", detail=str(error)
            ) from None

    def read_failure(self, status: int, body: bytes) -> UpstreamFailure:
        """The target's error, read."""
        return self._upstream.parse_failure(status, body)


def crossing(ex: Exchange, lane: Lane) -> Crossing | None:
    """The way to a target of another dialect; None where there is none."""
    endpoint = lane.provider.chat_endpoint(ex.streamed)
    if endpoint is None or not is_translated(ex.endpoint) or not is_translated(endpoint):
        return None
    return Crossing(ex, endpoint, lane.target)


def error_of(failure: UpstreamFailure) -> GatewayError:
    """Whose fault an upstream's failure is, and what the caller is told of it."""
    code = _CALLERS.get(failure.code)
    if code is not None:
        return InvalidRequest(failure.message, code=code, param=failure.param)
    if failure.code in (AUTH, PERMISSION):
        # Its words may show a part of the gateway's own credential.
        return UpstreamError(
            "the provider refused the gateway's credential",
            phase="first byte",
            detail=f"status {failure.status}",
        )
    if failure.code == RATE_LIMIT:
        return UpstreamLimited(failure.message, phase="first byte")
    if failure.code == QUOTA:
        limited = UpstreamLimited(failure.message, phase="first byte")
        limited.code = "upstream_quota_exceeded"
        return limited
    if failure.code == OVERLOADED:
        return UpstreamOverloaded(failure.message, phase="first byte")
    return UpstreamError(failure.message, phase="first byte", detail=f"status {failure.status}")
