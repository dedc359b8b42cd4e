"""The gateway by raw ASGI: the same road for what does not come the short way.

Writes are plain calls on the road and awaits in ASGI, so a pump in between sends them in
order; while it lags by more than `_HIGH_WATER` bytes, the upstream is paused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from llmgw.core.errors import GatewayError, RequestTimeout, RequestTooLarge
from llmgw.core.operation import Endpoint
from llmgw.ports.client import Flow
from llmgw.server.front_door import PACE_BYTES, PACE_S, LargeBody
from llmgw.server.gateway import Gateway
from llmgw.wire.headers import fields_of, pairs_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_HIGH_WATER = 128 * 1024
_NO_FIELDS: Mapping[bytes, bytes] = {}


class AsgiClient:
    """ports.client.Client over ASGI messages. model: as the path names it, None where it is in the body."""

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
        headers = [*pairs_of(head), (b"content-length", b"%d" % len(body))]
        self._queue({"type": "http.response.start", "status": status, "headers": headers})
        self._queue({"type": "http.response.body", "body": body})
        self.closed = True

    def start(self, status: int, head: bytes) -> None:
        if not self.closed:
            self._queue({"type": "http.response.start", "status": status, "headers": pairs_of(head)})

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
    with LargeBody(gateway.bodies) as large:
        try:
            client.body = await _body(receive, fields, gateway, large)
        except GatewayError as error:
            gateway.refuse(client, error)
            await pump
            return
        except ConnectionError:
            pump.cancel()
            return
        gateway.begin(client)
        watch = asyncio.ensure_future(_watch(receive, client))
        try:
            await pump
        finally:
            watch.cancel()


async def _body(receive: Receive, fields: dict[bytes, bytes], gateway: Gateway, large: LargeBody) -> bytes:
    limit = gateway.limits.max_body
    too_large = RequestTooLarge(f"the body is larger than {limit} bytes")
    declared = fields.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    pieces: list[bytes] = []
    size = counted = 0
    try:
        async with asyncio.timeout(gateway.limits.body_timeout_s), asyncio.timeout(PACE_S) as pace:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionResetError
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > limit:
                    raise too_large
                large.grow_to(size)
                if not message.get("more_body"):
                    return b"".join(pieces)
                if size - counted >= PACE_BYTES:
                    counted = size
                    pace.reschedule(gateway.road.loop.time() + PACE_S)
    except TimeoutError:
        raise RequestTimeout("the body did not arrive in time") from None


async def _watch(receive: Receive, client: AsgiClient) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    client.lost()
