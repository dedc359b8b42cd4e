"""One HTTP/1.1 connection: writes a request in one call, hears its response, and is lent again.

The parser (llhttp, in its strict mode) calls straight into this object, and this object straight
into the sink: no future, task or queue between the upstream's socket and the client's. What the
parser does not check is checked here: size and number of headers, size of the body, framing
between chunks, encodings we did not ask for, and bytes after the end of a response.

Promises:
- A connection goes back to its pool only if the whole request was written, the response ended by
  its own framing, the upstream means to keep it, and not a byte came after the end. A byte that
  arrives while nobody waits closes it, so no answer is ever taken for another's.
- A reused connection that dies at once, before the first byte of an answer, gives its call back to the
  pool, once. One that dies later may have had its request answered: that is for the caller to judge.

HEAD is not spoken: the parser could not know that its answer has no body.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

from llmgw.core.errors import UpstreamBroken, UpstreamError, UpstreamMalformed
from llmgw.ports.transport import Headers, Sink
from llmgw.transport.call import DEAF, HttpCall
from llmgw.transport.proxy import HttpProxy

MAX_HEAD = 64 * 1024
MAX_HEADERS = 200
MAX_JOINED = 64 * 1024
STALE_S = 1.0
"""Within which a connection that had been closed long before says so when it is written to."""
_UNCAPPED = 1 << 62

_BROKEN = {
    "send": "the upstream closed the connection while the request was being sent",
    "first byte": "the upstream closed the connection before answering",
    "body": "the upstream cut its answer short",
}


class Wire(Protocol):
    """What a connection writes to: a TCP transport, or TLS over one."""

    def write(self, data: bytes) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def is_closing(self) -> bool: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class Keeper(Protocol):
    """The pool, as its connections see it."""

    def release(self, connection: Connection, now: float) -> None:
        """The connection is free again."""

    def withdraw(self, connection: Connection) -> None:
        """The connection is about to close: do not lend it."""

    def lost(self, connection: Connection, again: HttpCall | None) -> None:
        """The connection is gone. again: a call to send on a fresh one."""


class Connection(asyncio.Protocol):
    """A connection of a pool; carries one call at a time.

    since: when it was last released, for expiry, or lent.
    gone: whether the socket is closed for good.
    """

    __slots__ = (
        "_call",
        "_clogged",
        "_complete",
        "_eof",
        "_feed",
        "_head",
        "_headers",
        "_heard",
        "_idle_s",
        "_informational",
        "_keep",
        "_keeper",
        "_loop",
        "_max_body",
        "_parser",
        "_proxy",
        "_room",
        "_sink",
        "_time",
        "_to_eof",
        "_used",
        "gone",
        "since",
        "wire",
    )

    wire: Wire

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        keeper: Keeper,
        *,
        proxy: HttpProxy | None = None,
        max_body: int,
    ) -> None:
        self._loop = loop
        self._time = loop.time
        self._keeper = keeper
        self._proxy = proxy
        self._max_body = max_body
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self._call: HttpCall | None = None
        self._sink: Sink = DEAF
        self._clogged = False
        self._eof = False
        self._used = False
        self.gone = False
        self.since = 0.0

    # What a call asks.

    def carry(self, call: HttpCall, now: float) -> None:
        """Write the call's request and listen for its response."""
        request = call.request
        times = request.timeouts
        self._call = call
        self._sink = call.sink
        self._headers: Headers = []
        self._heard = 0  # bytes since the last byte of body, or since the start; 0 is none at all
        self._head = self._complete = self._informational = self._to_eof = False
        self._idle_s = times.idle_s
        self.since = now
        call.carrier = self
        call.dispatched = True
        if request.streamed:
            self._room = _UNCAPPED
            due = now + times.first_byte_s
            call.due = due if due < call.ends else call.ends
        else:
            self._room = self._max_body
            call.due = call.ends
        head = request.head if self._proxy is None else self._proxy.absolute(request.head)
        body = request.body
        try:
            if len(body) <= MAX_JOINED:
                self.wire.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
            else:
                self.wire.write(b"%bcontent-length: %d\r\n\r\n" % (head, len(body)))
                self.wire.write(body)
        except RuntimeError:
            # uvloop's word for a socket that has failed; `connection_lost` is on its way and decides.
            return
        if call.paused:
            self.pause()

    @property
    def phase(self) -> str:
        if self._head:
            return "body"
        return "send" if self._clogged else "first byte"

    def drop(self) -> None:
        self._call = None
        self._sink = DEAF
        self.wire.abort()

    def pause(self) -> None:
        if not self.wire.is_closing():
            self.wire.pause_reading()

    def resume(self) -> None:
        call = self._call
        if call is not None and not self.wire.is_closing():
            self._mark(call)
            self.wire.resume_reading()

    def expire(self) -> None:
        """Close an idle connection in order."""
        self._keeper.withdraw(self)
        self.wire.close()

    # What the socket says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.wire = cast("Wire", transport)

    def data_received(self, data: bytes) -> None:
        call = self._call
        if call is None:
            self._retire()
            return
        self._heard += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            self._sink_failed(call, error)
            return
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # After the end it is the next answer that is garbage; this one was whole.
            self._keep = False
            if not self._complete:
                self._malformed("the upstream's answer is not HTTP/1.1", detail=str(error))
                return
        if self._call is not call:
            return
        if self._complete:
            self._finish(call)
        elif self._heard > MAX_HEAD:
            self._malformed(f"the upstream's answer has more than {MAX_HEAD} bytes around its body")
        elif self._head and not call.paused:
            self._mark(call)

    def pause_writing(self) -> None:
        self._clogged = True

    def resume_writing(self) -> None:
        self._clogged = False

    def eof_received(self) -> None:
        self._eof = True
        if self._call is None:
            self._keeper.withdraw(self)
        # A close would first flush what the upstream no longer reads.
        self.wire.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        call = self._call
        self._call = None
        self._sink = DEAF
        again = None
        if call is not None:
            call.carrier = None
            if self._used and not self._heard and not call.retried and self._time() - self.since < STALE_S:
                call.retried = True
                again = call
        self._keeper.lost(self, again)
        if call is None or again is not None:
            return
        if self._eof and self._to_eof and self._head:
            self._tell_end(call.leave())
            return
        phase = self.phase
        call.fail(UpstreamBroken(_BROKEN[phase], phase=phase, detail=str(exc) if exc else "end of file"))

    # What the parser says.

    def on_message_begin(self) -> None:
        if self._complete:
            # An answer nobody asked for, in the same segment as the end of ours.
            self._keep = False
            self._sink = DEAF

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._complete or self._call is None:
            return
        status = self._parser.get_status_code()
        headers = self._headers
        self._headers = []
        if len(headers) > MAX_HEADERS or (
            self._heard > MAX_HEAD and sum(len(name) + len(value) + 4 for name, value in headers) > MAX_HEAD
        ):
            self._malformed("the upstream's response head is too large")
            return
        if status < 200:
            self._informational = True
            if status < 100 or status == 101:
                self._malformed(f"the upstream answered with status {status}")
            return
        fields = dict(headers)
        length = None
        if b"content-length" in fields:
            length = int(fields[b"content-length"])
        elif b"transfer-encoding" not in fields:
            self._to_eof = True
        elif fields[b"transfer-encoding"].lower() != b"chunked":
            self._malformed("the upstream used a transfer encoding other than chunked")
            return
        if b"content-encoding" in fields and fields[b"content-encoding"].lower() != b"identity":
            self._malformed("the upstream compressed its answer though it was asked not to")
            return
        if status == 204 or status == 304:
            length = 0
            self._to_eof = False
        elif status > 599:
            self._malformed(f"the upstream answered with status {status}")
            return
        elif length is not None and length > self._room:
            self._too_large()
            return
        self._head = True
        self._sink.on_head(status, headers, length)

    def on_body(self, data: bytes) -> None:
        self._heard = 1
        self._room -= len(data)
        if self._room < 0:
            self._too_large()
        else:
            self._sink.on_chunk(data)

    def on_message_complete(self) -> None:
        if self._informational:
            self._informational = False
        elif not self._complete:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    # Endings.

    def _finish(self, call: HttpCall) -> None:
        """The response is whole: go back to the pool, then tell."""
        self._call = None
        self._sink = DEAF
        call.carrier = None
        sink = call.leave()
        if self._keep and not self.wire.get_write_buffer_size():
            if call.paused:
                self.wire.resume_reading()
            self._used = True
            self._keeper.release(self, self._time())
        else:
            self.wire.abort()
        self._tell_end(sink)

    def _tell_end(self, sink: Sink) -> None:
        try:
            sink.on_end()
        except Exception as error:
            # The connection may be another call's by now, so the loop must not close it for this.
            self._loop.call_exception_handler({"message": "a sink failed in on_end", "exception": error})

    def _mark(self, call: HttpCall) -> None:
        """Start the idle clock again."""
        if self._head:
            due = self._time() + self._idle_s
            call.due = due if due < call.ends else call.ends

    def _retire(self) -> None:
        """Bytes nobody asked for: this connection can answer nothing any more."""
        self._keeper.withdraw(self)
        self.wire.abort()

    def _too_large(self) -> None:
        self._malformed(f"the upstream's answer is larger than {self._max_body} bytes")

    def _malformed(self, message: str, *, detail: str | None = None) -> None:
        phase = "body" if self._head else "first byte"
        self._fail(UpstreamMalformed(message, phase=phase, detail=detail))

    def _sink_failed(self, call: HttpCall, error: Exception) -> None:
        cause = error.__context__ or error
        self._loop.call_exception_handler({"message": "a sink failed", "exception": cause})
        if self._call is call:
            self._fail(UpstreamBroken("the answer could not be passed on", phase="body", detail=repr(cause)))

    def _fail(self, error: UpstreamError) -> None:
        call = self._call
        if call is not None:
            call.fail(error)
