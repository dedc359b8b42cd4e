"""The upstream HTTP client, as the engine sees it.

Callbacks rather than awaits: a chunk goes from the upstream's socket to the client's within
one turn of the event loop, with no future, task or queue between.

Contract, held by `tests/contracts/transport.py`:
- `send` never raises and never calls the sink before it returns. Then the sink hears
  `on_head` at most once, `on_chunk` any number of times after it, and exactly one of `on_end`
  and `on_error` as the last call; after `Call.cancel` it hears nothing more.
- Body bytes come de-chunked and undecoded (we ask for `identity`); 1xx heads are swallowed.
- Every failure is an `UpstreamError` of `core.errors`, with `phase`; messages carry no URL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from llmgw.core.errors import UpstreamError

Headers = list[tuple[bytes, bytes]]
"""Response headers in the order they came; names in lower case."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go: the key of a pool. Equal origins share connections.

    host: name or address, IPv6 without brackets.
    proxy: `http://[user:pass@]host:port`, or None.
    ca: path of a PEM bundle that replaces the system's, or None.
    client_cert, client_key: paths of PEM files, or None.
    allow_private: connect to loopback, private and link-local addresses.
    max_connections: the bulkhead.
    """

    scheme: str
    host: str
    port: int
    proxy: str | None = None
    ca: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    allow_private: bool = False
    max_connections: int = 10_000


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `first_byte_s` counts for streamed requests only."""

    connect_s: float = 5.0
    first_byte_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0


class UpstreamRequest(Struct):
    """One request, ready for the wire.

    head: request line and headers, each line ended by CRLF, without `content-length` and
        without the blank line; the transport adds both.
    body: whole.
    streamed: the caller asked for a stream, so `first_byte_s` applies.
    """

    origin: Origin
    head: bytes
    body: bytes
    timeouts: Timeouts
    streamed: bool = False


class Sink(Protocol):
    """Who hears the response. Called on the event loop, from the socket's own callback."""

    def on_head(self, status: int, headers: Headers, length: int | None) -> None:
        """The final response head. length: the declared body length, None if chunked or to EOF."""

    def on_chunk(self, data: bytes) -> None:
        """Some body bytes, never empty; ours to keep."""

    def on_end(self) -> None:
        """The body is complete, as its framing says."""

    def on_error(self, error: UpstreamError) -> None:
        """Nothing more will come."""


class Call(Protocol):
    """A request under way."""

    @property
    def dispatched(self) -> bool:
        """Whether any byte of the request may have reached the upstream."""

    def cancel(self) -> None:
        """Stop: close the connection unless the exchange is complete. Idempotent."""

    def pause(self) -> None:
        """Stop reading: the client is slower than the upstream."""

    def resume(self) -> None:
        """Read on."""


class Transport(Protocol):
    """Sends requests; owns its connections."""

    def send(self, request: UpstreamRequest, sink: Sink) -> Call:
        """Begin a request on a pooled or new connection."""

    async def close(self) -> None:
        """Close every connection, calls under way included."""
