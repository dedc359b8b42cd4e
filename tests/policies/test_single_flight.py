from __future__ import annotations

import asyncio

import pytest

from llmgw.engine.strand import Strand
from llmgw.policies.single_flight import ALONE, LEAD, SingleFlight
from llmgw.ports.cache import CacheKey

KEY = CacheKey("acme", b"k" * 32)


class Waiter(Strand):
    """One request that waits. got: what it was told, None while it waits."""

    __slots__ = ("got",)

    def __init__(self, flights: SingleFlight, within_s: float = 30.0) -> None:
        self.got: object = None
        super().__init__(self._wait(flights, within_s))
        self.start()

    async def _wait(self, flights: SingleFlight, within_s: float) -> None:
        self.got = await flights.wait(KEY, within_s)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def flights() -> SingleFlight:
    flights = SingleFlight()
    assert flights.begin(KEY)
    return flights


async def test_i08_the_first_answers_for_all(flights: SingleFlight) -> None:
    waiters = [Waiter(flights) for _ in range(100)]
    assert not flights.begin(KEY)

    flights.land(KEY, b"answer")
    await turns()

    assert [waiter.got for waiter in waiters] == [b"answer"] * 100
    assert flights.waited == 100
    assert len(flights) == 0


async def test_i08_when_the_first_fails_one_takes_its_place(flights: SingleFlight) -> None:
    waiters = [Waiter(flights) for _ in range(3)]

    flights.land(KEY, LEAD)
    await turns()
    assert [waiter.got for waiter in waiters] == [LEAD, None, None]

    flights.land(KEY, b"answer")
    await turns()
    assert [waiter.got for waiter in waiters] == [LEAD, b"answer", b"answer"]


async def test_when_its_successor_fails_too_all_go(flights: SingleFlight) -> None:
    """Failing one after the other would make the last one wait for all of them."""
    waiters = [Waiter(flights) for _ in range(3)]
    flights.land(KEY, LEAD)
    await turns()

    flights.land(KEY, LEAD)
    await turns()

    assert [waiter.got for waiter in waiters] == [LEAD, ALONE, ALONE]
    assert len(flights) == 0


async def test_an_answer_that_cannot_be_shared_lets_all_go(flights: SingleFlight) -> None:
    waiters = [Waiter(flights) for _ in range(3)]

    flights.land(KEY, ALONE)
    await turns()

    assert [waiter.got for waiter in waiters] == [ALONE] * 3


async def test_nobody_waits_longer_than_it_may(flights: SingleFlight) -> None:
    waiter = Waiter(flights, within_s=0.02)

    async with asyncio.timeout(5):
        while waiter.got is None:
            await asyncio.sleep(0.005)

    assert waiter.got is ALONE
    flights.land(KEY, b"answer")


async def test_who_leaves_while_waiting_is_not_promoted(flights: SingleFlight) -> None:
    gone, there = Waiter(flights), Waiter(flights)
    gone.interrupt(ConnectionError("left"))

    flights.land(KEY, LEAD)
    await turns()

    assert there.got is LEAD
    flights.land(KEY, LEAD)
    assert len(flights) == 0


async def test_who_leaves_when_it_was_just_promoted_hands_on(flights: SingleFlight) -> None:
    """Otherwise the others would wait for nobody."""
    gone, there = Waiter(flights), Waiter(flights)
    flights.land(KEY, LEAD)

    gone.interrupt(ConnectionError("left"))
    await turns()

    assert there.got is ALONE
    assert len(flights) == 0


async def test_other_requests_are_other_flights(flights: SingleFlight) -> None:
    assert flights.begin(CacheKey("rival", KEY.digest))
    assert flights.begin(CacheKey("acme", b"l" * 32))


async def test_keys_of_landed_flights_are_free_again(flights: SingleFlight) -> None:
    flights.land(KEY, b"answer")

    assert flights.begin(KEY)
