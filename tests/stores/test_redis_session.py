"""What becomes of decisions when Redis does, on real sockets."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from llmgw.config.redis_url import RedisUrl
from llmgw.core.claim import BALANCE, FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, Claim, Verdict
from llmgw.core.clock import Clock, steady_ns
from llmgw.stores import redis_session
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.redis_blocking import BlockingRedis
from llmgw.stores.redis_claims import EPOCH, NEXT, OWNER, Codec
from llmgw.stores.redis_counters import RedisCounters
from llmgw.stores.redis_session import Session
from llmgw.stores.redis_view import counters as all_counters
from llmgw.stores.redis_view import enter, release, seed, time_us
from tests.contracts.counters import MINUTE, rule
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.redis import RedisServer, redis_server

HOUR = 60 * MINUTE
LIMIT = 100


class Worker:
    """One worker of a host that counts through a proxy of its own."""

    def __init__(self, server: RedisServer, host: str, ledger: dict[str, tuple[int, int]]) -> None:
        self.server = server
        self.events: list[str] = []
        self.proxy = FaultProxy(server.port)
        self.host = host
        self.ledger = ledger

    async def open(self, budget_s: float = 0.5) -> None:
        await self.proxy.accept()
        redis = BlockingRedis(self.server.parsed())
        self.clock = Clock(steady_ns, time_us(redis) * 1_000 - steady_ns())
        enter(redis, {})
        redis.close()
        member = f"{self.host}:0:1"
        self.counters = RedisCounters(
            asyncio.get_running_loop(),
            Codec(OWNER + member.encode(), self.clock.utc_offset_ns),
            MemoryCounters(steady_ns),
            self.clock,
            lambda why: self.session.left(why),
            budget_s,
        )
        url = RedisUrl("single", (("127.0.0.1", self.proxy.port),))
        self.session = Session(
            url, self.counters, member, self._seed, lambda event, _: self.events.append(event)
        )
        await self.session.start(10.0)
        assert self.counters.link is not None

    async def close(self) -> None:
        await self.session.close()
        await self.proxy.refuse()

    def codec_utc_us(self, from_now_ns: int) -> int:
        """An instant on Redis's clock."""
        return self.counters.codec.utc_us(self.clock.steady_ns() + from_now_ns)

    def _seed(self) -> None:
        redis = BlockingRedis(self.server.parsed())
        seed(redis, self.ledger)
        redis.close()

    async def take(self, *claims: Claim, request: str = "r") -> Verdict:
        decided: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        given = self.counters.acquire(claims, request, decided.set_result)
        return given if isinstance(given, Verdict) else await decided

    async def settle(self, claim: Claim, charge: int, verdict: Verdict) -> None:
        done = asyncio.Event()
        self.counters.settle([(claim, charge)], verdict, done.set)
        await asyncio.wait_for(done.wait(), 10)

    async def admitted(self, claim: Claim, times: int) -> int:
        verdicts = [await self.take(claim, request=f"{self.host}{n}") for n in range(times)]
        return sum(not verdict.refusals for verdict in verdicts)

    async def until(self, holds: Callable[[], bool], within_s: float = 15.0) -> None:
        end = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < end, self.events
            await asyncio.sleep(0.01)

    async def lost(self) -> None:
        await self.until(lambda: self.counters.link is None)

    async def back(self) -> None:
        await self.until(lambda: self.counters.link is not None)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
async def hosts(server: RedisServer) -> AsyncIterator[list[Worker]]:
    ledger: dict[str, tuple[int, int]] = {}
    workers = [Worker(server, name, ledger) for name in ("a", "b")]
    for worker in workers:
        await worker.open()
    for worker in workers:
        await worker.session._beat(worker.counters.link)  # type: ignore[arg-type]
        assert worker.session.hosts == 2
    yield workers
    for worker in workers:
        await worker.close()


def limited(algorithm: str = FIXED_WINDOW, **changes: object) -> Claim:
    made = rule(algorithm, limit=LIMIT, window_ns=HOUR, **changes)
    return Claim(made, f"{made.counts}|acme", 1)


