"""h11 behind the callbacks and the methods of `httptools.HttpRequestParser`.

The protocol, and with it every rule and every answer of the front door, is the same under both
parsers. h11 on its own lets more through than llhttp: line ends without CR, folded lines, spaces
behind a chunk's size, anything as a chunk's extension, unknown methods. So each line is held to
the grammar here before h11 reads it.

Slower than httptools by far: for where its C code is not to be had or not to be trusted.

Facts: RFC 9112 sections 2.2, 3, 5 and 7.1; the methods are llhttp's.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import h11
from httptools import HttpParserError

_METHODS = tuple(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR"
    b" MKCOL MOVE NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH"
    b" SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)
_REQUEST_LINE = re.compile(rb"([A-Z-]+) +([\x21-\x7e]+) (HTTP/(?:0\.9|1\.0|1\.1|2\.0))")
_BEGUN_REQUEST_LINE = re.compile(rb"[A-Z-]+ +(?:([\x21-\x7e]*)|([\x21-\x7e]+) H?T?T?P?/?[0-9]?\.?[0-9]?)\r?")
_TARGET = re.compile(rb"/.*|\*|[A-Za-z]+://[^/?#\\]+(?:[/?].*)?")
_NAME = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIELD = re.compile(rb"(%b):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)" % _NAME)
_BEGUN_FIELD = re.compile(rb"(?:%b(?::[^\x00-\x08\x0a-\x1f\x7f]*)?)?\r?" % _NAME)
_CHUNK = re.compile(
    rb'([0-9A-Fa-f]+)((?:;%b(?:=(?:%b|"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e])*"))?)*)'
    % (_NAME, _NAME)
)
_BEGUN_CHUNK = re.compile(rb"[0-9A-Fa-f]+(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r?")
_LARGEST = 2**64
_LINE_BYTES = 1 << 20
"""More of one line is nobody's; the caps of the front door are reached long before."""
_CHUNK_LINE_BYTES = 64 * 1024
"""What a chunk's size and extensions may have: such a line is looked at whole with each piece of it."""


class Callbacks(Protocol):
    """What hears of requests, as httptools tells it."""

    def on_message_begin(self) -> None: ...

    def on_url(self, url: bytes) -> None:
        """A piece of the target, as it comes."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailers behind a body."""

    def on_headers_complete(self) -> None: ...

    def on_body(self, body: bytes) -> None: ...

    def on_message_complete(self) -> None: ...


