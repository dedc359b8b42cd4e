"""What `llmgw bench` does once it knows what was asked: load in turns, compare, make rows.

With two targets the load alternates between them in slices, so that both meet the same machine.
Added latency is the difference of the two percentiles, at the same number of connections.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from llmgw.cli.bench_cpu import tree_cpu_ns
from llmgw.cli.bench_echo import open_echo
from llmgw.cli.bench_load import Result, Run, Target, percentile_ms
from llmgw.cli.bench_self import own_gateway

SLICES = 5
SETTLE_S = 0.5
COLUMNS = (
    "target",
    "requests",
    "failed",
    "requests_per_s",
    "p50_ms",
    "p99_ms",
    "first_p50_ms",
    "added_p50_ms",
    "added_p99_ms",
    "chunks_per_s",
    "cpu_us_per_request",
)
Row = dict[str, str | int | float | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much load: a number of requests or of seconds, for each target.

    pid: the process tree whose CPU time the requests to the gateway cost, if it can be read.
    """

    connections: int
    requests: int | None
    seconds: float | None
    timeout_s: float
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A target's name, its numbers, and the CPU time spent for it where that is known."""

    name: str
    result: Result
    stream: bool
    cpu_ns: int | None = None


async def compare(
    gateway: Target, direct: Target | None, plan: Plan, on_done: Callable[[], None]
) -> list[Measured]:
    """Load the gateway, in turns with going direct where asked; direct comes first."""
    targets = [("gateway", gateway)] if direct is None else [("direct", direct), ("gateway", gateway)]
    totals = {name: Result() for name, _ in targets}
    slices = 1 if direct is None else SLICES
    before_ns = None if plan.pid is None else tree_cpu_ns(plan.pid)
    for number in range(slices):
        requests = None
        if plan.requests is not None:
            requests = plan.requests * (number + 1) // slices - plan.requests * number // slices
        seconds = None if plan.seconds is None else plan.seconds / slices
        for name, target in targets:
            run = Run(target, requests=requests, seconds=seconds, timeout_s=plan.timeout_s, on_done=on_done)
            totals[name].add(await run.load(plan.connections))
    cpu_ns = None
    if plan.pid is not None and before_ns is not None:
        # What the gateway puts off until the load is over belongs to the requests that caused it.
        await asyncio.sleep(SETTLE_S)
        cpu_ns = tree_cpu_ns(plan.pid) - before_ns
    return [
        Measured(name, totals[name], target.stream, cpu_ns if name == "gateway" else None)
        for name, target in targets
    ]


@contextlib.asynccontextmanager
async def own_targets(model: str, *, stream: bool) -> AsyncIterator[tuple[Target, Target, int]]:
    """A gateway and the provider behind it, both ours, and the gateway's process id."""
    server, port = await open_echo()
    async with server, own_gateway(port, model) as gateway:
        yield (
            Target(gateway.base_url, model, gateway.key, stream),
            Target(f"http://127.0.0.1:{port}/v1", model, None, stream),
            gateway.pid,
        )


def render_rows(measured: list[Measured]) -> list[Row]:
    """One row a target. A number that is not known is None."""
    direct = next((each.result for each in measured if each.name == "direct"), None)
    return [_row(each, direct) for each in measured]


def _row(measured: Measured, direct: Result | None) -> Row:
    result = measured.result
    p50, p99 = (percentile_ms(result.total_ns, share) for share in (0.5, 0.99))
    row: Row = {
        "target": measured.name,
        "requests": result.done,
        "failed": result.failed,
        "requests_per_s": _rounded(result.done / result.seconds if result.seconds else None, 1),
        "p50_ms": _rounded(p50, 3),
        "p99_ms": _rounded(p99, 3),
        "first_p50_ms": _rounded(percentile_ms(result.first_ns, 0.5), 3) if measured.stream else None,
        "added_p50_ms": None,
        "added_p99_ms": None,
        "chunks_per_s": _rounded(result.chunks / result.seconds, 1) if measured.stream else None,
        "cpu_us_per_request": None,
    }
    if direct is not None and measured.name != "direct":
        row["added_p50_ms"] = _difference(p50, percentile_ms(direct.total_ns, 0.5))
        row["added_p99_ms"] = _difference(p99, percentile_ms(direct.total_ns, 0.99))
    if measured.cpu_ns is not None and result.done:
        row["cpu_us_per_request"] = round(measured.cpu_ns / 1e3 / result.done, 1)
    return row


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _difference(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else round(value - base, 3)
