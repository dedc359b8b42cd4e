"""`python -m tests.bench outage`: an upstream that fails every call for a while, under load.

Traffic at a fixed rate goes on; the upstream counts what reaches it. While the breaker is closed
it should see little more than the clients send, once it is open a probe at a time, and after its
recovery no herd.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.figures import Bound, percentile
from tests.bench.findings import Finding
from tests.bench.nginx import free_port
from tests.bench.processes import Process, wait_until
from tests.bench.subject import is_ready
from tests.bench.traffic import KEY, MODEL, Traffic

ROOT = Path(__file__).resolve().parents[2]
PER_SECOND = 200.0
BEFORE_S, AFTER_S = 3.0, 12.0
OPEN_FOR_S = 5.0
_MESSAGE = {"role": "assistant", "content": "ok"}
_USAGE = {"prompt_tokens": 1, "completion_tokens": 1}
_CHOICE = {"index": 0, "message": _MESSAGE, "finish_reason": "stop"}
_ANSWER = json.dumps({"id": "c", "model": MODEL, "choices": [_CHOICE], "usage": _USAGE}).encode()
_DELTA = {"id": "c", "model": MODEL, "choices": [{"index": 0, "delta": _MESSAGE, "finish_reason": "stop"}]}
_STREAM = b"data: " + json.dumps(_DELTA).encode() + b"\n\ndata: [DONE]\n\n"
_ERROR = b'{"error": {"message": "down", "type": "server_error", "code": null}}'


@dataclass(slots=True)
class Upstream:
    """In a thread of its own. seen_ns: when each request came. failing: answer them all with 500."""

    port: int = 0
    failing: bool = False
    seen_ns: list[int] = field(default_factory=list)

    async def serve(self, ready: threading.Event, ended: asyncio.Event) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await ended.wait()
        server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(size)
                self.seen_ns.append(time.monotonic_ns())
                streamed = b'"stream": true' in body
                status, kind, data = b"200 OK", b"application/json", _ANSWER
                if self.failing:
                    status, data = b"500 No", _ERROR
                elif streamed:
                    kind, data = b"text/event-stream", _STREAM
                writer.write(
                    b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"
                    % (status, kind, len(data), data)
                )
        writer.close()


@contextlib.contextmanager
def _upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(upstream.serve(ready, ended),))
    thread.start()
    ready.wait(10)
    try:
        yield upstream
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)


def measure(
    work: Path, seconds: float, workers: list[int], cpu: int, say: Callable[[str], None]
) -> list[Finding]:
    """seconds: how long the upstream fails."""
    found = []
    for count in workers:
        say(f"outage: {count} workers, {seconds:g} s")
        found += _outage(work / f"{count}", count, seconds, cpu)
    return found


def _outage(home: Path, workers: int, seconds: float, cpu: int) -> list[Finding]:
    home.mkdir()
    port, admin = free_port(), free_port()
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    with _upstream() as upstream:
        (home / "llmgw.yaml").write_text(
            f"""version: 1
server: {{listen: "127.0.0.1:{port}", admin_listen: "127.0.0.1:{admin}", workers: {workers}}}
storage: {{url: "sqlite:///bench.db", data_dir: data}}
providers:
  up: {{kind: openai_compatible, base_url: "http://127.0.0.1:{upstream.port}/v1", allow_private: true}}
models:
  {MODEL}: {{targets: [{{provider: up, model: {MODEL}}}], breaker: {{open_for: {OPEN_FOR_S:g}s}}}}
limits: {{global: off, per_tenant: off, per_user: off, concurrency: {{in_flight: 20000}}}}
tenants: {{acme: {{keys: [{{id: bench, hash: "sha256:{digest}"}}]}}}}
"""
        )
        command = [sys.executable, "-m", "llmgw", "serve", "-c", str(home / "llmgw.yaml")]
        with Process(command, cpu=cpu, log=home / "log", cwd=ROOT) as process:
            wait_until(lambda: is_ready(admin), process, what="llmgw")
            time.sleep(1.0)
            return _watched(upstream, port, workers, seconds)


def _watched(upstream: Upstream, port: int, workers: int, seconds: float) -> list[Finding]:
    began_ns = time.monotonic_ns()
    fails_ns = began_ns + int(BEFORE_S * 1e9)
    works_ns = fails_ns + int(seconds * 1e9)
    ends_ns = works_ns + int(AFTER_S * 1e9)

    def ended() -> bool:
        now = time.monotonic_ns()
        upstream.failing = fails_ns <= now < works_ns
        return now >= ends_ns

    traffic = Traffic(port, PER_SECOND, 1, drain_s=15.0)
    traffic.run(ended)
    refused = [one for one in traffic.outcomes if (one.failure or "").startswith("503")]
    open_ns = min((one.sent_ns for one in refused), default=works_ns)
    during = [one for one in traffic.outcomes if fails_ns <= one.sent_ns < works_ns]
    closed = [one for one in during if one.sent_ns < open_ns]
    reached = [at for at in upstream.seen_ns if fails_ns <= at < open_ns]
    probes = [at for at in upstream.seen_ns if open_ns + int(0.5e9) <= at < works_ns]
    fast_ms = [(one.done_ns - one.sent_ns) / 1e6 for one in refused]
    well = [one for one in traffic.outcomes if one.failure is None and one.sent_ns >= works_ns]
    back_ns = min((one.sent_ns for one in well), default=ends_ns)
    herd = max(
        (
            sum(at <= other < at + int(1e9) for other in upstream.seen_ns)
            for at in upstream.seen_ns
            if at >= works_ns
        ),
        default=0,
    )
    late = [one for one in traffic.outcomes if one.sent_ns >= back_ns + int(2 * OPEN_FOR_S * 1e9)]
    name = f"outage, {workers} workers"
    breaks = seconds / OPEN_FOR_S
    return [
        Finding(
            name,
            "calls upstream for each request, until the breaker opened",
            len(reached) / max(1, len(closed)),
            "",
            Bound(at_most=1.2),
            f"{len(reached)} for {len(closed)}, in {(open_ns - fails_ns) / 1e9:.1f} s",
        ),
        Finding(
            name,
            "probes for each break",
            len(probes) / breaks,
            "",
            Bound(at_most=1.0),
            f"{len(probes)} in {breaks:g} breaks of {OPEN_FOR_S:g} s",
        ),
        Finding(
            name,
            "p99 of a refusal while open",
            percentile(fast_ms, 0.99) if fast_ms else float("inf"),
            "ms",
            Bound(at_most=5.0),
            f"{len(refused):,} refused",
        ),
        Finding(name, "first good answer after the recovery", (back_ns - works_ns) / 1e9, "s"),
        Finding(
            name,
            "most calls upstream in a second after it, for each request",
            herd / PER_SECOND,
            "",
            Bound(at_most=1.2),
        ),
        Finding(
            name,
            "failed, two breaks later",
            sum(one.failure is not None for one in late),
            "",
            Bound(at_most=0),
        ),
    ]