class H11Parser:
    """Reads the requests of one connection, however they are cut into pieces."""

    def __init__(self, protocol: Any) -> None:  # Any: whatever has the callbacks
        self._told: Callbacks = protocol
        self._buffer = bytearray()
        self._conn: h11.Connection | None = None
        self._framing: _Framing | None = None
        self._head: list[bytes] = []
        self._begun = False
        self._target_told = 0
        self._request: h11.Request | None = None
        self._keep_alive = True
        self._ended = False

    def get_http_version(self) -> str:
        return "" if self._request is None else self._request.http_version.decode()

    def get_method(self) -> bytes:
        return b"" if self._request is None else self._request.method

    def should_keep_alive(self) -> bool:
        return self._keep_alive

    def should_upgrade(self) -> bool:
        """Never: h11 reads such a request as any other."""
        return False

    def feed_data(self, data: bytes) -> None:
        """Tell what the bytes complete. Raises httptools.HttpParserError."""
        if self._ended:
            return
        self._buffer += data
        try:
            while self._buffer and not self._ended:
                if not (self._read_body() if self._conn is not None else self._read_head()):
                    return
        except h11.RemoteProtocolError as error:
            raise HttpParserError(str(error)) from error

    def _read_head(self) -> bool:
        """Whether the head was complete."""
        buffer = self._buffer
        if not self._begun:
            del buffer[: len(buffer) - len(buffer.lstrip(b"\r\n"))]
            if not buffer:
                return False
            self._begun = True
            self._target_told = 0
            self._head = []
            self._told.on_message_begin()
        while True:
            line = _next_line(buffer)
            if line is None:
                self._check_begun()
                return False
            if not line and self._head:
                break
            self._take_line(line)
        self._begin_message()
        return True

    def _take_line(self, line: bytes) -> None:
        if self._head:
            if _FIELD.fullmatch(line) is None:
                raise HttpParserError("a header line is not valid")
            self._head.append(line)
            return
        found = _REQUEST_LINE.fullmatch(line)
        if found is None or found[1] not in _METHODS:
            raise HttpParserError("the request line is not valid")
        if found[1] != b"CONNECT" and _TARGET.fullmatch(found[2]) is None:
            raise HttpParserError("the request target is not valid")
        self._told.on_url(found[2][self._target_told :])
        self._head.append(b"%b %b %b" % found.groups())

    def _check_begun(self) -> None:
        """A line that is not complete must be one that can still become valid."""
        begun = bytes(self._buffer)
        if self._head:
            if _BEGUN_FIELD.fullmatch(begun) is None:
                raise HttpParserError("a header line is not valid")
            return
        method, space, _ = begun.partition(b" ")
        if not space:
            if not any(each.startswith(method) for each in _METHODS):
                raise HttpParserError("the method is not known")
            return
        found = _BEGUN_REQUEST_LINE.fullmatch(begun)
        if found is None or method not in _METHODS:
            raise HttpParserError("the request line is not valid")
        target = found[1] or found[2] or b""
        if method != b"CONNECT" and not (target[:1] in (b"", b"/", b"*") or target[:1].isalpha()):
            raise HttpParserError("the request target is not valid")
        if len(target) > self._target_told:
            self._told.on_url(target[self._target_told :])
            self._target_told = len(target)

    def _begin_message(self) -> None:
        """Let h11 read a head that is complete and well formed, and tell of it."""
        self._framing = _framing_of(self._head[1:])
        head = b"\r\n".join([*self._head, b"\r\n"])
        self._conn = conn = h11.Connection(h11.SERVER, max_incomplete_event_size=_LINE_BYTES)
        conn.receive_data(head)
        request = conn.next_event()
        assert isinstance(request, h11.Request)
        self._request = request
        says = {
            each.strip().lower()
            for name, value in request.headers
            if name == b"connection"
            for each in value.split(b",")
        }
        self._keep_alive = b"close" not in says and (request.http_version == b"1.1" or b"keep-alive" in says)
        for name, value in request.headers.raw_items():
            self._told.on_header(name, value)
        self._told.on_headers_complete()
        self._tell()

    def _read_body(self) -> bool:
        """Whether any of it was taken."""
        conn, framing = self._conn, self._framing
        assert conn is not None
        assert framing is not None
        taken, problem = framing.take(self._buffer)
        if taken:
            conn.receive_data(bytes(self._buffer[:taken]))
            del self._buffer[:taken]
            self._tell()
        if problem is not None:
            raise HttpParserError(problem)
        return taken > 0

    def _tell(self) -> None:
        assert self._conn is not None
        while True:
            event = self._conn.next_event()
            if isinstance(event, h11.Data):
                self._told.on_body(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                for name, value in event.headers.raw_items():
                    self._told.on_header(name, value)
                self._conn = None
                self._begun = False
                self._ended = not self._keep_alive
                self._told.on_message_complete()
                return
            else:
                return


class _Framing:
    """Where a body ends. length: as its head says; None for chunks."""

    def __init__(self, length: int | None) -> None:
        self._left = length or 0
        self._chunked = length is None
        self._in_trailers = False

    def take(self, buffer: bytearray) -> tuple[int, str | None]:
        """How many bytes of the buffer are this body's as far as they go, and what is wrong behind them."""
        if not self._chunked:
            taken = min(self._left, len(buffer))
            self._left -= taken
            return taken, None
        at = 0
        while at < len(buffer):
            if self._left > 2:
                # The last two are the line's end behind the chunk.
                taken = min(self._left - 2, len(buffer) - at)
                self._left -= taken
                at += taken
                continue
            if self._left:
                if buffer[at] != b"\n\r"[self._left - 1]:
                    return at, "a chunk does not end where it should"
                self._left -= 1
                at += 1
                continue
            end = buffer.find(b"\r\n", at)
            line = bytes(buffer[at:] if end < 0 else buffer[at:end])
            problem = self._problem(line, complete=end >= 0)
            if problem is not None or end < 0:
                return at, problem
            at = end + 2
            if self._in_trailers:
                if not line:
                    return at, None
            else:
                size = int(line.partition(b";")[0], 16)
                self._in_trailers = size == 0
                self._left = size + 2 if size else 0
        return at, None

    def _problem(self, line: bytes, *, complete: bool) -> str | None:
        if not self._in_trailers:
            if len(line) > _CHUNK_LINE_BYTES:
                return "a chunk's size is not valid"
            found = (_CHUNK if complete else _BEGUN_CHUNK).fullmatch(line)
            if found is None or (complete and int(found[1], 16) >= _LARGEST):
                return "a chunk's size is not valid"
            return None
        if complete and line:
            found = _FIELD.fullmatch(line)
            if found is None or found[1].lower() in (b"content-length", b"transfer-encoding"):
                return "a trailer is not valid"
            return None
        return None if complete or _BEGUN_FIELD.fullmatch(line) else "a trailer is not valid"


def _framing_of(lines: list[bytes]) -> _Framing:
    """By the fields of a head. Raises httptools.HttpParserError."""
    lengths = []
    codings = []
    for line in lines:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"content-length":
            lengths.append(value.strip(b" \t"))
        elif name == b"transfer-encoding":
            codings.append(value)
    if len(lengths) + len(codings) > 1:
        raise HttpParserError("more than one header says where the body ends")
    for length in lengths:
        digits = length.lstrip(b"0")
        if not length.isdigit() or len(digits) > 20 or int(digits or b"0") >= _LARGEST:
            raise HttpParserError("the Content-Length is not valid")
    if codings and codings[0].lstrip(b" \t").rstrip(b" ").lower() != b"chunked":
        raise HttpParserError("the Transfer-Encoding is not chunked")
    return _Framing(None if codings else int(lengths[0]) if lengths else 0)


def _next_line(buffer: bytearray) -> bytes | None:
    """The next complete line, taken out of the buffer, without its end."""
    end = buffer.find(b"\r\n")
    if end < 0:
        return None
    line = bytes(buffer[:end])
    del buffer[: end + 2]
    return line
