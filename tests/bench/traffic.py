"""Mixed traffic at a fixed rate: answers and streams, on kept and on fresh connections.

Open loop, as in `paced`. What each answer said of itself is kept: its generation, the model that
its body names, and whether a stream came to its own end. A connection that the gateway closes
while nothing is under way on it is only left, and looked at before it is used again, as HTTP clients
do; one that ends under a request is a failed request.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

from tests.bench.loop import Loop

MODEL = "m"
KEY = "sk-llmgw-bench-0123456789abcdef0123456789abcdef"
MOST_CONNECTIONS = 2000
_PATH = "/v1/chat/completions"


@dataclass(slots=True)
class Outcome:
    """One request. Times are of `time.monotonic_ns`. failure: None for a whole answer."""

    streamed: bool
    sent_ns: int
    first_ns: int = 0
    done_ns: int = 0
    generation: str = ""
    model: str = ""
    failure: str | None = None


def request(port: int, words: int, *, stream: bool, close: bool) -> bytes:
    body = json.dumps(
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": " ".join(["word"] * words)}],
            **({"stream": True} if stream else {}),
        }
    ).encode()
    head = (
        f"POST {_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        + ("Connection: close\r\n" if close else "")
        + "\r\n"
    )
    return head.encode() + body


class Connection:
    """One connection; back in `idle` after an answer that leaves it open."""

    def __init__(self, loop: Loop, port: int, idle: list[Connection]) -> None:
        self._loop = loop
        self._idle = idle
        self._outcome: Outcome | None = None
        self._closes = False
        self._body = b""
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.setblocking(False)
        self._parser = httptools.HttpResponseParser(self)
        loop.watch(self._sock, self._on_readable)

    def has_ended(self) -> bool:
        """Whether the gateway has closed it: clients look before they send on a kept connection."""
        try:
            return not self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def send(self, data: bytes, outcome: Outcome) -> None:
        self._outcome = outcome
        self._closes = False
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)
        try:
            self._sock.send(data)
        except OSError as error:
            self._end(f"not sent: {error}")

    def on_header(self, name: bytes, value: bytes) -> None:
        outcome = self._outcome
        assert outcome is not None
        name = name.lower()
        if name == b"x-llmgw-config":
            outcome.generation = value.decode()
        elif name == b"connection":
            self._closes = value.lower() == b"close"

    def on_body(self, body: bytes) -> None:
        assert self._outcome is not None
        if not self._outcome.first_ns:
            self._outcome.first_ns = time.monotonic_ns()
        self._body += body

    def on_message_complete(self) -> None:
        outcome = self._outcome
        assert outcome is not None
        status = self._parser.get_status_code()
        if status != 200:
            outcome.failure = f"{status}: {self._body[:200]!r}"
        elif outcome.streamed and not self._body.endswith(b"data: [DONE]\n\n"):
            outcome.failure = f"truncated: {self._body[-200:]!r}"
        else:
            first = self._body.partition(b"\n")[0].removeprefix(b"data: ")
            outcome.model = json.loads(first if outcome.streamed else self._body)["model"]
        outcome.done_ns = time.monotonic_ns()
        self._outcome = None
        if self._closes:
            self.close()
        else:
            self._idle.append(self)

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(65536)
        except OSError as error:
            self._end(f"cut: {error}")
            return
        if data:
            self._parser.feed_data(data)
        else:
            self._end("cut: closed by the gateway")

    def _end(self, failure: str) -> None:
        if self._outcome is not None:
            self._outcome.failure = failure
            self._outcome.done_ns = time.monotonic_ns()
            self._outcome = None
        elif self in self._idle:
            self._idle.remove(self)
        self.close()

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.unwatch(self._sock)
            self._sock.close()


@dataclass(slots=True)
class Traffic:
    """per_second: requests, of which a fifth are streams of `stream_words`; every other one on a fresh
    connection. `run` sends until `ended` says so, and waits for the last answers.
    """

    port: int
    per_second: float
    stream_words: int
    drain_s: float
    outcomes: list[Outcome] = field(default_factory=list)
    late_ns: list[int] = field(default_factory=list)

    def run(self, ended: Callable[[], bool]) -> None:
        loop = Loop()
        idle: list[Connection] = []
        opened: list[Connection] = []
        interval_ns = int(1e9 / self.per_second)
        start_ns = time.monotonic_ns() + 20_000_000
        count = 0

        def send_next() -> None:
            nonlocal count
            due_ns = start_ns + count * interval_ns
            number, count = count, count + 1
            if ended():
                give_up_ns = time.monotonic_ns() + int(self.drain_s * 1e9)
                loop.at(0, lambda: wait(give_up_ns))
                return
            loop.at(start_ns + count * interval_ns, send_next)
            self.late_ns.append(time.monotonic_ns() - due_ns)
            streamed, fresh = number % 5 == 0, number % 2 == 1
            outcome = Outcome(streamed, time.monotonic_ns())
            self.outcomes.append(outcome)
            while idle and idle[-1].has_ended():
                idle.pop().close()
            try:
                connection = idle.pop() if idle and not fresh else Connection(loop, self.port, idle)
            except OSError as error:
                outcome.failure = f"not connected: {error}"
                return
            opened.append(connection)
            words = self.stream_words if streamed else 1
            connection.send(request(self.port, words, stream=streamed, close=fresh), outcome)

        def wait(give_up_ns: int) -> None:
            under_way = [one for one in self.outcomes if not one.done_ns and one.failure is None]
            if under_way and time.monotonic_ns() < give_up_ns:
                loop.at(time.monotonic_ns() + 50_000_000, lambda: wait(give_up_ns))
                return
            for one in under_way:
                one.failure = "no end within the time"
            loop.stop()

        loop.at(start_ns, send_next)
        try:
            loop.run()
        finally:
            for connection in opened:
                connection.close()
            loop.close()

    @property
    def failures(self) -> list[str]:
        return [one.failure for one in self.outcomes if one.failure is not None]
