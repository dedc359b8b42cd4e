"""An upstream that does as it is told, on a real socket.

    async with ScriptedUpstream() as up:
        up.script(headers(200), chunk(b"Hel"), chunk(b"lo"), hang())

Each request takes the next script; `default` answers those left over. A script runs once its
request has come whole, or after its head with `early=True`; then the connection is ready
for another request unless a step closed it. It is a proxy too: `tunnel`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

Step = Callable[["UpstreamConnection"], Awaitable[None]]

_REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 429: "Too Many Requests"}


# Steps.


def raw(data: bytes) -> Step:
    """These bytes, as they are."""

    async def step(connection: UpstreamConnection) -> None:
        await connection.write(data)

    return step


def pieces(data: bytes, size: int = 1, pause_s: float = 0.0) -> Step:
    """These bytes in pieces, a turn of the loop or `pause_s` between."""

    async def step(connection: UpstreamConnection) -> None:
        for at in range(0, len(data), size):
            await connection.write(data[at : at + size])
            await asyncio.sleep(pause_s)

    return step


def headers(status: int = 200, fields: Mapping[str, str] | None = None, *, length: int | None = None) -> Step:
    """A response head: chunked, unless `length` or the fields say otherwise."""
    return raw(head_bytes(status, fields, length=length))


def head_bytes(
    status: int = 200, fields: Mapping[str, str] | None = None, *, length: int | None = None
) -> bytes:
    rows = {"content-type": "application/json", **(fields or {})}
    if length is not None:
        rows["content-length"] = str(length)
    elif "content-length" not in rows and "transfer-encoding" not in rows:
        rows["transfer-encoding"] = "chunked"
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", *(f"{k}: {v}" for k, v in rows.items())]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


def chunk(data: bytes) -> Step:
    """One chunk of a chunked body."""
    return raw(chunk_bytes(data))


def chunk_bytes(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def end() -> Step:
    """The end of a chunked body."""
    return raw(b"0\r\n\r\n")


def json_reply(obj: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Step:
    """A whole JSON response with its length."""
    body = json.dumps(obj).encode()
    return raw(head_bytes(status, headers, length=len(body)) + body)


def sse_head(status: int = 200, fields: Mapping[str, str] | None = None) -> Step:
    """The head of an event stream, chunked."""
    return headers(status, {"content-type": "text/event-stream", **(fields or {})})


def event(data: object) -> Step:
    """One server-sent event in one chunk: text as it is, anything else as JSON."""
    text = data if isinstance(data, str) else json.dumps(data)
    return chunk(f"data: {text}\n\n".encode())


def delay(seconds: float) -> Step:
    """Wait, unless the client leaves."""

    async def step(connection: UpstreamConnection) -> None:
        try:
            await asyncio.wait_for(connection.closed.wait(), seconds)
        except TimeoutError:
            pass

    return step


def hang() -> Step:
    """Say nothing more until the client leaves."""

    async def step(connection: UpstreamConnection) -> None:
        await connection.closed.wait()

    return step


def cut() -> Step:
    """Close in order (FIN) after what was written."""

    async def step(connection: UpstreamConnection) -> None:
        connection.close()

    return step


def reset() -> Step:
    """Close with a reset (RST) after what was written."""

    async def step(connection: UpstreamConnection) -> None:
        await connection.flushed()
        # Let the client read what came before: a reset may overtake it.
        await asyncio.sleep(0.02)
        connection.reset()

    return step


def deaf() -> Step:
    """Read no more from the socket."""

    async def step(connection: UpstreamConnection) -> None:
        connection.transport.pause_reading()

    return step


def flood(piece: bytes, times: int) -> Step:
    """The same bytes many times, as fast as the client reads."""

    async def step(connection: UpstreamConnection) -> None:
        for _ in range(times):
            if connection.closed.is_set():
                return
            await connection.write(piece)

    return step


def tunnel(port: int) -> Step:
    """Answer a CONNECT and join the client to a local port until either leaves."""

    async def step(connection: UpstreamConnection) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        connection.onward = writer.write
        await connection.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        leaving = asyncio.ensure_future(connection.closed.wait())
        try:
            while True:
                reading = asyncio.ensure_future(reader.read(65536))
                await asyncio.wait([leaving, reading], return_when=asyncio.FIRST_COMPLETED)
                if not reading.done() or not (data := reading.result()):
                    reading.cancel()
                    break
                await connection.write(data)
        finally:
            leaving.cancel()
            writer.close()
            connection.close()

    return step


@dataclass(slots=True)
class ReceivedRequest:
    """A request as it came. headers: names in lower case; a repeated name keeps its last value."""

    method: str
    target: str
    headers: dict[str, str]
    head: bytes
    connection: UpstreamConnection
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class _Script:
    steps: Sequence[Step]
    early: bool = False


@dataclass(eq=False, slots=True)
class UpstreamConnection:
    """One accepted connection.

    sent: bytes handed to the socket, so a stalled number is a client that does not read.
    closed: set when the client has closed, or we have.
    """

    upstream: ScriptedUpstream
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    writable: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    buffer: bytearray = field(default_factory=bytearray)
    received: int = 0
    sent: int = 0
    closed_at: float | None = None
    onward: Callable[[bytes], object] | None = None
    _transport: asyncio.Transport | None = None

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    async def write(self, data: bytes) -> None:
        await self.writable.wait()
        if not self.closed.is_set():
            self.transport.write(data)
            self.sent += len(data)

    async def flushed(self) -> None:
        while not self.closed.is_set() and self.transport.get_write_buffer_size():
            await asyncio.sleep(0.001)

    def close(self) -> None:
        self.transport.close()
        self.gone()

    def reset(self) -> None:
        sock = cast("socket.socket | None", self.transport.get_extra_info("socket"))
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
        self.gone()

    def gone(self) -> None:
        if not self.closed.is_set():
            self.closed_at = asyncio.get_running_loop().time()
        self.closed.set()
        self.writable.set()
        self.arrived.set()

    async def read_head(self) -> bytes | None:
        """The next request's head with its blank line, or None when the client is gone."""
        while (at := self.buffer.find(b"\r\n\r\n")) < 0:
            if not await self._more():
                return None
        return self._take(at + 4)

    async def read(self, size: int) -> bytes | None:
        while len(self.buffer) < size:
            if not await self._more():
                return None
        return self._take(size)

    def _take(self, size: int) -> bytes:
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    async def _more(self) -> bool:
        if self.closed.is_set():
            return False
        self.arrived.clear()
        await self.arrived.wait()
        return not self.closed.is_set()


