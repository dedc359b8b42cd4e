"""Limits and quotas that are asked for elsewhere, in one trip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC
from typing import cast

import pytest

from llmgw.core.claim import BALANCE, CONCURRENCY, FIXED_WINDOW, Claim, Verdict
from llmgw.core.clock import Clock
from llmgw.core.errors import LimitExceeded, Unavailable
from llmgw.core.exchange import Exchange
from llmgw.policies.client_address import ClientAddress
from llmgw.policies.idempotency import KEY
from llmgw.policies.places import Places
from llmgw.policies.quota import Allowance
from llmgw.policies.rate_limit import Levels
from llmgw.policies.shared_limits import SharedQuota, SharedRateLimit, together
from llmgw.ports.alerts import NullAlerter
from llmgw.ports.counters import Settlement
from llmgw.ports.policy import Ticket
from llmgw.stores.counters import MemoryCounters
from tests.contracts.counters import START, claim, remaining, rule
from tests.fakes.exchanges import exchange

TENANT = claim(rule(FIXED_WINDOW, limit=3))
PLACE = claim(rule(CONCURRENCY, limit=1))


class Elsewhere:
    """Counters that answer when they are told to. trips: what was asked, in each."""

    def __init__(self, counters: MemoryCounters) -> None:
        self.counters = counters
        self.trips: list[Sequence[Claim]] = []
        self.waiting: list[Callable[[], None]] = []
        self.forgone = 0
        self.at_once = False
        self.degraded: Verdict | None = None
        self.settled: list[Settlement] = []

    def acquire(
        self,
        claims: Sequence[Claim],
        request_id: str,
        decided: Callable[[Verdict], None],
        place: Verdict | None = None,
    ) -> Verdict | Elsewhere:
        self.trips.append(claims)
        if self.degraded is not None:
            return self.degraded
        verdict = self.counters.acquire(list(claims), request_id)
        if self.at_once:
            return verdict
        self.waiting.append(lambda: decided(verdict))
        return self

    def forgo(self) -> None:
        self.forgone += 1

    def settle(
        self,
        settlements: Sequence[Settlement],
        verdict: Verdict,
        settled: Callable[[], None] | None = None,
    ) -> None:
        self.settled += settlements
        self.counters.settle(settlements, verdict)

    def balance(self, key: str) -> tuple[int, int]:
        return self.counters.balance(key)

    def answer(self) -> None:
        self.waiting.pop(0)()


def _steady() -> int:
    return START


class Road:
    """The two policies as a plan has them."""

    def __init__(self, *, place: bool = False, limit: int = 2, on_store_error: str = "deny") -> None:
        self.shared = Elsewhere(MemoryCounters(_steady))
        self.host = MemoryCounters(_steady)
        levels = Levels((TENANT,), (), (), PLACE if place else None)
        rest = (None, ClientAddress((), ()), Places(0, 0.0), 0)
        self.limits = SharedRateLimit(
            self.shared,  # type: ignore[arg-type]
            self.host,
            lambda principal: levels,
            *rest,
            strands=False,
        )
        self.allowance = Allowance(
            "budget",
            "quota|tenant|requests|month|UTC|acme",
            {"tenant": "acme"},
            "requests",
            limit,
            "month",
            UTC,
            None,
            on_store_error=on_store_error,
        )
        clock = Clock(_steady, 1_700_000_000 * 10**9)
        self.quota = SharedQuota(
            self.shared,  # type: ignore[arg-type]
            self.host,
            lambda principal: [self.allowance],
            list,
            clock,
            NullAlerter(),
        )
        self.policies = together([self.limits, self.quota])

    async def admit(self, ex: Exchange) -> list[Ticket]:
        """What all policies let the request on with. What was taken is given back when one refuses."""
        tickets: list[Ticket] = []
        try:
            for policy in self.policies:
                given = policy.admit(ex)
                if isinstance(given, Awaitable):
                    given = await given
                if given is not None:
                    tickets.append(cast("Ticket", given))
        except BaseException:
            for ticket in tickets:
                ticket.settle(ex)
            raise
        return tickets

    def held(self) -> int:
        """Of the quota."""
        return sum(held for _, _, held in self.shared.counters.balances())


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_limits_and_quotas_are_one_trip() -> None:
    road = Road()
    asked = asyncio.create_task(road.admit(exchange()))
    await turn()
    assert not asked.done()
    road.shared.answer()

    tickets = await asked

    assert [[one.rule.algorithm for one in trip] for trip in road.shared.trips] == [[FIXED_WINDOW, BALANCE]]
    assert len(tickets) == 2
    assert road.held() == 1


async def test_a_verdict_that_is_there_is_not_waited_for() -> None:
    road = Road()
    road.shared.at_once = True

    assert len(await road.admit(exchange())) == 2


async def test_a_quota_that_refuses_spends_no_permit() -> None:
    """Both are taken, or none."""
    road = Road(limit=1)
    road.shared.at_once = True
    tickets = await road.admit(exchange())
    for _ in range(5):
        with pytest.raises(LimitExceeded) as refused:
            await road.admit(exchange())
        assert refused.value.code == "quota_held"

    assert remaining(road.shared.counters, TENANT) == 2
    assert len(tickets) == 2


async def test_the_limits_refuse_before_the_quotas() -> None:
    road = Road(limit=3)
    road.shared.at_once = True
    for _ in range(3):
        await road.admit(exchange())

    with pytest.raises(LimitExceeded) as refused:
        await road.admit(exchange())

    assert refused.value.code == "rate_limit_exceeded"


async def test_a_request_that_leaves_before_its_verdict() -> None:
    road = Road()
    asked = asyncio.create_task(road.admit(exchange()))
    await turn()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)

    assert road.shared.forgone == 1


async def test_a_request_with_an_idempotency_key_asks_for_its_quota_later() -> None:
    """An answer that is known spends none."""
    road = Road()
    road.shared.at_once = True

    await road.admit(exchange(fields={KEY: b"k"}))

    assert [len(trip) for trip in road.shared.trips] == [1, 1]


async def test_a_verdict_without_the_store_says_so() -> None:
    road = Road()
    road.shared.at_once = True
    taken = road.shared.counters.acquire([TENANT, claim(rule(BALANCE))], "")
    road.shared.degraded = Verdict(taken.steps, START, degraded=b"ratelimit, quota")
    ex = exchange()

    await road.admit(ex)

    assert b"x-llmgw-degraded: ratelimit, quota\r\n" in ex.limit_head


async def test_f10_a_quota_that_cannot_be_checked_is_503() -> None:
    """Not 429: whether it is spent, nobody knows. `x-llmgw-degraded` is there all the same."""
    road = Road()
    (period,) = [road.allowance.at(1_700_000_000 * 10**9 + START, 1_700_000_000 * 10**9)]
    shared = Elsewhere(MemoryCounters(_steady))
    refusal = shared.counters.acquire([Claim(period.rule, period.key, 3, period.until)], "").refusals
    road.shared.degraded = Verdict(
        [((1,), 2, START), (None, 0, START)], START, refusal, degraded=b"ratelimit, quota"
    )

    with pytest.raises(Unavailable, match="quotas cannot be checked") as refused:
        await road.admit(exchange())

    assert refused.value.status == 503


async def test_what_was_held_becomes_what_was_used() -> None:
    road = Road()
    road.shared.at_once = True
    ex = exchange()
    tickets = await road.admit(ex)
    ex.opened = True
    for ticket in tickets:
        ticket.settle(ex)

    charged = [charge for one, charge in road.shared.settled if one.rule.algorithm == BALANCE]
    assert charged == [1]
    assert road.held() == 0
    assert road.quota.spent(road.shared.trips[0][1].key) == 1
