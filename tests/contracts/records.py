"""What every journal promises, and the entries that tests write into one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from llmgw.core.record import Entry, Opened, Progress, Settled
from llmgw.ports.stores import Journal

AT_NS = 1_790_000_000_000_000_000
PRICE = '{"input":150000000,"output":600000000}'


def opened(number: int, **changes: Any) -> Opened:
    fields: dict[str, Any] = {
        "request_id": f"req_{number:012x}",
        "at_ns": AT_NS + number,
        "tenant": "acme",
        "user": "alice",
        "key_id": "abcdefghijklmnop",
        "endpoint": "/v1/chat/completions",
        "operation": "chat",
        "model": "gpt-4o",
        "provider": "openai",
        "upstream_model": "gpt-4o-2024-11-20",
        "route": None,
        "streamed": False,
        "generation": "g1",
        "input_tokens_estimate": 200,
        "price": PRICE,
    }
    return Opened(**(fields | changes))


def settled(number: int, **changes: Any) -> Settled:
    fields: dict[str, Any] = {
        "request_id": f"req_{number:012x}",
        "at_ns": AT_NS + number,
        "tenant": "acme",
        "user": "alice",
        "key_id": "abcdefghijklmnop",
        "endpoint": "/v1/chat/completions",
        "operation": "chat",
        "model": "gpt-4o",
        "provider": "openai",
        "upstream_model": "gpt-4o-2024-11-20",
        "route": None,
        "streamed": False,
        "generation": "g1",
        "attempts": 1,
        "status": 200,
        "outcome": "ok",
        "code": None,
        "input_tokens": 250,
        "cached_tokens": 50,
        "cache_write_tokens": 0,
        "output_tokens": 100,
        "reasoning_tokens": 10,
        "usage_source": "reported",
        "cost_nano_usd": 97_500,
        "price": PRICE,
        "first_byte_us": 1000,
        "total_us": 2000,
    }
    return Settled(**(fields | changes))


class Told:
    """Collects what `written` is called with."""

    def __init__(self) -> None:
        self.answers: list[Exception | None] = []

    def __call__(self, error: Exception | None) -> None:
        self.answers.append(error)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class JournalContract:
    """A subclass gives the fixtures `journal` and `entries` (what can be read back, in order)."""

    async def test_written_is_called_later_and_once(self, journal: Journal) -> None:
        """`open` returns first; the answer comes in a later turn, None for success."""
        told = Told()

        journal.open(opened(1), told)

        assert told.answers == []
        await turns()
        assert told.answers == [None]

    async def test_a_life_is_read_back(self, journal: Journal, entries: Callable[[], list[Entry]]) -> None:
        """What went in comes out, in the order of the request's life."""
        journal.open(opened(1), Told())
        await turns()
        journal.progress(Progress("req_000000000001", 7))
        await turns()
        journal.settle(settled(1))
        await turns()

        assert entries() == [opened(1), Progress("req_000000000001", 7), settled(1)]

    @pytest.mark.parametrize("count", [1, 50])
    async def test_many_in_one_turn(
        self, journal: Journal, entries: Callable[[], list[Entry]], count: int
    ) -> None:
        """Everybody who opened in one turn is told."""
        told = Told()
        for number in range(count):
            journal.open(opened(number), told)
        await turns()

        assert told.answers == [None] * count
        assert entries() == [opened(number) for number in range(count)]
