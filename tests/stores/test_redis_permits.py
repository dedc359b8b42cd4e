"""Permits taken in advance, in a real Redis: their bounds, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from llmgw.core.claim import BALANCE, FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, Claim, Verdict
from llmgw.core.clock import Clock
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.redis_blocking import BlockingRedis
from llmgw.stores.redis_claims import OWNER, Codec
from llmgw.stores.redis_counters import RedisCounters
from llmgw.stores.redis_session import Session
from llmgw.stores.redis_view import enter
from tests.contracts.counters import MINUTE, RATES, SECOND, SteadyHand, rule
from tests.fakes.redis import RedisServer, redis_server

OFFSET_NS = 1_700_000_000_000_000_000
LIMIT = 1_000
WORKERS = 2
HELD = LIMIT // 50 // WORKERS


class Worker:
    """One that takes permits in advance; Redis is told the time by `hand`."""

    def __init__(self, server: RedisServer, hand: SteadyHand, index: int) -> None:
        self.codec = Codec(OWNER + b"a:%d:1" % index, OFFSET_NS)
        self.hand = hand
        self.counters = RedisCounters(
            asyncio.get_running_loop(),
            self.codec,
            MemoryCounters(hand),
            Clock(hand, OFFSET_NS),
            lambda why: self.session.left(why),
            5.0,
            leases=True,
        )
        self.session = Session(server.parsed(), self.counters, f"a:{index}:1", lambda: None, lambda *_: None)

    async def take(self, *claims: Claim) -> Verdict:
        self.codec.given = b"%d" % self.codec.utc_us(self.hand())
        decided: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        given = self.counters.acquire(claims, "r", decided.set_result)
        verdict = given if isinstance(given, Verdict) else await decided
        if self.counters.link is not None:
            await self.answers()
        return verdict

    async def answers(self) -> None:
        """All that was asked has been answered."""
        assert self.counters.link is not None
        await self.counters.link.call("PING")

    async def used(self, claim: Claim) -> int:
        """How much of a limit is counted in Redis."""
        self.codec.given = b"%d" % self.codec.utc_us(self.hand())
        await self.answers()
        ((_, remaining, _),) = await self.counters.peek([Claim(claim.rule, claim.key, 0)])
        return claim.rule.limit - remaining

    @property
    def at_once(self) -> int:
        assert self.counters.permits is not None
        return self.counters.permits.used


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def hand() -> SteadyHand:
    return SteadyHand()


@pytest.fixture
async def workers(server: RedisServer, hand: SteadyHand) -> AsyncIterator[list[Worker]]:
    redis = BlockingRedis(server.parsed())
    enter(redis, {})
    redis.close()
    workers = [Worker(server, hand, index) for index in range(WORKERS)]
    for worker in workers:
        await worker.session.start(10.0)
    for worker in workers:
        await worker.session._beat(worker.counters.link)  # type: ignore[arg-type]
    yield workers
    for worker in workers:
        await worker.session.close()


def limited(algorithm: str, limit: int = LIMIT, **changes: object) -> Claim:
    made = rule(algorithm, limit=limit, **changes)
    return Claim(made, f"{made.counts}|acme", 1)


@pytest.mark.parametrize("algorithm", RATES)
async def test_f03_a_race_of_workers_that_hold_permits(workers: list[Worker], algorithm: str) -> None:
    """Never more than the limit within a window, and at most 2 % of it is left."""
    claim = limited(algorithm)
    let_on = 0
    for number in range(3 * LIMIT):
        let_on += not (await workers[number % WORKERS].take(claim)).refusals

    assert LIMIT - WORKERS * HELD <= let_on <= LIMIT
    assert sum(worker.at_once for worker in workers) > LIMIT * 0.7


async def test_most_requests_wait_for_no_answer(workers: list[Worker]) -> None:
    """One that asks Redis is followed by as many as are held."""
    claims = [limited(FIXED_WINDOW), limited(SLIDING_WINDOW), limited(TOKEN_BUCKET)]
    for _ in range(2 + HELD):
        assert not (await workers[0].take(*claims)).refusals

    assert workers[0].at_once == HELD
    assert [await workers[0].used(claim) for claim in claims] == [2 + HELD] * 3


async def test_what_is_held_is_at_most_its_part(workers: list[Worker]) -> None:
    claim = limited(FIXED_WINDOW)
    for worker in workers:
        for _ in range(2):
            await worker.take(claim)

    assert await workers[0].used(claim) == WORKERS * (2 + HELD)


async def test_what_is_not_used_is_given_back(workers: list[Worker], hand: SteadyHand) -> None:
    worker, _ = workers
    claim = limited(FIXED_WINDOW)
    for _ in range(3):
        await worker.take(claim)
    hand.now += SECOND

    worker.counters.sweep()

    assert await worker.used(claim) == 3


async def test_what_is_held_is_given_back_at_the_end(workers: list[Worker]) -> None:
    worker, other = workers
    claim = limited(FIXED_WINDOW)
    for _ in range(3):
        await worker.take(claim)

    await worker.session.close()

    assert await other.used(claim) == 3


async def test_a_permit_is_not_used_in_another_window(workers: list[Worker], hand: SteadyHand) -> None:
    worker, _ = workers
    claim = limited(FIXED_WINDOW)
    for _ in range(2):
        await worker.take(claim)
    hand.now += MINUTE

    await worker.take(claim)

    assert worker.at_once == 0
    assert await worker.used(claim) == 1


@pytest.mark.parametrize(
    "claim",
    [
        limited(FIXED_WINDOW, limit=99),
        limited(FIXED_WINDOW, shadow=True),
        Claim(rule(BALANCE, limit=LIMIT), "quota|acme", 1, 2**62),
        Claim(rule(FIXED_WINDOW, limit=LIMIT), "tokens", 2),
    ],
    ids=["small", "shadow", "quota", "tokens"],
)
async def test_what_is_exact_in_this_mode_too(workers: list[Worker], claim: Claim) -> None:
    for _ in range(10):
        await workers[0].take(claim, limited(FIXED_WINDOW))

    assert workers[0].at_once == 0


async def test_nothing_is_held_once_redis_is_lost(workers: list[Worker], server: RedisServer) -> None:
    worker, _ = workers
    claim = limited(FIXED_WINDOW)
    for _ in range(2):
        await worker.take(claim)
    server.stop()
    while worker.counters.link is not None:
        await asyncio.sleep(0.01)

    assert (await worker.take(claim)).degraded == b"ratelimit"
    assert worker.at_once == 0
