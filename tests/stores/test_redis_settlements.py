"""Batches of what requests used: together, once, and in order."""

from __future__ import annotations

import asyncio
from struct import pack

import hiredis

from llmgw.core.claim import BALANCE, FIXED_WINDOW, Claim
from llmgw.stores.redis_claims import Codec
from llmgw.stores.redis_link import Late, Lost, Question
from llmgw.stores.redis_settlements import Settlements
from tests.contracts.counters import claim


class FakeLink:
    """Keeps what is asked. sent: the packed commands, once `flush` was called."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, Question]] = []
        self.sent: list[bytes] = []

    def ask(self, packed: object, question: Question) -> None:
        self.asked.append((packed, question))

    def flush(self) -> None:
        for packed, _ in self.asked[len(self.sent) :]:
            self.sent.append(packed if isinstance(packed, bytes) else packed())  # type: ignore[operator]


class Store:
    def __init__(self) -> None:
        self.lost: list[str] = []
        self.link = FakeLink()
        loop = asyncio.get_running_loop()
        self.settlements = Settlements(loop, Codec(b"owner", 0), self.lost.append)
        self.settlements.link = self.link  # type: ignore[assignment]

    def lease(self, request: str, claim: Claim) -> None:
        self.settlements.leases[request, claim.key] = claim

    def answer(self, place: int, *spent: int) -> None:
        self.link.asked[place][1].answered(pack(f"<{len(spent)}d", *spent))


HOLD = claim(BALANCE, 10)


async def test_what_ends_in_one_turn_goes_together() -> None:
    store = Store()
    told: list[str] = []
    for request in ("a", "b"):
        store.lease(request, HOLD)
        store.settlements.add([(HOLD, 7, 0, request, True)], lambda request=request: told.append(request))  # type: ignore[misc]
    store.link.flush()
    assert len(store.link.sent) == 1
    assert len(store.settlements.leases) == 2

    store.answer(0, 7, 14)

    assert told == ["a", "b"]
    assert not store.settlements.leases
    assert store.settlements.spent[HOLD.key] == (HOLD, 14)


async def test_a_batch_that_has_left_takes_no_more() -> None:
    store = Store()
    store.settlements.add([(HOLD, 7, 0, "a", True)])
    store.link.flush()
    store.settlements.add([(HOLD, 7, 0, "b", True)])
    store.link.flush()

    assert len(store.link.sent) == 2


async def test_many_go_in_batches() -> None:
    store = Store()
    store.settlements.add([(HOLD, 1, 0, f"r{number}", True) for number in range(600)])
    store.link.flush()

    assert len(store.link.sent) == 3


async def test_a_batch_that_was_lost_goes_again_on_the_next_link() -> None:
    """What has a lease counts once anyway. Permits that were to be given back are let go."""
    store = Store()
    permit = claim(FIXED_WINDOW)
    store.settlements.add([(HOLD, 7, 0, "a", True), (permit, 0, 0, "a", False), (permit, 4, 0, "a", False)])
    store.link.flush()
    store.settlements.link = None
    question = store.link.asked[0][1]
    question.expired = True
    question.failed(Lost("gone"))
    fresh = FakeLink()

    store.settlements.send(fresh)  # type: ignore[arg-type]
    fresh.flush()

    assert store.lost == []
    assert fresh.asked[0][1].items == [(HOLD, 7, 0, "a", True), (permit, 4, 0, "a", False)]  # type: ignore[attr-defined]


async def test_an_answer_that_is_late_ends_the_link() -> None:
    store = Store()
    store.settlements.add([(HOLD, 7, 0, "a", True)])
    store.link.flush()
    question = store.link.asked[0][1]
    question.expired = True

    question.failed(Late("late"))
    question.answered(pack("<d", 7))

    assert store.lost == ["it does not settle within a second"]
    assert not store.settlements.spent


async def test_an_error_is_told_and_nothing_is_dropped() -> None:
    store = Store()
    store.settlements.add([(HOLD, 7, 0, "a", True)])
    store.link.flush()

    store.link.asked[0][1].answered(hiredis.ReplyError("OOM command not allowed"))

    assert store.lost == ["OOM command not allowed"]
    store.settlements.send(store.link)  # type: ignore[arg-type]
    assert len(store.link.asked) == 2


async def test_scripts_that_were_forgotten_are_sent_before_the_batch() -> None:
    store = Store()
    store.settlements.add([(HOLD, 7, 0, "a", True)])
    store.link.flush()

    store.link.asked[0][1].answered(hiredis.ReplyError("NOSCRIPT No matching script"))
    store.link.flush()

    assert [b"LOAD" in sent for sent in store.link.sent] == [False, True, True, False]
    store.answer(3, 7)
    assert store.settlements.spent[HOLD.key] == (HOLD, 7)


async def test_balances_of_a_period_that_is_over_are_forgotten() -> None:
    store = Store()
    store.settlements.spent[HOLD.key] = (HOLD, 7)

    store.settlements.forget(HOLD.until - 1)
    assert store.settlements.spent
    store.settlements.forget(HOLD.until)

    assert not store.settlements.spent