class _Protocol(asyncio.Protocol):
    def __init__(self, upstream: ScriptedUpstream) -> None:
        self._connection = UpstreamConnection(upstream)
        self._connection.writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection._transport = cast("asyncio.Transport", transport)
        self._connection.upstream._accept(self._connection)

    def data_received(self, data: bytes) -> None:
        connection = self._connection
        connection.received += len(data)
        if connection.onward is not None:
            connection.onward(data)
            return
        connection.buffer += data
        connection.arrived.set()

    def pause_writing(self) -> None:
        self._connection.writable.clear()

    def resume_writing(self) -> None:
        self._connection.writable.set()

    def eof_received(self) -> None:
        self._connection.gone()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.gone()


class ScriptedUpstream:
    """The server. tls: its certificate, for an `https` one.

    requests: every request that came, in order; connections: every connection accepted.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.requests: list[ReceivedRequest] = []
        self.connections: list[UpstreamConnection] = []
        self.port = 0
        self.host = host
        self._tls = tls
        self._scripts: deque[_Script] = deque()
        self._greeting: Sequence[Step] = ()
        self._default: _Script | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._news = asyncio.Condition()

    @property
    def base_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    def script(self, *steps: Step, early: bool = False) -> None:
        """What to do for the next request that has no script yet.

        early: as soon as its head is there; begin with `deaf()` to read no more of it.
        """
        self._scripts.append(_Script(steps, early))

    def default(self, *steps: Step) -> None:
        """What to do for every request without a script of its own."""
        self._default = _Script(steps)

    def greet(self, *steps: Step) -> None:
        """What to do with every connection as soon as it is accepted."""
        self._greeting = steps

    async def received(self, count: int = 1, within_s: float = 2.0) -> bool:
        """Whether so many requests have come, in that time."""
        try:
            async with asyncio.timeout(within_s), self._news:
                await self._news.wait_for(lambda: len(self.requests) >= count)
        except TimeoutError:
            return False
        return True

    async def closed(self, within_s: float = 1.0, connection: int = -1) -> bool:
        """Whether that connection (the last one, unless told) is closed, in that time."""
        try:
            await asyncio.wait_for(self.connections[connection].closed.wait(), within_s)
        except TimeoutError:
            return False
        return True

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Protocol(self), self.host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self.connections:
            connection.transport.abort()
            connection.gone()
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        await self._server.wait_closed()

    def _accept(self, connection: UpstreamConnection) -> None:
        self.connections.append(connection)
        self._tasks.add(asyncio.ensure_future(self._serve(connection)))

    async def _serve(self, connection: UpstreamConnection) -> None:
        for step in self._greeting:
            await step(connection)
        while (head := await connection.read_head()) is not None:
            request = _parse_head(head, connection)
            length = int(request.headers.get("content-length", "0"))
            script = self._scripts.popleft() if self._scripts else self._default
            if script is None:
                script = _Script([json_reply({"error": "no script"}, 500)])
            early = script.early
            if not early:
                body = await connection.read(length)
                if body is None:
                    return
                request.body = body
            self.requests.append(request)
            async with self._news:
                self._news.notify_all()
            for step in script.steps:
                if connection.closed.is_set():
                    return
                await step(connection)
            if early:
                if connection.closed.is_set():
                    return
                request.body = await connection.read(length) or b""


def _parse_head(head: bytes, connection: UpstreamConnection) -> ReceivedRequest:
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    rows = (line.partition(":") for line in lines)
    fields = {name.lower(): value.strip() for name, _, value in rows}
    return ReceivedRequest(method, target, fields, head, connection)
