"""What counting in Redis costs the gateway: `python -m tests.bench.redis_cost [requests]`.

CPU of this process, not Redis's, for each request at 32 at a time: five limits and a budget taken
in one trip, settled together. Beside it, the same on the host's counters, and bare round trips.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from llmgw.core.claim import BALANCE, FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, Claim, Rule, Verdict
from llmgw.core.clock import system_clock
from llmgw.core.ids import request_ids
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.redis_blocking import BlockingRedis
from llmgw.stores.redis_claims import OWNER, Codec
from llmgw.stores.redis_counters import RedisCounters
from llmgw.stores.redis_session import Session
from llmgw.stores.redis_view import enter
from tests.fakes.redis import RedisServer, redis_server

AT_ONCE = 32
_MINUTE = 60 * 1_000_000_000
_PLENTY = 10**9


def claims_of(caller: int, until: int, *, budget: bool) -> tuple[Claim, ...]:
    """The default limits of a caller, and a budget."""
    rules = [
        (
            Rule(
                name="u",
                counts="u",
                algorithm=SLIDING_WINDOW,
                unit="requests",
                limit=_PLENTY,
                window_ns=_MINUTE,
                segments=6,
            ),
            f"u|{caller}",
            0,
        ),
        (
            Rule(
                name="t",
                counts="t",
                algorithm=FIXED_WINDOW,
                unit="requests",
                limit=_PLENTY,
                window_ns=60 * _MINUTE,
            ),
            "t|acme",
            0,
        ),
        (
            Rule(
                name="i",
                counts="i",
                algorithm=FIXED_WINDOW,
                unit="requests",
                limit=_PLENTY,
                window_ns=_MINUTE,
            ),
            f"i|{caller}",
            0,
        ),
        (
            Rule(
                name="g", counts="g", algorithm=TOKEN_BUCKET, unit="requests", limit=10**7, window_ns=_MINUTE
            ),
            "g|",
            0,
        ),
    ]
    if budget:
        rules.append(
            (Rule(name="q", counts="q", algorithm=BALANCE, unit="cost", limit=10**14), "q|acme", until)
        )
    return tuple(Claim(rule, key, 1, end) for rule, key, end in rules)


async def measure(counters: RedisCounters, requests: int, *, budget: bool) -> tuple[float, float]:
    """Microseconds of CPU, and of time, for each request."""
    loop = asyncio.get_running_loop()
    until = counters.clock.steady_ns() + 86_400 * 1_000_000_000
    callers = [claims_of(caller, until, budget=budget) for caller in range(100)]
    make_id = request_ids()
    left = requests
    done = loop.create_future()
    under_way = 0

    def begin() -> None:
        nonlocal left, under_way
        if not left:
            if not under_way and not done.done():
                done.set_result(None)
            return
        left -= 1
        under_way += 1
        claims = callers[left % 100]

        def decided(verdict: Verdict) -> None:
            nonlocal under_way
            assert not verdict.refusals
            assert not verdict.degraded
            under_way -= 1
            if budget:
                counters.settle([(claims[-1], 1)], verdict)
            # As a request does: the next one comes by another turn of the loop.
            loop.call_soon(begin)

        given = counters.acquire(claims, make_id(), decided)
        if isinstance(given, Verdict):
            decided(given)

    cpu, clock = time.process_time(), time.perf_counter()
    for _ in range(AT_ONCE):
        begin()
    await done
    return (
        (time.process_time() - cpu) / requests * 1e6,
        (time.perf_counter() - clock) / requests * 1e6,
    )


def local(requests: int) -> float:
    """The same on this process's own counters."""
    clock = system_clock()
    counters = MemoryCounters(clock.steady_ns)
    callers = [claims_of(caller, clock.steady_ns() + 86_400 * 10**9, budget=True) for caller in range(100)]
    make_id = request_ids()
    cpu = time.process_time()
    for number in range(requests):
        claims = callers[number % 100]
        verdict = counters.acquire(claims, make_id())
        counters.settle([(claims[-1], 1)], verdict)
    return (time.process_time() - cpu) / requests * 1e6


async def main(requests: int, say: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory)) as server:
        setup = BlockingRedis(server.parsed())
        enter(setup, {})
        for leases, budget, text in (
            (False, False, "4 limits"),
            (False, True, "4 limits and a budget, held and settled"),
            (True, False, "4 limits, redis_mode: lease"),
        ):
            before = _calls(setup)
            cpu, took = await _in_redis(server, requests, leases=leases, budget=budget)
            asked = (_calls(setup) - before) / (4 * requests)
            say(f"{text}: {cpu:.1f} us of CPU, {took:.1f} us apart, {asked:.2f} scripts a request")
        say(f"the same on the process's own counters: {local(requests):.1f} us")
        setup.close()


async def _in_redis(server: RedisServer, requests: int, *, leases: bool, budget: bool) -> tuple[float, float]:
    """The best of three, after one that does not count."""
    clock = system_clock()
    counters = RedisCounters(
        asyncio.get_running_loop(),
        Codec(OWNER + b"bench:0:1", clock.utc_offset_ns),
        MemoryCounters(clock.steady_ns),
        clock,
        lambda why: sys.exit(f"Redis was lost: {why}"),
        5.0,
        leases=leases,
    )
    session = Session(server.parsed(), counters, "bench:0:1", lambda: None, lambda *_: None)
    await session.start(5.0)
    found = [await measure(counters, requests, budget=budget) for _ in range(4)]
    await session.close()
    return min(found[1:])


def _calls(redis: BlockingRedis) -> int:
    stats = redis.call("INFO", "commandstats").decode()
    line = next(line for line in stats.splitlines() if line.startswith("cmdstat_evalsha:"))
    return int(line.split("calls=")[1].split(",")[0])


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, print))
