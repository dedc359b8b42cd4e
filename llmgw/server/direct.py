"""One response straight onto the client's socket: no scope, no messages, no task.

Head and body go out in one write. Stands in for uvicorn's cycle in its protocol, so that
pipelining and shutdown treat both alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from llmgw.core.operation import Endpoint
from llmgw.ports.client import Flow


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINES = {status: _status_line(status) for status in range(200, 600)}


class DirectClient:
    """ports.client.Client on a uvicorn transport.

    gone: called when the connection is lost before the response is complete.
    date: the current `date` header line.
    completed: called when the response is complete.
    linger: after the response, end only our side, so that the peer can still read it.
    """

    __slots__ = (
        "_completed",
        "_date",
        "_flow",
        "_head",
        "_transport",
        "body",
        "chunked",
        "closed",
        "disconnected",
        "endpoint",
        "fields",
        "gone",
        "keep_alive",
        "linger",
        "message_event",
        "paused",
        "peer",
        "pieces",
        "response_complete",
        "size",
        "started_at",
    )

    model: str | None = None
    """No path that comes this way names a model."""

    def __init__(
        self,
        transport: asyncio.Transport,
        endpoint: Endpoint,
        fields: dict[bytes, bytes],
        peer: str | None,
        keep_alive: bool,
        chunked: bool,
        date: Callable[[], bytes],
        completed: Callable[[], None],
        message_event: asyncio.Event,
        started_at: float,
    ) -> None:
        self._transport = transport
        self.endpoint = endpoint
        self.fields = fields
        self.peer = peer
        self.keep_alive = keep_alive
        self.chunked = chunked
        self._date = date
        self._completed = completed
        self.message_event = message_event
        self.started_at = started_at
        self.body = b""
        self.pieces: list[bytes | bytearray] | None = None
        self.size = 0
        self.linger = False
        self.closed = False
        self.disconnected = False
        self.response_complete = False
        self.paused = False
        self.gone: Callable[[], None] | None = None
        self._flow: Flow | None = None
        self._head: bytes | None = None

    def send(self, status: int, head: bytes, body: bytes) -> None:
        if self.closed:
            return
        self._transport.write(
            b"%b%b%b%bcontent-length: %d\r\n\r\n%b"
            % (
                STATUS_LINES[status],
                self._date(),
                head,
                b"" if self.keep_alive else b"connection: close\r\n",
                len(body),
                body,
            )
        )
        self._finish()

    def start(self, status: int, head: bytes) -> None:
        if self.chunked:
            framing = b"transfer-encoding: chunked\r\n"
        else:
            # HTTP/1.0 has no chunks: the end of the connection ends the body.
            framing = b""
            self.keep_alive = False
        self._head = b"%b%b%b%b%b\r\n" % (
            STATUS_LINES[status],
            self._date(),
            head,
            framing,
            b"" if self.keep_alive else b"connection: close\r\n",
        )

    def write(self, data: bytes) -> None:
        if self.closed:
            return
        if self.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        head = self._head
        if head is not None:
            self._head = None
            data = head + data
        self._transport.write(data)

    def end(self) -> None:
        if self.closed:
            return
        last = b"0\r\n\r\n" if self.chunked else b""
        if self._head is not None:
            last = self._head + last
            self._head = None
        if last:
            self._transport.write(last)
        self._finish()

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            self.response_complete = True
            self._transport.abort()

    def attach(self, flow: Flow | None) -> None:
        self._flow = flow
        if flow is not None and self.paused:
            flow.pause()

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self.paused = True
        if self._flow is not None:
            self._flow.pause()

    def resume_writing(self) -> None:
        """The socket's buffer has room again."""
        self.paused = False
        if self._flow is not None:
            self._flow.resume()

    def lost(self) -> None:
        """The connection is gone."""
        self.closed = True
        self.disconnected = True
        if not self.response_complete and self.gone is not None:
            self.gone()

    def _finish(self) -> None:
        self.closed = True
        self.response_complete = True
        if not self.keep_alive:
            if self.linger and self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()
        self._completed()
