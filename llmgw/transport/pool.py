"""The connections to one origin.

Last in, first out: the warmest connection is lent first, and the surplus of a burst grows old
at the bottom and expires. `max_connections` is the bulkhead; beyond it calls wait in line, at
most a second, then they are told that the upstream is overloaded. Other origins never notice.

A dial belongs to the pool rather than to the call that caused it: a call that is cancelled
meanwhile leaves behind a connection for the next.
"""

from __future__ import annotations

import asyncio
from collections import deque

from llmgw.core.errors import UpstreamBroken, UpstreamError, UpstreamOverloaded
from llmgw.ports.transport import Origin
from llmgw.transport.call import HttpCall
from llmgw.transport.connection import Connection
from llmgw.transport.dial import Dialer
from llmgw.transport.proxy import HttpProxy

MAX_WAIT_S = 1.0


class Pool:
    """Connections to one origin: idle ones, lent ones, those being dialed.

    origin: the object last seen; any equal one is the same pool.
    idle: oldest first; the transport takes from the end.
    """

    __slots__ = (
        "_closed",
        "_connections",
        "_dialer",
        "_dials",
        "_emptied",
        "_idle_s",
        "_loop",
        "_max_body",
        "_open",
        "_waiting",
        "idle",
        "origin",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, dialer: Dialer, origin: Origin, *, idle_s: float, max_body: int
    ) -> None:
        self.origin = origin
        self.idle: list[Connection] = []
        self._loop = loop
        self._dialer = dialer
        self._idle_s = idle_s
        self._max_body = max_body
        self._open = 0
        self._connections: set[Connection] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self._waiting: deque[HttpCall] = deque()
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is open, being opened or waited for."""
        return not self._open and not self._waiting

    def seek(self, call: HttpCall, now: float) -> None:
        """Find a connection for a call when none is idle: dial one, or wait for one."""
        if self._open < self.origin.max_connections:
            self._open += 1
            self._dial(call)
        elif len(self._waiting) < self.origin.max_connections:
            call.waiting = True
            call.due = min(now + MAX_WAIT_S, call.ends)
            self._waiting.append(call)
        else:
            error = UpstreamOverloaded("every connection to the upstream is busy", phase="connect")
            self._loop.call_soon(call.fail, error)

    def sweep(self, now: float) -> None:
        """Close what was idle for too long; forget who no longer waits."""
        while self.idle and now - self.idle[0].since >= self._idle_s:
            self.idle[0].expire()
        if self._waiting and any(call.done for call in self._waiting):
            self._waiting = deque(call for call in self._waiting if not call.done)

    async def close(self) -> None:
        """Close every connection. Calls must have been ended before."""
        self._closed = True
        self._waiting.clear()
        for task in self._dials:
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        self.idle.clear()
        for connection in tuple(self._connections):
            connection.drop()
        # The sockets close on the loop's next turns.
        if self._connections:
            self._emptied = self._loop.create_future()
            await self._emptied

    # What connections say.

    def release(self, connection: Connection, now: float) -> None:
        connection.since = now
        if self._waiting:
            call = self._next()
            if call is not None:
                connection.carry(call, now)
                return
        self.idle.append(connection)

    def withdraw(self, connection: Connection) -> None:
        if connection in self.idle:
            self.idle.remove(connection)

    def lost(self, connection: Connection, again: HttpCall | None) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self.withdraw(connection)
        if self._emptied is not None and not self._connections:
            self._emptied.set_result(None)
        if again is not None and not self._closed:
            self._dial(again)
        else:
            self._free()

    # Dialing.

    def _dial(self, call: HttpCall) -> None:
        """Open a connection for `call`; its slot is taken already."""
        task = self._loop.create_task(self._dialed(call))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _dialed(self, call: HttpCall) -> None:
        origin = self.origin
        try:
            proxy = None if origin.proxy is None else HttpProxy(origin.proxy, origin)
            forward = proxy if origin.scheme == "http" else None

            def build() -> Connection:
                return Connection(self._loop, self, proxy=forward, max_body=self._max_body)

            connection = await self._dialer.dial(origin, build, proxy, call.request.timeouts.connect_s)
        except UpstreamError as error:
            self._free()
            call.fail(error)
            return
        except BaseException:
            self._free()
            raise
        if connection.gone or connection.wire.is_closing():
            if connection.gone:
                self._free()
            else:
                self._connections.add(connection)
            call.fail(UpstreamBroken("the upstream closed the connection before answering", phase="connect"))
            return
        self._connections.add(connection)
        if call.done:
            self.release(connection, self._loop.time())
        else:
            connection.carry(call, self._loop.time())

    def _free(self) -> None:
        """A slot is free: dial for who waits."""
        self._open -= 1
        call = self._next()
        if call is not None and not self._closed:
            self._open += 1
            self._dial(call)

    def _next(self) -> HttpCall | None:
        """The longest waiting call that still wants a connection."""
        while self._waiting:
            call = self._waiting.popleft()
            if not call.done:
                call.waiting = False
                call.due = call.ends
                return call
        return None
