"""A small event loop whose timers are right to the tens of microseconds.

asyncio's timers, uvloop's and epoll's own timeout count in milliseconds. Added times of a tenth
of that cannot be measured with them, and pacing by them sends in bursts. Here one `select` with
a timeout in microseconds waits on an epoll descriptor, so any number of sockets costs the same.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

BATCH = 16
LONGEST_WAIT_S = 0.1


class Loop:
    """Timers and readable sockets, called in turn from one thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._stopped = False
        with contextlib.suppress(OSError):
            Path("/proc/self/timerslack_ns").write_text("1000")

    def at(self, when_ns: int, call: Callable[[], None]) -> None:
        """Call at a time of `time.monotonic_ns`."""
        heapq.heappush(self._timers, (when_ns, next(self._order), call))

    def watch(self, sock: socket.socket, call: Callable[[], None]) -> None:
        self._readers[sock.fileno()] = call
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def unwatch(self, sock: socket.socket) -> None:
        if self._readers.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._epoll.close()

    def run(self) -> None:
        """Until `stop`."""
        self._stopped = False
        epoll, timers, readers = self._epoll, self._timers, self._readers
        while not self._stopped:
            wait_s = LONGEST_WAIT_S
            for _ in range(BATCH):
                if not timers:
                    break
                left_ns = timers[0][0] - time.monotonic_ns()
                if left_ns > 0:
                    wait_s = min(wait_s, left_ns / 1e9)
                    break
                heapq.heappop(timers)[2]()
            else:
                wait_s = 0.0
            if select.select([epoll], (), (), wait_s)[0]:
                for fd, _events in epoll.poll(0, 256):
                    reader = readers.get(fd)
                    if reader is not None:
                        reader()
