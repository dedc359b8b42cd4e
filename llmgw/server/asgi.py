"""The gateway by raw ASGI: the same road for what does not come the short way.

Writes are plain calls on the road and awaits in ASGI, so a pump in between sends them in
order; while it lags by more than `_HIGH_WATER` bytes, the upstream is paused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from llmgw.core.errors import ClientGone, GatewayError
from llmgw.core.operation import Endpoint
from llmgw.ports.client import Flow
from llmgw.server.body import Message, Receive, read_body
from llmgw.server.front_door import LargeBody
from llmgw.server.gateway import Gateway
from llmgw.wire.headers import fields_of, pairs_of

Send = Callable[[Message], Awaitable[None]]

_HIGH_WATER = 128 * 1024
_NO_FIELDS: Mapping[bytes, bytes] = {}


class AsgiClient:
    """ports.client.Client over ASGI messages.

    model: as the path names it, None where it is in the body.
    unread: the client waits to be asked for its body, and was not yet.
    last: the connection is not kept.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        fields: dict[bytes, bytes],
        peer: str | None,
        started_at: float,
        model: str | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.model = model
        self.fields = fields
        self.peer = peer
        self.started_at = started_at
        self.body = b""
        self.closed = False
        self.unread = False
        self.last = False
        self.gone: Callable[[], None] | None = None
        self._flow: Flow | None = None
        self._messages: deque[Message] = deque()
        self._waiting_bytes = 0
        self._paused = False
        self._more = asyncio.Event()
        self._aborted = False

    def send(self, status: int, head: bytes, body: bytes) -> None:
        if self.closed:
            return
        headers = [*self._headers(head), (b"content-length", b"%d" % len(body))]
        self._queue({"type": "http.response.start", "status": status, "headers": headers})
        self._queue({"type": "http.response.body", "body": body})
        self.closed = True

    def start(self, status: int, head: bytes) -> None:
        if not self.closed:
            self._queue({"type": "http.response.start", "status": status, "headers": self._headers(head)})

    def write(self, data: bytes) -> None:
        if not self.closed:
            self._queue({"type": "http.response.body", "body": data, "more_body": True})

    def end(self) -> None:
        if not self.closed:
            self._queue({"type": "http.response.body", "body": b""})
            self.closed = True

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            self._aborted = True
            self._more.set()

    def attach(self, flow: Flow | None) -> None:
        self._flow = flow
        if flow is not None and self._paused:
            flow.pause()

    def lost(self) -> None:
        """The connection is gone."""
        complete = self.closed
        self.closed = True
        self._messages.clear()
        self._more.set()
        if not complete and self.gone is not None:
            self.gone()

    async def pump(self, send: Send) -> None:
        """Send what is written until the response is complete.

        Raises ConnectionAbortedError on `abort`: the server then cuts the connection.
        """
        while True:
            while self._messages:
                message = self._messages.popleft()
                self._waiting_bytes -= len(message.get("body", b""))
                await send(message)
                if self._paused and self._waiting_bytes <= _HIGH_WATER // 4:
                    self._paused = False
                    if self._flow is not None:
                        self._flow.resume()
            if self._aborted:
                raise ConnectionAbortedError("the answer was cut off")
            if self.closed:
                return
            self._more.clear()
            await self._more.wait()

    def _headers(self, head: bytes) -> list[tuple[bytes, bytes]]:
        # Whether a body follows that was not asked for is the client's to say, so nothing can follow.
        return [*pairs_of(head), (b"connection", b"close")] if self.unread or self.last else pairs_of(head)

    def _queue(self, message: Message) -> None:
        self._messages.append(message)
        self._waiting_bytes += len(message.get("body", b""))
        self._more.set()
        if not self._paused and self._waiting_bytes > _HIGH_WATER:
            self._paused = True
            if self._flow is not None:
                self._flow.pause()


async def serve(
    gateway: Gateway,
    endpoint: Endpoint,
    scope: Message,
    receive: Receive,
    send: Send,
    *,
    model: str | None = None,
    more_fields: Mapping[bytes, bytes] = _NO_FIELDS,
) -> None:
    """Answer one ASGI request to `endpoint`. more_fields: what the query said in a header's place."""
    fields = {**more_fields, **fields_of(scope["headers"])}
    peer = scope["client"][0] if scope.get("client") else None
    client = AsgiClient(endpoint, fields, peer, gateway.road.loop.time(), model)
    pump = asyncio.ensure_future(client.pump(send))
    client.last = gateway.draining or gateway.crowded
    tasks: list[asyncio.Future[Any]] = []

    async def read() -> bytes:
        body = await read_body(receive, fields.get(b"content-length", b""), gateway.limits, large)
        tasks.append(asyncio.ensure_future(_watch(receive, client)))
        return body

    async def read_when_asked() -> bytes:
        """A task's own, because the road is none and can have no timeouts."""
        reading = asyncio.ensure_future(read())
        tasks.append(reading)
        try:
            body = await reading
        except ClientGone:
            client.gone = None
            client.lost()
            raise
        client.unread = False
        return body

    with LargeBody(gateway.bodies) as large:
        try:
            if fields.get(b"expect", b"").lower() == b"100-continue":
                client.unread = True
                gateway.begin(client, read_when_asked)
            else:
                client.body = await read()
                gateway.begin(client)
            await pump
        except ClientGone:
            pump.cancel()
        except GatewayError as error:
            gateway.refuse(client, error)
            await pump
        finally:
            for task in tasks:
                task.cancel()


async def _watch(receive: Receive, client: AsgiClient) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    client.lost()
