"""A request whose target speaks another dialect than the client, or the same one elsewhere."""

from __future__ import annotations

import re
from functools import partial

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
from llmgw.core.operation import Endpoint, Operation
from llmgw.core.target import Target
from llmgw.core.usage import Usage
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
from llmgw.dialects.opened import OpenedTap, is_opened
from llmgw.dialects.registry import client_dialect, is_translated, target_dialect, target_failure
from llmgw.dialects.taps import StreamedTap, stream_tap
from llmgw.dialects.translation import TranslatedBody, TranslatedStream
from llmgw.dialects.whole import WholeTranslation, counted_by_head, is_whole, whole_dialect
from llmgw.engine.convert import with_members
from llmgw.engine.plan import Lane
from llmgw.ports.transport import Headers
from llmgw.wire.envelope import Envelope

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_.\[\]-]")
_MAX_NAME = 64
_MAX_NAMES = 32
_TRANSLATED = frozenset({Operation.CHAT, Operation.EMBEDDINGS, Operation.RERANK})
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
        self._client: Dialect = client_dialect(ex.endpoint, ex.fields.get(b"user-agent", b""))
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
        self.head = _dropped_head(rendered.dropped)
        members = self.endpoint.members
        return with_members(Envelope(rendered.body), members) if members else rendered.body

    def stream(self) -> TranslatedStream:
        """What carries the target's stream to the client."""
        return TranslatedStream(self._upstream, self._client, self._request, self._model, self._include_usage)

    def whole(self, body: bytes) -> TranslatedBody:
        """The target's whole answer as the client's. Raises UpstreamMalformed."""
        try:
            return TranslatedBody(body, self._upstream, self._client, self._model, self._request)
        except ValueError as error:
            raise _malformed(error) from None

    def read_failure(self, status: int, body: bytes) -> UpstreamFailure:
        """The target's error, read."""
        return self._upstream.parse_failure(status, body)


class WholeCrossing:
    """The same for what is answered whole: embeddings and reranking."""

    __slots__ = ("_asked", "_client", "_counted", "_target", "_upstream", "dropped", "endpoint", "head")

    def __init__(self, ex: Exchange, endpoint: Endpoint, target: Target) -> None:
        """Raises InvalidRequest and UnsupportedOperation for what cannot be read."""
        self.endpoint = endpoint
        self._target = target
        self._client = whole_dialect(ex.endpoint)
        self._upstream = whole_dialect(endpoint)
        self._asked = self._client.parse_request(ex.body, ex.model or "", ex.endpoint)
        self._counted: Usage | None = None
        self.dropped: tuple[str, ...] = ()
        self.head = b""

    def body(self, ex: Exchange, lane: Lane) -> bytes:
        """The request as the target has it. Raises UnsupportedOperation for structure it lacks."""
        request = msgspec.structs.replace(self._asked, model=lane.target.model)
        rendered = self._upstream.render_request(request, lane.target.vendor)
        self.dropped = rendered.dropped
        self.head = _dropped_head(rendered.dropped)
        return rendered.body

    def hear(self, headers: Headers) -> None:
        """Take what the head of the target's answer counts."""
        self._counted = counted_by_head(self.endpoint, headers)

    def whole(self, body: bytes) -> WholeTranslation:
        """The target's answer as the client's. Raises UpstreamMalformed."""
        try:
            return WholeTranslation(body, self._upstream, self._client, self._asked, self._counted)
        except ValueError as error:
            raise _malformed(error) from None

    def read_failure(self, status: int, body: bytes) -> UpstreamFailure:
        """The target's error, read."""
        return target_failure(self.endpoint, self._target, status, body)


def own_tap(ex: Exchange) -> StreamedTap:
    """For a stream of the client's own dialect. One that lacks its opening is written anew."""
    tap = stream_tap(ex.endpoint, ex.hide_usage)
    return OpenedTap(tap, partial(_written_anew, ex)) if is_opened(ex.endpoint) else tap


def _written_anew(ex: Exchange) -> TranslatedStream | None:
    """None for a request that says more than our own form holds: its answer may too."""
    dialect = client_dialect(ex.endpoint)
    try:
        request = dialect.parse_request(ex.body, ex.model or "", True)
    except GatewayError:
        return None
    return TranslatedStream(dialect, dialect, request, ex.model or "", True)


def own_endpoint(ex: Exchange, lane: Lane) -> Endpoint | None:
    """Where a target does what is asked, should it not be served where the client asks for it."""
    operation = ex.endpoint.operation
    if operation is Operation.RESPONSES:
        operation = Operation.CHAT
    if operation not in _TRANSLATED:
        return None
    return lane.provider.own_endpoint(operation, lane.target.model, ex.streamed)


def is_alike(endpoint: Endpoint, own: Endpoint) -> bool:
    """Whether the client's bytes can go to a target's endpoint as they are."""
    return endpoint.dialect == own.dialect and endpoint.operation is own.operation


def is_crossed(endpoint: Endpoint, own: Endpoint) -> bool:
    """Whether a request for one endpoint can go to another at all."""
    return (
        is_alike(endpoint, own)
        or (is_whole(endpoint) and is_whole(own))
        or (is_translated(endpoint) and is_translated(own))
    )


def carried(ex: Exchange, own: Endpoint, lane: Lane) -> tuple[Crossing | WholeCrossing, bytes]:
    """The way to `own`, a target's endpoint of another dialect, and the request as it has it.

    Raises InvalidRequest and UnsupportedOperation.
    """
    across = WholeCrossing(ex, own, lane.target) if is_whole(own) else Crossing(ex, own, lane.target)
    return across, across.body(ex, lane)


def _dropped_head(dropped: tuple[str, ...]) -> bytes:
    if not dropped:
        return b""
    # Names of members are the caller's words.
    plain = [_NOT_PLAIN.sub("_", name)[:_MAX_NAME] for name in dropped[:_MAX_NAMES]]
    return f"x-llmgw-dropped: {', '.join(plain)}\r\n".encode()


def _malformed(error: ValueError) -> UpstreamMalformed:
    return UpstreamMalformed(
        "the provider answered with something that is not an answer", phase="body", detail=str(error)
    )


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
