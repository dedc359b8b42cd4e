"""`ports.transport.Transport` over plain sockets: HTTP/1.1, pooled, swept by one timer.

On a warm connection `send` is a dictionary look-up, a list pop and one write. Deadlines are
floats on the calls; one timer looks at all of them every 100 ms, so a timeout may come up to
that much late and never early. The timer slows to once a second when only idle connections are
left, and stops when there are none.
"""

from __future__ import annotations

import asyncio

from llmgw.core.errors import UpstreamBroken
from llmgw.ports.transport import Origin, Sink, UpstreamRequest
from llmgw.transport.call import HttpCall
from llmgw.transport.dial import Dialer
from llmgw.transport.pool import Pool

TICK_S = 0.1
SLOW_TICK_S = 1.0


class HttpTransport:
    """Sends requests over pooled HTTP/1.1 connections.

    loop: the running one when None.
    idle_s: how long a connection may lie unused; below the common 60 s of servers.
    max_body: bytes in the answer to a request that is not streamed.
    """

    __slots__ = (
        "_active",
        "_closed",
        "_dialer",
        "_fast",
        "_idle_s",
        "_loop",
        "_max_body",
        "_near",
        "_pools",
        "_timer",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        idle_s: float = 55.0,
        max_body: int = 64 * 1024 * 1024,
    ) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._idle_s = idle_s
        self._max_body = max_body
        self._dialer = Dialer(self._loop)
        self._pools: dict[Origin, Pool] = {}
        # Hashing an origin costs more than the rest of `send`: look by identity first.
        self._near: dict[int, Pool] = {}
        self._active: set[HttpCall] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._fast = False
        self._closed = False

    def send(self, request: UpstreamRequest, sink: Sink) -> HttpCall:
        origin = request.origin
        pool = self._near.get(id(origin))
        if pool is None or pool.origin is not origin:
            pool = self._pool(origin)
        now = self._loop.time()
        call = HttpCall(request, sink, self._active, now)
        if not self._fast:
            self._quicken()
        if pool.idle:
            pool.idle.pop().carry(call, now)
        elif self._closed:
            self._loop.call_soon(call.fail, UpstreamBroken("the transport is closed", phase="connect"))
        else:
            pool.seek(call, now)
        return call

    async def close(self) -> None:
        self._closed = True
        for call in tuple(self._active):
            call.fail(UpstreamBroken("the transport is closed", phase="body"))
        for pool in tuple(self._pools.values()):
            await pool.close()
        self._pools.clear()
        self._near.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _pool(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            pool = Pool(self._loop, self._dialer, origin, idle_s=self._idle_s, max_body=self._max_body)
            self._pools[origin] = pool
        else:
            self._near.pop(id(pool.origin), None)
            pool.origin = origin
        self._near[id(origin)] = pool
        return pool

    def _quicken(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fast = True
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        for call in [call for call in self._active if call.due <= now]:
            # An earlier ending of this tick may have ended it too.
            if not call.done:
                try:
                    call.overdue(now)
                except Exception as error:
                    # The others' deadlines are not to end with this one.
                    context = {"message": "a sink failed in on_error", "exception": error}
                    self._loop.call_exception_handler(context)
        for origin, pool in tuple(self._pools.items()):
            pool.sweep(now)
            if pool.empty:
                del self._pools[origin]
                self._near.pop(id(pool.origin), None)
        self._fast = bool(self._active)
        if self._closed or not self._pools:
            self._fast = False
        elif self._timer is None:
            self._timer = self._loop.call_later(TICK_S if self._fast else SLOW_TICK_S, self._tick)
