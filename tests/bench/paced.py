"""Open-loop load: a request leaves at each interval whether or not the last has been answered.

A closed loop slows down with the proxy and so hides its worst moments. Here each request has its
own moment; a connection that is still waiting is left alone and another is taken. Times run from
just before the request's `send` to the read that completes its answer.
"""

from __future__ import annotations

import socket
import time
from array import array
from dataclasses import dataclass, field

import httptools

from tests.bench.loop import Loop

MOST_CONNECTIONS = 256


@dataclass(slots=True)
class Times:
    """What came back. late_ns: how late each request left, against its schedule."""

    total_ns: array[int] = field(default_factory=lambda: array("q"))
    late_ns: array[int] = field(default_factory=lambda: array("q"))
    failed: int = 0


class Connection:
    """One kept-alive connection; back in `idle` after each answer."""

    def __init__(self, loop: Loop, port: int, idle: list[Connection], times: Times) -> None:
        self._loop = loop
        self._idle = idle
        self._times = times
        self._sent_ns = 0
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.setblocking(False)
        self._parser = httptools.HttpResponseParser(self)
        loop.watch(self._sock, self._on_readable)

    def send(self, request: bytes) -> None:
        self._sent_ns = time.monotonic_ns()
        if self._sock.send(request) != len(request):
            raise RuntimeError("a paced request must fit the socket's buffer")

    def on_message_complete(self) -> None:
        self._times.total_ns.append(time.monotonic_ns() - self._sent_ns)
        self._sent_ns = 0
        if self._parser.get_status_code() != 200:
            self._times.failed += 1
        self._idle.append(self)

    def _on_readable(self) -> None:
        data = self._sock.recv(65536)
        if data:
            self._parser.feed_data(data)
            return
        if self._sent_ns:
            self._times.failed += 1
        elif self in self._idle:
            self._idle.remove(self)
        self.close()

    def close(self) -> None:
        self._loop.unwatch(self._sock)
        self._sock.close()


def run_paced(*, port: int, request: bytes, per_second: float, seconds: float, connections: int) -> Times:
    """Send evenly for a while, wait at most 2 s for the last answers, and tell the times."""
    loop, times = Loop(), Times()
    idle: list[Connection] = []
    opened = [Connection(loop, port, idle, times) for _ in range(connections)]
    idle.extend(opened)
    interval_ns = int(1e9 / per_second)
    count = int(per_second * seconds)
    start_ns = time.monotonic_ns() + 20_000_000
    sent = 0

    def send_next() -> None:
        nonlocal sent
        due_ns = start_ns + sent * interval_ns
        sent += 1
        if sent < count:
            loop.at(start_ns + sent * interval_ns, send_next)
        else:
            loop.at(time.monotonic_ns() + 50_000_000, end_when_answered)
        if not idle:
            if len(opened) == MOST_CONNECTIONS:
                times.failed += 1
                return
            opened.append(Connection(loop, port, idle, times))
            idle.append(opened[-1])
        times.late_ns.append(time.monotonic_ns() - due_ns)
        idle.pop().send(request)

    def end_when_answered() -> None:
        waited_ns = time.monotonic_ns() - start_ns - count * interval_ns
        if len(times.total_ns) + times.failed >= count or waited_ns > 2_000_000_000:
            loop.stop()
        else:
            loop.at(time.monotonic_ns() + 20_000_000, end_when_answered)

    loop.at(start_ns, send_next)
    try:
        loop.run()
    finally:
        for connection in opened:
            connection.close()
        loop.close()
    times.failed += max(0, count - len(times.total_ns) - times.failed)
    return times
