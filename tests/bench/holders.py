"""`python -m tests.bench.holders silent|slow PORT COUNT`: sockets that are held and say next to nothing.

Each that the gateway closes is opened again, so that as many are there until SIGTERM. Prints one
line once all are open, and at its end what was seen, as JSON. Only for 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import errno
import json
import signal
import socket
import sys
import time
from dataclasses import dataclass, field

from tests.bench.loop import Loop

OPENED_PER_S = 1000
BYTE_EACH_S = 10.0
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
READY = "all are open"


@dataclass(slots=True)
class Holders:
    """slow: whether a head is begun, of which a byte comes now and then. held_s: how long each lasted."""

    port: int
    count: int
    slow: bool
    loop: Loop = field(default_factory=Loop)
    opened: dict[int, tuple[socket.socket, float]] = field(default_factory=dict)
    held_s: list[float] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    told: bool = False

    def run(self) -> None:
        self._open(time.monotonic_ns())
        self.loop.run()

    def _open(self, due_ns: int) -> None:
        if len(self.opened) < self.count:
            sock = socket.socket()
            sock.setblocking(False)
            if sock.connect_ex(("127.0.0.1", self.port)) not in (0, errno.EINPROGRESS):
                sock.close()
            else:
                fd = sock.fileno()
                self.opened[fd] = sock, time.monotonic()
                self.loop.watch(sock, lambda: self._on_readable(fd))
                if self.slow:
                    self.loop.at(time.monotonic_ns() + 50_000_000, lambda: self._say(sock, HEAD))
        elif not self.told:
            self.told = True
            print(READY, flush=True)
        after_ns = due_ns + 1_000_000_000 // OPENED_PER_S
        self.loop.at(after_ns, lambda: self._open(after_ns))

    def _say(self, sock: socket.socket, data: bytes) -> None:
        if sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                sock.send(data)
                self.loop.at(time.monotonic_ns() + int(BYTE_EACH_S * 1e9), lambda: self._say(sock, b"x"))

    def _on_readable(self, fd: int) -> None:
        sock, since = self.opened[fd]
        try:
            data = sock.recv(4096)
        except OSError:
            data = b""
        if data:
            status = data[9:12].decode("latin-1")
            self.answers[status] = self.answers.get(status, 0) + 1
            return
        self.held_s.append(time.monotonic() - since)
        del self.opened[fd]
        self.loop.unwatch(sock)
        sock.close()


def main() -> None:
    kind, port, count = sys.argv[1:]
    holders = Holders(int(port), int(count), kind == "slow")
    signal.signal(signal.SIGTERM, lambda *_: holders.loop.stop())
    holders.run()
    print(
        json.dumps(
            {
                "ended": len(holders.held_s),
                "longest_s": max(holders.held_s, default=0.0),
                "shortest_s": min(holders.held_s, default=0.0),
                "answers": holders.answers,
            }
        )
    )


if __name__ == "__main__":
    main()
