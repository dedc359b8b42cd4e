"""`python -m tests.bench soak`: what a gateway keeps of what it has served.

Answers and streams at a fixed rate, clients that vanish within streams, requests that are refused,
and a changed configuration every few seconds. The first third is for pools and caches to fill;
from then to the end neither memory nor descriptors nor threads may grow, and in the end there is
one record for each request that was dispatched.
"""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmgw.cli.bench_cpu import tree
from tests.bench.figures import Bound
from tests.bench.findings import Finding
from tests.bench.processes import Process
from tests.bench.served import Served, serving
from tests.bench.traffic import Traffic, request

PER_SECOND = 200.0
STREAM_WORDS = 60
VANISHING_PER_SECOND = 5
RELOAD_EVERY_S = 12.0
SAMPLE_S = 2.0
WORDS_OF_THE_VANISHING = 500


@dataclass(frozen=True, slots=True)
class Sample:
    """Of the whole process tree."""

    rss_bytes: int
    descriptors: int
    threads: int


def measure(work: Path, seconds: float, cpu: int, say: Callable[[str], None]) -> list[Finding]:
    with serving(work, 1, first_token_ms=20, cpu=cpu) as served:
        samples, traffic, vanished = _soak(served, seconds, say)
        served.running.quiet(30.0)
        kept = _records(served)
    third = len(samples) // 3
    early, late = samples[third : 2 * third], samples[2 * third :]
    dispatched = len(traffic.outcomes) - len(traffic.failures) + vanished
    for failure in sorted(set(traffic.failures))[:5]:
        say(f"[red]{failure}[/]")
    name = f"soak of {seconds:g} s"
    return [
        Finding(
            name,
            f"failed, of {len(traffic.outcomes):,} requests",
            len(traffic.failures),
            "",
            Bound(at_most=0),
            f"and {vanished:,} whose clients vanished",
        ),
        Finding(name, "records for each dispatched request", kept / dispatched, "", Bound(at_most=1.0)),
        Finding(name, "requests without a record", dispatched - kept, "", Bound(at_most=0)),
        _growth(name, "memory", [one.rss_bytes for one in early], [one.rss_bytes for one in late], 1.05),
        _growth(
            name, "descriptors", [one.descriptors for one in early], [one.descriptors for one in late], 1.05
        ),
        _growth(name, "threads", [one.threads for one in early], [one.threads for one in late], 1.0),
    ]


def _soak(served: Served, seconds: float, say: Callable[[str], None]) -> tuple[list[Sample], Traffic, int]:
    end = time.monotonic() + seconds
    samples: list[Sample] = []
    vanished = 0

    def look() -> None:
        while time.monotonic() < end:
            samples.append(_sample(served.running))
            time.sleep(SAMPLE_S)

    def edit() -> None:
        number = 0
        while time.monotonic() < end - RELOAD_EVERY_S:
            number += 1
            served.write(number)
            say(f"soak: {end - time.monotonic():.0f} s to go, {samples[-1].rss_bytes / 2**20:.1f} MiB")
            time.sleep(RELOAD_EVERY_S)

    def vanish() -> None:
        nonlocal vanished
        data = request(served.port, WORDS_OF_THE_VANISHING, stream=True, close=False)
        while time.monotonic() < end - 1:
            with socket.create_connection(("127.0.0.1", served.port)) as client:
                client.sendall(data)
                vanished += bool(client.recv(64))
            time.sleep(1 / VANISHING_PER_SECOND)

    threads = [threading.Thread(target=work) for work in (look, edit, vanish)]
    traffic = Traffic(served.port, PER_SECOND, STREAM_WORDS, drain_s=10.0)
    samples.append(_sample(served.running))
    for thread in threads:
        thread.start()
    traffic.run(lambda: time.monotonic() >= end)
    for thread in threads:
        thread.join()
    return samples, traffic, vanished


def _sample(process: Process) -> Sample:
    descriptors = threads = 0
    for pid in tree(process.pid):
        with contextlib.suppress(OSError):
            descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
            threads += len(list(Path(f"/proc/{pid}/task").iterdir()))
    return Sample(process.rss_bytes(), descriptors, threads)


def _records(served: Served) -> int:
    with contextlib.closing(sqlite3.connect(served.home / "bench.db")) as database:
        return int(database.execute("SELECT count(*) FROM usage").fetchone()[0])


def _growth(name: str, what: str, early: list[int], late: list[int], most: float) -> Finding:
    # Connections come and go; what is lost for good is in the least.
    typical = min if what == "descriptors" else statistics.median
    before, after = typical(early), typical(late)
    shown = (
        f"{before / 2**20:.1f} to {after / 2**20:.1f} MiB" if what == "memory" else f"{before:g} to {after:g}"
    )
    return Finding(
        name, f"{what}, last third over the second", after / before, "", Bound(at_most=most), shown
    )
