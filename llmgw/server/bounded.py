"""One client connection of uvicorn's, bounded in what it may cost and how long it may take.

uvicorn arms its only timer after an answer, so a client that sends nothing, or a byte a minute,
stays for ever; heads have no size, and a client that does not read holds what it asked for.
Here a tick each second looks at every connection, which costs a request nothing.

Facts: uvicorn's `httptools_impl.py`, 0.54.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from llmgw.core.errors import (
    GatewayError,
    HeadersTooLarge,
    InvalidRequest,
    RequestTimeout,
    UriTooLong,
)
from llmgw.ports.auth import CERTIFICATE, PROXY_CERTIFICATE
from llmgw.server.direct import DirectClient
from llmgw.server.front_door import PACE_BYTES, PACE_S, Door, holder_of, is_trusted

_WRITE_HIGH_WATER = 128 * 1024
_LINGER_S = 5.0
_FEW_HEADERS = 32
_FRAMING_BYTES = 64 * 1024
_FRAMING_SHARE = 8
"""How many times its own size a body's chunk lines may have, beyond the first so many bytes."""
_NO_HOST = b"\0"
"""What no Host header is."""


def httptools_parser(protocol: object) -> Any:  # Any: httptools comes without types
    """The parser that is used unless another one is asked for."""
    parser = httptools.HttpRequestParser(protocol)
    # What comes behind a request that says `connection: close` is ignored, not an error.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