def budget(worker: Worker, cost: int = 10, on_store_error: str = "deny") -> Claim:
    made = rule(BALANCE, limit=LIMIT, on_store_error=on_store_error)
    return Claim(made, "quota|acme", cost, worker.clock.steady_ns() + HOUR)


@pytest.mark.parametrize("algorithm", [FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET])
@pytest.mark.parametrize("fault", ["refused", "silent", "slow", "stopped"])
async def test_f10_redis_is_gone(
    hosts: list[Worker], server: RedisServer, algorithm: str, fault: str
) -> None:
    """Both hosts go on with their share of what remained: no more than the limit, within 5 %."""
    claim = limited(algorithm)
    used = sum([await worker.admitted(claim, 20) for worker in hosts])
    for worker in hosts:
        # Each second a worker hears what others have used.
        await worker.session._beat(worker.counters.link)  # type: ignore[arg-type]
    await asyncio.sleep(0.2)
    for worker in hosts:
        worker.counters._budget_s = 0.02
        if fault == "refused":
            await worker.proxy.refuse()
        worker.proxy.silent = fault == "silent"
        worker.proxy.delay_s = 5.0 if fault == "slow" else 0.0
    if fault == "stopped":
        server.signal(signal.SIGSTOP)

    first = [await timed(worker.take(claim)) for worker in hosts]
    used += sum(not verdict.refusals for verdict, _ in first)
    # The budget is 20 ms; the rest is what this machine is busy with.
    assert all(took < 0.3 for _, took in first)
    for worker in hosts:
        for _ in range(4):
            used += await worker.admitted(claim, 1)
        await worker.lost()
    open_s = [await timed(worker.take(claim)) for worker in hosts]
    used += sum(not verdict.refusals for verdict, _ in open_s)
    assert min(took for _, took in open_s) < 0.001
    assert all(verdict.degraded == b"ratelimit" for verdict, _ in open_s)
    used += sum([await worker.admitted(claim, 60) for worker in hosts])

    assert used <= LIMIT * 1.05
    assert used >= LIMIT * 0.85
    for worker in hosts:
        await worker.until(lambda worker=worker: worker.events == ["redis_lost"])  # type: ignore[misc]
    server.signal(signal.SIGCONT)


async def timed(asked: object) -> tuple[Verdict, float]:
    begun = time.perf_counter()
    verdict: Verdict = await asked  # type: ignore[misc]
    return verdict, time.perf_counter() - begun


async def test_f10_redis_comes_back_and_hears_of_what_was_let_on(hosts: list[Worker]) -> None:
    claim = limited()
    used = sum([await worker.admitted(claim, 20) for worker in hosts])
    for worker in hosts:
        await worker.proxy.refuse()
        await worker.lost()
    used += sum([await worker.admitted(claim, 10) for worker in hosts])
    for worker in hosts:
        await worker.proxy.accept()
    for worker in hosts:
        await worker.back()

    used += sum([await worker.admitted(claim, 100) for worker in hosts])

    assert used == LIMIT
    for worker in hosts:
        assert worker.events == ["redis_lost", "redis_back"]


async def test_f10_redis_becomes_a_replica(hosts: list[Worker], server: RedisServer) -> None:
    worker, _ = hosts
    await worker.admitted(limited(), 1)
    server.call("REPLICAOF", "127.0.0.1", 1)

    verdict = await worker.take(limited())

    assert not verdict.refusals
    assert verdict.degraded == b"ratelimit"
    await worker.lost()
    server.call("REPLICAOF", "NO", "ONE")
    await worker.back()


async def test_f10_redis_has_no_memory_left(hosts: list[Worker], server: RedisServer) -> None:
    worker, _ = hosts
    server.call("CONFIG", "SET", "maxmemory", 1)

    assert (await worker.take(limited())).degraded == b"ratelimit"

    server.call("CONFIG", "SET", "maxmemory", 0)
    await worker.back()
    assert (await worker.take(limited())).degraded == b""


