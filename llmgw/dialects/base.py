"""What a dialect can do, whichever it is.

A dialect is read and written in both roles: requests and answers, whole and streamed, and errors.
Each is a module of functions and a decoder and an encoder of streams; the table of dialects is
`dialects.registry`.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from llmgw.core.chat import ChatAnswer, ChatRequest
from llmgw.core.errors import GatewayError
from llmgw.core.events import ChatEvent

(
    INVALID,
    AUTH,
    PERMISSION,
    NOT_FOUND,
    CONTEXT_LENGTH,
    CONTENT_FILTER,
    RATE_LIMIT,
    QUOTA,
    OVERLOADED,
    SERVER,
) = (
    "invalid_request",
    "authentication",
    "permission",
    "not_found",
    "context_length_exceeded",
    "content_filter",
    "rate_limit",
    "quota",
    "overloaded",
    "server",
)
"""Classes of upstream failures, told by status and structured code, never by message text."""


class UpstreamFailure(Struct, frozen=True):
    """An upstream's error, read. code: one of the classes; message: the provider's own words."""

    code: str
    message: str
    status: int
    param: str | None = None


class Rendered(Struct, frozen=True):
    """A request written in another dialect. dropped: tuning that it cannot say, by the client's names."""

    body: bytes
    dropped: tuple[str, ...] = ()


class StreamDecoder(Protocol):
    """Reads the bytes of a stream. One for each stream; keeps what is cut between chunks."""

    def feed(self, data: bytes) -> list[ChatEvent]:
        """The events that are whole by now. Raises ValueError for bytes that cannot be the dialect's."""

    def close(self) -> list[ChatEvent]:
        """What the end of the bytes still completes. No `Finished` unless the provider said so."""


class StreamEncoder(Protocol):
    """Writes a well-formed stream of its dialect, whatever the order and gaps of what it is fed."""

    def feed(self, event: ChatEvent) -> bytes:
        """The bytes for an event, b"" where the dialect says nothing then."""

    def fail(self, error: GatewayError) -> bytes:
        """The end of a stream that broke: the dialect's error, and no sign of success after it."""


class Dialect(Protocol):
    """One dialect's module."""

    def parse_request(self, body: bytes, model: str, stream: bool) -> ChatRequest:
        """What a client asks. model and stream: where the dialect says them outside the body.

        Raises InvalidRequest and UnsupportedOperation, naming the member in `param`.
        """

    def render_request(self, request: ChatRequest) -> Rendered:
        """What an upstream of this dialect is sent. Raises UnsupportedOperation for structure it lacks."""

    def parse_answer(self, body: bytes) -> ChatAnswer:
        """A whole answer of an upstream. Raises ValueError when it is not of the dialect's shape."""

    def render_answer(self, answer: ChatAnswer) -> bytes:
        """A whole answer to a client of this dialect."""

    def parse_failure(self, status: int, body: bytes) -> UpstreamFailure:
        """An upstream's error. Whatever the body is, never raises."""

    def decoder(self) -> StreamDecoder:
        """For the stream of an upstream."""

    def encoder(self, request: ChatRequest, model: str, include_usage: bool) -> StreamEncoder:
        """For the stream to a client. model: the public name it asked for."""