class BoundedProtocol(HttpToolsProtocol):
    """Reads nothing itself: `server.protocol` has the parser's callbacks."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        door: Door,
        loop: asyncio.AbstractEventLoop,
        make_parser: Callable[[object], Any] = httptools_parser,
    ) -> None:
        """make_parser: has the callbacks and the methods of `httptools.HttpRequestParser`."""
        super().__init__(config=config, server_state=server_state, app_state={}, _loop=loop)
        self.door = door
        self.parser = make_parser(self)
        self.peer: str | None = None
        self.idle_since: float | None = None
        self.url = b""
        self.headers = []
        self._make_parser = make_parser
        self._event = asyncio.Event()
        self._receiving: DirectClient | None = None
        self._current: DirectClient | None = None
        self._ready: DirectClient | None = None
        # What was last given to the app. Others may wait behind it, and `cycle` is the last of those.
        self._running: Any = None
        self._refused_at: float | None = None
        self._head_since: float | None = None
        self._head_bytes = 0
        self._fed = 0
        self._holder: str | None = None
        self._admitted = False
        self._trusted = False
        self._certificate: tuple[bytes, bytes] | None = None
        self._host: bytes | None = _NO_HOST
        self._replay: bytes | None = None
        # The cycle whose body is being read, what came for it and how much of that was body.
        self._body_of: Any = None
        self._body_fed = 0
        self._body_size = 0
        # The cycle, how much of its body there was, and what came since without any more of it.
        self._beside: tuple[Any, int, int] = None, 0, 0
        # Of the door's `bodies`.
        self._held = 0
        self._pace: tuple[DirectClient, float, int] | None = None
        self._unsent = (0, 0.0)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER)
        self.peer = peer = self.client[0] if self.client else None
        self.idle_since = self.loop.time()
        self._trusted = is_trusted(peer, self.door.limits.trusted)
        tls = transport.get_extra_info("ssl_object")
        shown = None if tls is None else tls.getpeercert(True)
        if shown:
            self._certificate = PROXY_CERTIFICATE if self._trusted else CERTIFICATE, shown
        if self._trusted:
            return
        self._holder = None if peer is None else holder_of(peer)
        self._admitted = self.door.admits(self._holder)
        if not self._admitted:
            self._refused_at = self.idle_since
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiving = None
        self._body_of = None
        if self._held:
            self._give_back()
        if self._admitted:
            self.door.gone(self._holder)
        super().connection_lost(exc)
        current = self._current
        if current is not None:
            self._current = None
            current.lost()
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        while self.pipeline:
            waiting: Any = self.pipeline.pop()[0]
            if type(waiting) is DirectClient:
                waiting.closed = True
            else:
                waiting.disconnected = True
                waiting.message_event.set()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _give_back(self) -> None:
        """The request with the large body is over: nothing of it stays."""
        self.door.bodies.give(self._held)
        self._held = 0
        cycle: Any = self.cycle
        if type(cycle) is DirectClient and cycle.response_complete:
            cycle.body = b""

    def eof_received(self) -> None:
        if self._refused_at is not None:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._current is not None:
            self._current.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
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

    def _check_body(self, size: int) -> None:
        """A body that is not complete yet may not be all chunk lines and trailers."""
        self._body_fed += size
        client = self._receiving
        body = self._body_size if client is None else client.size
        cycle, before, beside = self._beside
        beside = beside + size if cycle is self._body_of and before == body else 0
        self._beside = self._body_of, body, beside
        # Lines between chunks pass, but one line that does not end, and trailers, are kept.
        if beside > _FRAMING_BYTES or self._body_fed - body > _FRAMING_BYTES + _FRAMING_SHARE * body:
            self._refuse_message(
                HeadersTooLarge("the trailers are too large")
                if self.headers
                else InvalidRequest("the body is hardly more than the lines between its chunks")
            )

    def _has_large_trailers(self) -> bool:
        """Whether the fields behind a body are over a cap; it is refused then."""
        limits = self.door.limits
        size = sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size <= limits.max_header_bytes and len(self.headers) <= limits.max_headers:
            return False
        self._refuse_message(HeadersTooLarge("the trailers are too large"))
        return True

    def _refuse_message(self, error: GatewayError) -> None:
        """Answer what cannot be read on, be it in its head or in its body."""
        if self._refused_at is not None:
            return
        client = self._receiving
        cycle = self._body_of
        if client is not None:
            self._receiving = self._body_of = None
            self._refuse(client, error)
        elif cycle is None:
            self._refuse_head(error)
        elif cycle.response_started or self.pipeline:
            self.transport.abort()
        else:
            # For the app it is as if the client had left.
            self._body_of = None
            cycle.disconnected = cycle.response_complete = True
            cycle.message_event.set()
            self._refuse_head(error)

    def _refuse_head(self, error: GatewayError) -> None:
        """Answer a head that goes too far, and take no more from this connection."""
        self._head_since = None
        self._receiving = None
        if self._refused_at is not None:
            return
        self._refused_at = self.loop.time()
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            # An answer would be written into the middle of another one.
            self.transport.abort()
            return
        path = self.url[:256].decode("latin-1").partition("?")[0]
        self.transport.write(self.door.refuse_head(path, error))
        if self.transport.can_write_eof():
            self.transport.write_eof()

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

    def check_deadlines(self, now: float) -> None:
        """Called each second: drop whoever has been silent, slow or deaf for too long."""
        limits = self.door.limits
        if self._refused_at is not None:
            if now - self._refused_at > _LINGER_S:
                self.transport.abort()
            return
        if self._is_deaf(now):
            self.transport.abort()
            return
        cycle: Any = self.cycle
        client = self._receiving
        if self.idle_since is not None:
            if self._head_since is not None and self.url:
                # The first one's time began when the connection did.
                since = self.idle_since if cycle is None else self._head_since
                if now - since > limits.header_timeout_s:
                    self._refuse_head(RequestTimeout("the headers did not arrive in time"))
            elif now - self.idle_since > (limits.header_timeout_s if cycle is None else limits.keep_alive_s):
                self.transport.close()
        elif client is not None and client is self._current and self._is_slow(client, now):
            self._refuse(client, RequestTimeout("the body did not arrive in time"))

    def _is_slow(self, client: DirectClient, now: float) -> bool:
        """Whether a body takes too long, or hardly comes at all."""
        if now - client.started_at > self.door.limits.body_timeout_s:
            return True
        pace = self._pace
        if pace is None or pace[0] is not client:
            self._pace = client, now, client.size
        elif now - pace[1] >= PACE_S:
            if client.size - pace[2] < PACE_BYTES:
                return True
            self._pace = client, now, client.size
        return False

    def _is_deaf(self, now: float) -> bool:
        """Whether what waits to be sent has not become less or more for too long."""
        unsent, since = self._unsent
        waiting = self.transport.get_write_buffer_size()
        if waiting != unsent:
            self._unsent = waiting, now
            return False
        return waiting > 0 and now - since > self.door.limits.write_idle_s

    def timeout_keep_alive_handler(self) -> None:
        """Not armed: `check_deadlines` closes idle connections."""