@pytest.mark.parametrize(("on_store_error", "passes"), [("allow", True), ("local", True), ("deny", False)])
async def test_f10_every_rule_says_what_happens(
    hosts: list[Worker], on_store_error: str, passes: bool
) -> None:
    worker, _ = hosts
    await worker.proxy.refuse()
    await worker.lost()

    verdict = await worker.take(limited(on_store_error=on_store_error))
    quota = await worker.take(budget(worker, 10, on_store_error))

    assert (not verdict.refusals, not quota.refusals) == (passes, passes)
    assert quota.degraded == b"quota"


async def test_f11_redis_comes_and_goes(hosts: list[Worker]) -> None:
    """It is trusted later each time, and nothing hangs."""
    worker, _ = hosts
    asked = 0
    end = time.monotonic() + 4
    while time.monotonic() < end:
        await worker.proxy.refuse()
        await asyncio.sleep(0.1)
        await worker.proxy.accept()
        for _ in range(10):
            await asyncio.wait_for(worker.take(limited()), 2)
            asked += 1
            await asyncio.sleep(0.01)
    assert asked > 50
    # 20 outages of the proxy; far fewer of the gateway.
    assert worker.events.count("redis_lost") <= 8
    await worker.back()


async def test_f12_redis_is_wiped(hosts: list[Worker], server: RedisServer) -> None:
    """No limit begins anew and no budget is granted twice, what is held included."""
    claim = limited()
    used = sum([await worker.admitted(claim, 20) for worker in hosts])
    spender, holder = hosts
    hold = budget(spender, 40)
    await spender.settle(hold, 30, await spender.take(hold))
    held = await holder.take(budget(holder, 40))
    assert not held.refusals

    server.call("FLUSHALL")
    used += await spender.admitted(claim, 1)
    for worker in hosts:
        await worker.admitted(budget(worker, 1), 1)
        await worker.until(lambda worker=worker: "redis_back" in worker.events)  # type: ignore[misc]

    used += sum([await worker.admitted(claim, 100) for worker in hosts])
    assert used <= LIMIT * 1.05
    # 30 are spent and 40 held.
    assert not (await spender.take(budget(spender, 28), request="x")).refusals
    assert (await holder.take(budget(holder, 3), request="y")).refusals
    await holder.settle(budget(holder, 40), 0, held)
    assert not (await holder.take(budget(holder, 38), request="z")).refusals


async def test_g02_the_ledger_is_the_least_that_is_spent(hosts: list[Worker], server: RedisServer) -> None:
    """A Redis that starts anew grants what the records leave, whoever knew of them."""
    until_us = time_us(redis := BlockingRedis(server.parsed())) + 3_600_000_000
    redis.close()
    hosts[0].ledger["quota|acme"] = (95, until_us)

    server.stop()
    server.start()
    for worker in hosts:
        await worker.until(lambda worker=worker: "redis_back" in worker.events)  # type: ignore[misc]

    assert (await hosts[1].take(budget(hosts[1], 6))).refusals
    assert not (await hosts[1].take(budget(hosts[1], 5))).refusals


async def test_f13_redis_forgets_the_scripts(hosts: list[Worker], server: RedisServer) -> None:
    worker, _ = hosts
    hold = budget(worker)
    server.call("SCRIPT", "FLUSH")
    verdict = await worker.take(hold)
    server.call("SCRIPT", "FLUSH")
    await worker.settle(hold, 10, verdict)

    assert (verdict.refusals, verdict.degraded) == ((), b"")
    assert worker.counters.link is not None
    assert dict(all_balances(server)) == {"quota|acme": (10, 0)}


async def test_a_settlement_on_a_lost_connection_counts_once(
    hosts: list[Worker], server: RedisServer
) -> None:
    worker, _ = hosts
    hold = budget(worker)
    verdict = await worker.take(hold)
    worker.proxy.delay_s = 0.3
    worker.counters.settle([(hold, 7)], verdict)
    await asyncio.sleep(0.1)
    assert dict(all_balances(server)) == {"quota|acme": (7, 0)}
    worker.proxy.cut()
    worker.proxy.delay_s = 0.0
    await worker.lost()
    await worker.back()
    await worker.take(limited())

    assert dict(all_balances(server)) == {"quota|acme": (7, 0)}


