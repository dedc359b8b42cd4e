"""`python -m tests.bench.scaling`: what two workers carry of what one does, with limits in Redis.

One gateway with one worker and one with two, in turns, as fast as wrk asks, with three limits and
a budget in Redis and records in PostgreSQL. Everything shares this machine's cores, so that rates
alone would say how the cores were shared out. What others than workers spent is discounted by CPU
time: a worker that has a core to itself carries one request in as long as workers spent on one,

    carried by N workers = N * requests / CPU seconds of the N workers.

That holds as long as workers do not wait instead of working, so how busy they and the machine were
is told beside it. The stricter figure has the two workers share their two cores with the gateway's
own supervisor and drainer, where the one worker leaves them the second core.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from llmgw.cli.bench_cpu import tree, tree_cpu_ns
from tests.bench.exchange import KEY, MODEL, chat_body
from tests.bench.figures import Bound
from tests.bench.findings import Finding, render_findings
from tests.bench.wrk import run_wrk
from tests.fakes.postgres import postgres_server
from tests.fakes.process import GatewayProcess
from tests.fakes.redis import redis_server

CONNECTIONS = 64
CONFIG = """
version: 1
server: {{workers: {workers}, lame_duck: 0s, drain_timeout: 5s, front_door: {{connections_per_ip: 1000}}}}
storage: {{url: "{database}", redis: "{redis}?budget=2000ms"}}
providers: {{demo: {{kind: echo, first_token: 0ms, tokens_per_second: 100000}}}}
models: {{{model}: {{targets: [{{provider: demo, model: echo}}]}}}}
limits:
  global: {{requests: 1000M, window: 1h, algorithm: fixed_window}}
  per_tenant: {{requests: 1000M, window: 1h, algorithm: fixed_window}}
  per_user: {{requests: 1000M, window: 1h, algorithm: sliding_window, segments: 6}}
  per_ip: off
  concurrency: off
quotas: [{{per: tenant, requests: 1000M, window: month}}]
tenants: {{acme: {{keys: [{{id: bench, hash: "sha256:{digest}", user: alice}}]}}}}
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One spell of load. CPU seconds: of the workers, of the rest of the gateway, and of wrk.

    busy: the part of the machine that was not idle.
    """

    workers: int
    requests: int
    seconds: float
    worker_s: float
    rest_s: float
    wrk_s: float
    busy: float

    @property
    def carried(self) -> float:
        """Requests a second if each worker had a core to itself."""
        return self.workers * self.requests / self.worker_s

    @property
    def carried_with_rest(self) -> float:
        """The same when two workers share their cores with the supervisor and the drainer."""
        spent = self.worker_s + (self.rest_s if self.workers > 1 else 0.0)
        return self.workers * self.requests / spent


@contextmanager
def gateway(place: Path, workers: int, database: str, redis: str) -> Iterator[GatewayProcess]:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    place.mkdir()
    (place / "llmgw.yaml").write_text(
        CONFIG.format(workers=workers, database=database, redis=redis, model=MODEL, digest=digest)
    )
    with GatewayProcess(place) as running:
        yield running


def spell(running: GatewayProcess, workers: int, place: Path, seconds: float) -> Run:
    """Load it, and see who spent what."""
    pids = _workers(running, workers)
    body = chat_body(1_000)
    worker_ns, all_ns = _spent(pids), tree_cpu_ns(running.pid)
    wrk = resource.getrusage(resource.RUSAGE_CHILDREN)
    idle, began = _idle_s(), time.monotonic()
    load = run_wrk(place, port=running.port, body=body, connections=CONNECTIONS, seconds=seconds, cpu=None)
    took = time.monotonic() - began
    idle = _idle_s() - idle
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worker_s = (_spent(pids) - worker_ns) / 1e9
    # Records that were left in the journals belong to the requests.
    time.sleep(1.5)
    rest_s = (tree_cpu_ns(running.pid) - all_ns) / 1e9 - worker_s
    return Run(
        workers,
        load.requests,
        load.seconds,
        worker_s,
        rest_s,
        after.ru_utime + after.ru_stime - wrk.ru_utime - wrk.ru_stime,
        1.0 - idle / (took * (os.cpu_count() or 1)),
    )


def _workers(running: GatewayProcess, workers: int) -> list[int]:
    """The processes that serve: with one worker it is the gateway itself."""
    if workers == 1:
        return [running.pid]
    found = [pid for pid in tree(running.pid) if b"llmgw.server.worker" in _command(pid)]
    if len(found) != workers:
        raise RuntimeError(f"{len(found)} of {workers} workers are up")
    return found


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _spent(pids: list[int]) -> int:
    """CPU nanoseconds of these processes alone, without what they started."""
    return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in pids)


def _idle_s() -> float:
    """Seconds that this machine's cores were idle, or waited for a disk."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def findings(runs: list[Run]) -> list[Finding]:
    one = [run for run in runs if run.workers == 1]
    two = [run for run in runs if run.workers == 2]

    def ratio(name: str) -> float:
        return statistics.median(
            getattr(after, name) / getattr(before, name) for before, after in zip(one, two, strict=True)
        )

    found = [
        Finding(
            "scaling",
            "two workers carry of one, others' CPU time discounted",
            ratio("carried"),
            "x",
            Bound(at_least=1.8),
            ", ".join(f"{a.carried / b.carried:.2f}" for b, a in zip(one, two, strict=True)),
        ),
        Finding(
            "scaling",
            "the same, with supervisor and drainer on the workers' two cores",
            ratio("carried_with_rest"),
            "x",
        ),
    ]
    for runs in (one, two):
        middle = sorted(runs, key=lambda run: run.carried)[len(runs) // 2]
        name = f"{middle.workers} worker{'s' if middle.workers > 1 else ''}"
        per = 1e6 / middle.requests
        found += [
            Finding(
                name,
                "answered, all on this machine's cores",
                middle.requests / middle.seconds,
                "/s",
                detail=f"of each request: workers {middle.worker_s * per:.0f} us, rest of the gateway "
                f"{middle.rest_s * per:.0f} us, wrk {middle.wrk_s * per:.0f} us",
            ),
            Finding(name, "carried with a core for each worker", middle.carried, "/s"),
            Finding(
                name,
                "how busy each worker was",
                100 * middle.worker_s / middle.seconds / middle.workers,
                "%",
                detail=f"the machine {100 * middle.busy:.0f} %",
            ),
        ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scaling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    console = Console()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="llmgw-scaling-") as directory, ExitStack() as stack:
        home = Path(directory)
        redis = stack.enter_context(redis_server(home))
        database = stack.enter_context(postgres_server().llmgw())
        for number in range(options.rounds):
            for workers in (1, 2):
                place = home / f"{number}-{workers}"
                with gateway(place, workers, database, redis.url) as running:
                    # Connections are made, caches filled and modules compiled before it counts.
                    spell(running, workers, place, 1.0)
                    runs.append(spell(running, workers, place, options.seconds))
                console.print(f"round {number + 1}: {workers} workers, {runs[-1].carried:,.0f} requests/s")
    found = findings(runs)
    console.print(render_findings(found))
    return 0 if all(one.met is not False for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
