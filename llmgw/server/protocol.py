"""uvicorn's HTTP protocol with a short way in for the hot paths.

A POST to one of the dialects' paths goes from the parser's callbacks straight to the gateway;
everything else goes uvicorn's way to the Starlette app. Both share the parser, the keep-alive
and the pipelining of uvicorn's class.

What uvicorn leaves open and this closes: bodies have a size cap and a deadline, a repeated
`Host` or length is refused alike on every path, a parser error after a response has begun cuts
the connection instead of writing into it, and a client that stops reading is dropped.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from llmgw.core.errors import (
    GatewayError,
    HeadersTooLarge,
    RequestTimeout,
    RequestTooLarge,
    UriTooLong,
)
from llmgw.core.operation import Endpoint
from llmgw.dialects.endpoints import ENDPOINTS
from llmgw.server.direct import DirectClient
from llmgw.wire.headers import fields_of

_HOT: dict[bytes, Endpoint] = {path.encode(): endpoint for path, endpoint in ENDPOINTS.items()}
_WRITE_HIGH_WATER = 128 * 1024
_LINGER_S = 5.0
_FEW_HEADERS = 32


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """What a client's connection may cost. Bytes, and seconds."""

    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    write_idle_s: float = 30.0
    keep_alive_s: float = 75.0
    max_headers: int = 100
    max_header_bytes: int = 32 * 1024
    max_url: int = 8 * 1024
    max_body: int = 32 * 1024 * 1024
    connections_per_ip: int = 100


class Door(Protocol):
    """What the protocol hands requests to."""

    draining: bool
    limits: FrontDoor

    def begin(self, client: DirectClient) -> None:
        """A request is whole: its headers in `fields`, its body in `body`."""

    def refuse(self, client: DirectClient, error: GatewayError) -> None:
        """A request cannot be read to its end."""

    def refuse_head(self, path: str, error: GatewayError) -> bytes:
        """The response to a head that is not read to its end; it is logged and counted."""

    def date(self) -> bytes:
        """The current `date` header line."""

    def admits(self, peer: str | None) -> bool:
        """Whether one more connection from `peer` is taken; if so it is counted until `gone`."""

    def gone(self, peer: str | None) -> None:
        """A connection that was admitted has ended."""