async def test_a_verdict_that_comes_too_late_holds_nothing(hosts: list[Worker], server: RedisServer) -> None:
    worker, _ = hosts
    worker.counters._budget_s = 0.05
    worker.proxy.delay_s = 0.2

    assert (await worker.take(budget(worker))).refusals

    worker.proxy.delay_s = 0.0
    await worker.until(lambda: dict(all_balances(server)).get("quota|acme") == (0, 0))


async def test_a_request_that_left_holds_nothing(hosts: list[Worker], server: RedisServer) -> None:
    worker, _ = hosts
    waiting = worker.counters.acquire([budget(worker)], "gone", lambda verdict: pytest.fail("nobody waits"))
    assert not isinstance(waiting, Verdict)
    waiting.forgo()

    await worker.until(lambda: dict(all_balances(server)).get("quota|acme") == (0, 0))


async def test_g12_what_a_dead_process_held_is_charged_with_what_it_recorded(
    hosts: list[Worker], server: RedisServer
) -> None:
    worker, _ = hosts
    for request in ("recorded", "lost"):
        await worker.take(budget(worker), request=request)
    await worker.session.close()
    redis = BlockingRedis(server.parsed())

    release(redis, b"a:0:", lambda request, key: (7 if request == "recorded" else 0, time_us(redis)))
    release(redis, b"a:0:", lambda request, key: (7, time_us(redis)))
    redis.close()

    assert dict(all_balances(server)) == {"quota|acme": (7, 0)}


async def test_an_epoch_of_another_server_is_not_trusted(hosts: list[Worker], server: RedisServer) -> None:
    """After a failover the replica has the old epoch, and perhaps not all that was written."""
    worker, other = hosts
    hold = budget(worker, 60)
    await worker.settle(hold, 60, await worker.take(hold))
    epoch = server.call("GET", EPOCH)
    server.stop()
    server.start()
    server.call("SET", EPOCH, epoch)
    for each in hosts:
        await each.until(lambda each=each: "redis_back" in each.events)  # type: ignore[misc]

    assert (await other.take(budget(other, 41))).refusals
    assert server.call("GET", EPOCH) != epoch


async def test_m08_a_ledger_that_takes_long(
    hosts: list[Worker], server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who leads goes on leading, or nobody would ever come to an end."""
    monkeypatch.setattr(redis_session, "_RENEW_S", 0.1)
    seeds: list[str] = []

    def seed_slowly(worker: Worker) -> None:
        seeds.append(worker.host)
        server.call("PEXPIRE", NEXT, 500)
        time.sleep(1.0)

    for worker in hosts:
        worker.session._seed = partial(seed_slowly, worker)  # type: ignore[method-assign]
    server.call("FLUSHALL")
    for worker in hosts:
        await worker.admitted(limited(), 1)
    for worker in hosts:
        await worker.until(lambda worker=worker: "redis_back" in worker.events)  # type: ignore[misc]

    assert len(seeds) == 1


async def test_m08_a_server_of_before_counts_again(
    hosts: list[Worker], server: RedisServer, tmp_path: Path
) -> None:
    """Its epoch is still in force there, and what was spent elsewhere is not: the ledger has it."""
    place = tmp_path / "other"
    place.mkdir()
    with redis_server(place) as other:
        for target, spent in ((other, 30), (server, 90)):
            hosts[0].ledger["quota|acme"] = (spent, hosts[0].codec_utc_us(HOUR))
            for each in hosts:
                each.server, each.proxy.target = target, target.port
                each.events.clear()
                each.proxy.cut()
            for each in hosts:
                await each.until(lambda each=each: "redis_back" in each.events)  # type: ignore[misc]

        assert (await hosts[1].take(budget(hosts[1], 11))).refusals
        assert not (await hosts[1].take(budget(hosts[1], 10))).refusals


def all_balances(server: RedisServer) -> Iterator[tuple[str, tuple[int, int]]]:
    redis = BlockingRedis(server.parsed())
    try:
        for key, state in all_counters(redis):
            if state[-1] == 4.0:
                yield key, (int(state[0]), int(state[1]))
    finally:
        redis.close()
