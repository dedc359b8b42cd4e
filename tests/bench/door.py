"""`python -m tests.bench door`: what good traffic notices of clients that only hold connections.

1,000 sockets that send a byte of a head each 10 s, then 5,000 that send nothing, beside the same
traffic as without them. Each is opened again when the gateway ends it.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.figures import Bound
from tests.bench.findings import Finding
from tests.bench.holders import READY
from tests.bench.processes import Process, wait_until
from tests.bench.served import ROOT, Served, serving
from tests.bench.traffic import Traffic

PER_SECOND = 100.0
STREAM_WORDS = 25
"""Half a second."""
ATTACKS = {"slow": (1000, "1,000 slow heads"), "silent": (5000, "5,000 silent sockets")}
LONGEST_S = 12.0
"""The front door's 10 s, the tick of a second, and the time until the client notices."""


def measure(work: Path, seconds: float, cpu: int, load_cpu: int, say: Callable[[str], None]) -> list[Finding]:
    """seconds: of traffic, without and with each of the two; the longest sockets live 10 s."""
    findings: list[Finding] = []
    with serving(work, 1, first_token_ms=2, cpu=cpu) as served:
        _traffic(served, 2.0)
        for kind, (count, name) in ATTACKS.items():
            say(f"{name}: without")
            before = _traffic(served, seconds)
            command = [sys.executable, "-m", "tests.bench.holders", kind, str(served.port), str(count)]
            log = work / f"{kind}.log"
            with Process(command, cpu=load_cpu, log=log, cwd=ROOT) as holders:
                wait_until(lambda log=log: READY in log.read_text(), holders, what=name, within_s=60)  # type: ignore[misc]
                say(f"{name}: with")
                during = _traffic(served, seconds)
            say(f"{name}: without")
            after = _traffic(served, seconds)
            seen = json.loads(log.read_text().splitlines()[-1])
            usual_ms = statistics.fmean(_p99_ms(one) for one in (before, after))
            findings += _compare(name, usual_ms, during, seen)
    return findings


def _compare(name: str, usual_ms: float, during: Traffic, seen: dict[str, object]) -> list[Finding]:
    total = len(during.outcomes)
    good = 100 * (total - len(during.failures)) / total
    p99_ms = _p99_ms(during)
    return [
        Finding(name, "requests that succeed", good, "%", Bound(at_least=99.9), f"of {total:,}"),
        Finding(
            name,
            "99th percentile of the first byte, of that without",
            p99_ms / usual_ms,
            "x",
            Bound(at_most=2.0),
            f"{p99_ms:.1f} ms, {usual_ms:.1f} ms without",
        ),
        Finding(
            name,
            "longest that one was held",
            float(str(seen["longest_s"])),
            "s",
            Bound(at_most=LONGEST_S),
            f"{seen['ended']:,} ended; answered: {seen['answers'] or 'none'}",
        ),
    ]


def _traffic(served: Served, seconds: float) -> Traffic:
    end = time.monotonic() + seconds
    traffic = Traffic(served.port, PER_SECOND, STREAM_WORDS, drain_s=10.0)
    traffic.run(lambda: time.monotonic() > end)
    return traffic


def _p99_ms(traffic: Traffic) -> float:
    first = sorted(one.first_ns - one.sent_ns for one in traffic.outcomes if one.failure is None)
    return first[len(first) * 99 // 100] / 1e6