class GatewayProtocol(HttpToolsProtocol):
    """One client connection."""

    def __init__(
        self, config: Config, server_state: ServerState, door: Door, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state={}, _loop=loop)
        self.door = door
        self.peer: str | None = None
        self.idle_since: float | None = None
        self.blocked_since: float | None = None
        self._event = asyncio.Event()
        self._receiving: DirectClient | None = None
        self._current: DirectClient | None = None
        self._ready: DirectClient | None = None
        self._refused_at: float | None = None
        self._head_since: float | None = None
        self._head_bytes = 0
        self._fed = 0
        self._admitted = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER)
        self.peer = self.client[0] if self.client else None
        self.idle_since = self.loop.time()
        self._admitted = self.door.admits(self.peer)
        if not self._admitted:
            self._refused_at = self.idle_since
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiving = None
        if self._admitted:
            self.door.gone(self.peer)
        super().connection_lost(exc)
        current = self._current
        if current is not None:
            self._current = None
            current.lost()
        while self.pipeline:
            waiting: Any = self.pipeline.pop()[0]
            if type(waiting) is DirectClient:
                waiting.closed = True
            else:
                waiting.disconnected = True
                waiting.message_event.set()

    def eof_received(self) -> None:
        if self._refused_at is not None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._refused_at is not None:
            return
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self.idle_since = None
        self._fed = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            cycle: Any = self.cycle
            if cycle is not None and not cycle.response_complete:
                # A 400 here would be written into the middle of another response.
                self.transport.abort()
                return
            self.send_400_response("Invalid HTTP request received.")
            return
        except httptools.HttpParserUpgrade:
            self._unsupported_upgrade_warning()
        if self._head_since is not None:
            self._check_head(len(data))
        ready = self._ready
        if ready is not None:
            self._ready = None
            self.door.begin(ready)

    def on_message_begin(self) -> None:
        # The scope, most of what uvicorn makes here, is not for the short way.
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._head_since = self.loop.time()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._head_since = None
        endpoint = _HOT.get(self.url)
        headers = self.headers
        if self._refused_at is not None or self._is_too_large():
            self._receiving = None
            return
        if endpoint is None or self.parser.get_method() != b"POST":
            self._receiving = None
            url = self.url
            super().on_message_begin()
            self.url = url
            self.headers.extend(headers)
            super().on_headers_complete()
            return
        fields = dict(headers)
        if len(fields) != len(headers):
            fields = fields_of(headers)
        version = self.parser.get_http_version()
        client = DirectClient(
            self.transport,
            endpoint,
            fields,
            self.peer,
            version != "1.0" and not self.door.draining and self.parser.should_keep_alive(),
            version != "1.0",
            self.door.date,
            self.on_response_complete,
            self._event,
            self.loop.time(),
        )
        self._receiving = client
        previous: Any = self.cycle
        self.cycle = client  # type: ignore[assignment]
        if previous is None or previous.response_complete:
            self._current = client
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((client, self.app))  # type: ignore[arg-type]
        length = fields.get(b"content-length")
        if length is not None and int(length) > self.door.limits.max_body:
            self._refuse(
                client, RequestTooLarge(f"the body is larger than {self.door.limits.max_body} bytes")
            )
        elif self.expect_100_continue and client is self._current:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        client = self._receiving
        if client is None:
            cycle: Any = self.cycle
            if type(cycle) is not DirectClient:
                super().on_body(body)
            return
        if client.response_complete:
            return
        client.size += len(body)
        if client.size > self.door.limits.max_body:
            self._refuse(
                client, RequestTooLarge(f"the body is larger than {self.door.limits.max_body} bytes")
            )
        elif client.pieces is not None:
            client.pieces.append(body)
        elif client.body:
            client.pieces = [client.body, body]
        else:
            client.body = body

    def on_message_complete(self) -> None:
        client = self._receiving
        if client is None:
            cycle: Any = self.cycle
            if type(cycle) is not DirectClient:
                super().on_message_complete()
            return
        self._receiving = None
        if client.response_complete:
            return
        if client.pieces is not None:
            client.body = b"".join(client.pieces)
            client.pieces = None
        if client is self._current:
            self._ready = client
        else:
            # Pipelined: whole, and waits for its turn.
            client.size = -1

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._next()
            return
        self.flow.resume_reading()
        if self._receiving is None:
            self.idle_since = self.loop.time()

    def _next(self) -> None:
        """Start what was pipelined behind the response that is complete."""
        waiting: Any
        waiting, app = self.pipeline.pop()
        self._current = waiting if type(waiting) is DirectClient else None
        if type(waiting) is not DirectClient:
            if not self.pipeline:
                self.flow.resume_reading()
            self._start_asgi_task(waiting, app)
        elif waiting.size == -1:
            # From the loop, so that a long pipeline does not nest.
            self.loop.call_soon(self._begin, waiting)
        else:
            self.flow.resume_reading()

    def _begin(self, client: DirectClient) -> None:
        if not client.closed and not self.transport.is_closing():
            self.door.begin(client)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.blocked_since = self.loop.time()
        if self._current is not None:
            self._current.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.blocked_since = None
        if self._current is not None:
            self._current.resume_writing()

    def _check_head(self, size: int) -> None:
        """A head that is not complete yet may not grow for ever."""
        limits = self.door.limits
        self._head_bytes += size
        if len(self.url) > limits.max_url:
            self._refuse_head(UriTooLong(f"the URL is longer than {limits.max_url} bytes"))
        elif self._head_bytes > limits.max_url + limits.max_header_bytes:
            self._refuse_head(HeadersTooLarge(f"the headers are larger than {limits.max_header_bytes} bytes"))

    def _is_too_large(self) -> bool:
        """Whether a complete head is over a cap; it is refused then."""
        limits = self.door.limits
        headers = self.headers
        if len(self.url) > limits.max_url:
            self._refuse_head(UriTooLong(f"the URL is longer than {limits.max_url} bytes"))
        elif len(headers) > limits.max_headers:
            self._refuse_head(HeadersTooLarge(f"there are more than {limits.max_headers} headers"))
        elif (self._head_bytes + self._fed > limits.max_header_bytes or len(headers) > _FEW_HEADERS) and sum(
            len(name) + len(value) + 4 for name, value in headers
        ) > limits.max_header_bytes:
            self._refuse_head(HeadersTooLarge(f"the headers are larger than {limits.max_header_bytes} bytes"))
        else:
            return False
        return True

    def _refuse_head(self, error: GatewayError) -> None:
        """Answer a head that goes too far, and take no more from this connection."""
        self._head_since = None
        self._receiving = None
        if self._refused_at is not None:
            return
        self._refused_at = self.loop.time()
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            self.transport.abort()
            return
        path = self.url[:256].decode("latin-1").partition("?")[0]
        self.transport.write(self.door.refuse_head(path, error))
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def check_deadlines(self, now: float) -> None:
        """Called each second: drop whoever has been silent, slow or deaf for too long."""
        door = self.door.limits
        if self._refused_at is not None:
            if now - self._refused_at > _LINGER_S:
                self.transport.abort()
        elif self._head_since is not None:
            if now - self._head_since > door.header_timeout_s:
                self._refuse_head(RequestTimeout("the headers did not arrive in time"))
        elif self.idle_since is not None:
            if now - self.idle_since > door.keep_alive_s:
                self.transport.close()
        elif self._receiving is not None:
            client = self._receiving
            if now - client.started_at > door.body_timeout_s and client is self._current:
                self._refuse(client, RequestTimeout("the body did not arrive in time"))
        elif self.blocked_since is not None and now - self.blocked_since > door.write_idle_s:
            self.transport.abort()

    def timeout_keep_alive_handler(self) -> None:
        """Not armed: `check_deadlines` closes idle connections."""

    def _refuse(self, client: DirectClient, error: GatewayError) -> None:
        """Answer before the body has come to its end, and take no more from this connection."""
        client.keep_alive = False
        client.pieces = None
        client.body = b""
        if client is not self._current:
            self.transport.abort()
            return
        # Closing with unread bytes would reset the connection, and the answer with it.
        client.linger = True
        self._refused_at = self.loop.time()
        self.door.refuse(client, error)
