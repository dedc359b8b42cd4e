"""A small closed-loop load client for any OpenAI-compatible base URL.

A full HTTP client costs more for each request than the gateway under test, and one would measure
it instead. This one keeps a connection per worker, sends prepared bytes, and reads with httptools.

Promise: a request counts as done only when its answer was complete and 2xx; everything else is
`failed`, and the first reason is kept. A run ends: every request has a deadline of its own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

MOST_CONNECT_FAILURES = 20
REASON_BYTES = 300


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go.

    base_url: as an OpenAI SDK takes it, up to and including `/v1`. key: sent as a bearer
    credential; None sends none. prompt_bytes: about the size of the request.
    """

    base_url: str
    model: str
    key: str | None = None
    stream: bool = False
    prompt_bytes: int = 1024

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not a base URL: {self.base_url!r}; like http://127.0.0.1:8080/v1")

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.base_url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def is_tls(self) -> bool:
        return urlsplit(self.base_url).scheme == "https"

    @property
    def is_loopback(self) -> bool:
        """Whether the load stays on this machine, as far as the name alone can tell."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def render_request(self) -> bytes:
        """The whole request, head and body."""
        document: dict[str, object] = {"model": self.model, "max_tokens": 64}
        if self.stream:
            document["stream"] = True
        words = "Where does the time of a request go, and who pays for it? "
        room = max(1, self.prompt_bytes - len(json.dumps(document)) - 50)
        content = (words * (room // len(words) + 1))[:room]
        body = json.dumps(document | {"messages": [{"role": "user", "content": content}]}).encode()
        parts = urlsplit(self.base_url)
        lines = [
            f"POST {parts.path.rstrip('/')}/chat/completions HTTP/1.1",
            f"Host: {parts.netloc.rpartition('@')[2]}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "User-Agent: llmgw-bench",
        ]
        if self.key is not None:
            lines.append(f"Authorization: Bearer {self.key}")
        return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(slots=True)
class Result:
    """What came back. total_ns and first_ns: of done requests; first is the first body byte."""

    total_ns: array[int] = field(default_factory=lambda: array("q"))
    first_ns: array[int] = field(default_factory=lambda: array("q"))
    failed: int = 0
    chunks: int = 0
    seconds: float = 0.0
    reason: str | None = None

    @property
    def done(self) -> int:
        return len(self.total_ns)

    def add(self, other: Result) -> None:
        """Take another run's numbers in."""
        self.total_ns.extend(other.total_ns)
        self.first_ns.extend(other.first_ns)
        self.failed += other.failed
        self.chunks += other.chunks
        self.seconds += other.seconds
        self.reason = self.reason or other.reason


def percentile_ms(values_ns: array[int], share: float) -> float | None:
    """The milliseconds that `share` of the values do not exceed (nearest rank); None of nothing."""
    if not values_ns:
        return None
    ordered = sorted(values_ns)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6


class Run:
    """One load on one target, from first connection to last answer."""

    def __init__(
        self,
        target: Target,
        *,
        requests: int | None,
        seconds: float | None,
        timeout_s: float,
        on_done: Callable[[], None],
    ) -> None:
        self.target = target
        self.request = target.render_request()
        self.result = Result()
        self.on_done = on_done
        self._left = requests
        self._seconds = seconds
        self._timeout_s = timeout_s
        self._deadline_s = float("inf")
        self._open: set[_Connection] = set()
        self._connect_failures = 0

    def take(self) -> bool:
        """Whether another request may go; it then counts as gone."""
        if time.monotonic() >= self._deadline_s or self._left == 0:
            return False
        if self._left is not None:
            self._left -= 1
        return True

    def fail(self, reason: str) -> None:
        self.result.failed += 1
        self.result.reason = self.result.reason or reason
        self.on_done()

    async def load(self, connections: int) -> Result:
        """Send until the requests or the time are used up."""
        started = time.monotonic()
        if self._seconds is not None:
            self._deadline_s = started + self._seconds
        watch = asyncio.create_task(self._watch())
        try:
            await asyncio.gather(*(self._worker() for _ in range(connections)))
        finally:
            watch.cancel()
            for connection in tuple(self._open):
                connection.abort()
        self.result.seconds = time.monotonic() - started
        return self.result

    async def _worker(self) -> None:
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context() if self.target.is_tls else None
        while self._connect_failures < MOST_CONNECT_FAILURES and self.take():
            connection = _Connection(self, loop.create_future())
            try:
                async with asyncio.timeout(self._timeout_s):
                    await loop.create_connection(
                        lambda connection=connection: connection,
                        self.target.host,
                        self.target.port,
                        ssl=context,
                    )
            except (OSError, TimeoutError) as error:
                self._connect_failures += 1
                self.fail(f"cannot connect to {self.target.host}:{self.target.port}: {error}")
                continue
            self._open.add(connection)
            await connection.lost
            self._open.discard(connection)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._timeout_s / 4))
            late_ns = time.monotonic_ns() - int(self._timeout_s * 1e9)
            for connection in tuple(self._open):
                if connection.sent_ns is not None and connection.sent_ns < late_ns:
                    connection.abort(f"no complete answer within {self._timeout_s:g} s")


class _Connection(asyncio.Protocol):
    """A kept-alive connection: the next request goes when the last is answered."""

    def __init__(self, run: Run, lost: asyncio.Future[None]) -> None:
        self.lost = lost
        self.sent_ns: int | None = None
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._first_ns: int | None = None
        self._body = bytearray()
        self._tail = b""
        self._reason = "connection closed before the answer was complete"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports keep the interface without the base class.
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.abort(f"not HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        if self.sent_ns is not None:
            self.sent_ns = None
            self._run.fail(self._reason)
        if not self.lost.done():
            self.lost.set_result(None)

    def abort(self, reason: str | None = None) -> None:
        self._reason = reason or self._reason
        if self._transport is not None:
            self._transport.abort()

    def _send(self) -> None:
        assert self._transport is not None
        self._first_ns = None
        self._body.clear()
        self._tail = b""
        self.sent_ns = time.monotonic_ns()
        self._transport.write(self._run.request)

    def on_body(self, body: bytes) -> None:
        if self._first_ns is None:
            self._first_ns = time.monotonic_ns()
        if self._run.target.stream:
            # An event's end may fall between two reads; its first half is then in `_tail`.
            self._run.result.chunks += (self._tail + body).count(b"\n\n")
            self._tail = b"\n" if body.endswith(b"\n") and not body.endswith(b"\n\n") else b""
        if self._parser.get_status_code() >= 300 and len(self._body) < REASON_BYTES:
            self._body += body

    def on_message_complete(self) -> None:
        assert self._transport is not None
        assert self.sent_ns is not None
        now_ns, sent_ns, run = time.monotonic_ns(), self.sent_ns, self._run
        self.sent_ns = None
        status = self._parser.get_status_code()
        if 200 <= status < 300:
            run.result.total_ns.append(now_ns - sent_ns)
            run.result.first_ns.append((self._first_ns or now_ns) - sent_ns)
            run.on_done()
        else:
            run.fail(f"{status}: {self._body[:REASON_BYTES].decode(errors='replace')}")
        if self._parser.should_keep_alive() and run.take():
            self._send()
        else:
            self._transport.close()
