"""Many event streams at once, and how long each event was on its way.

The added time of an event is the moment it was read less the stamp its provider sent it with;
both come from the one monotonic clock of the machine. What the reader itself is late by is the
same for every proxy, so read the difference to nginx's figure.
"""

from __future__ import annotations

import random
import socket
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

from tests.bench.exchange import DONE_EVENT, STAMP, STAMP_DIGITS
from tests.bench.loop import Loop

DONE = DONE_EVENT.rstrip()


@dataclass(slots=True)
class Tally:
    """What the streams brought. added_ns: of the measured window only. reason: the first failure's."""

    added_ns: array[int] = field(default_factory=lambda: array("q"))
    first_ns: array[int] = field(default_factory=lambda: array("q"))
    events: int = 0
    opened: int = 0
    completed: int = 0
    failed: int = 0
    measuring: bool = False
    reason: str | None = None

    @property
    def open(self) -> int:
        """How many streams are being read now."""
        return self.opened - self.completed - self.failed


class Stream:
    """One request for a stream, on its own connection."""

    def __init__(self, loop: Loop, port: int, request: bytes, tally: Tally) -> None:
        self._loop = loop
        self._tally = tally
        self._rest = b""
        self._events = 0
        self._done = False
        self._ended = False
        self._parser = httptools.HttpResponseParser(self)
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.setblocking(False)
        loop.watch(self._sock, self._on_readable)
        tally.opened += 1
        self._read_ns = 0
        self._sent_ns = time.monotonic_ns()
        self._sock.send(request)

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(65536)
        except OSError:
            data = b""
        self._read_ns = time.monotonic_ns()
        if data:
            self._parser.feed_data(data)
        if self._ended or not data:
            self.close()

    def on_body(self, body: bytes) -> None:
        *events, self._rest = (self._rest + body).split(b"\n\n")
        tally = self._tally
        for event in events:
            at = event.find(STAMP)
            if at >= 0:
                if not self._events:
                    tally.first_ns.append(self._read_ns - self._sent_ns)
                self._events += 1
                tally.events += 1
                if tally.measuring:
                    begin = at + len(STAMP)
                    tally.added_ns.append(self._read_ns - int(event[begin : begin + STAMP_DIGITS]))
            elif event == DONE:
                self._done = True

    def on_message_complete(self) -> None:
        self._ended = True

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        complete = self._ended and self._done and self._parser.get_status_code() == 200
        self._tally.completed += complete
        self._tally.failed += not complete
        if not complete and self._tally.reason is None:
            status = self._parser.get_status_code() or "no answer"
            self._tally.reason = (
                f"{status}, {self._events} events: {self._rest[:200].decode(errors='replace')}"
            )
        self._loop.unwatch(self._sock)
        self._sock.close()


def run_streams(
    *,
    port: int,
    request: bytes,
    streams: int,
    ramp_s: float,
    window_s: float,
    most_s: float,
    on_window: Callable[[Tally], None],
    off_window: Callable[[Tally], None],
) -> Tally:
    """Open the streams over `ramp_s`, measure for `window_s`, then read each to its end.

    Starts are at random but repeatable moments, so that phases spread evenly. `on_window` and
    `off_window` are called around the measured window; most_s bounds the whole.
    """
    loop, tally = Loop(), Tally()
    opened: list[Stream] = []
    start_ns = time.monotonic_ns() + 10_000_000
    dice = random.Random(streams)
    for _ in range(streams):
        moment = start_ns + int(dice.random() * ramp_s * 1e9)
        loop.at(moment, lambda: opened.append(Stream(loop, port, request, tally)))

    def begin() -> None:
        on_window(tally)
        tally.measuring = True
        loop.at(time.monotonic_ns() + int(window_s * 1e9), finish)

    def finish() -> None:
        tally.measuring = False
        off_window(tally)
        wait()

    def wait() -> None:
        spent_s = (time.monotonic_ns() - start_ns) / 1e9
        if tally.completed + tally.failed >= streams or spent_s > most_s:
            loop.stop()
        else:
            loop.at(time.monotonic_ns() + 20_000_000, wait)

    loop.at(start_ns + int((ramp_s + 0.3) * 1e9), begin)
    try:
        loop.run()
    finally:
        for stream in opened:
            stream.close()
        loop.close()
    return tally
