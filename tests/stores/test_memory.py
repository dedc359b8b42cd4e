from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from llmgw.core.errors import Unavailable
from llmgw.core.record import Entry
from llmgw.stores.memory import MemoryJournal, MemoryKeyStore
from tests.contracts.keys import NOW, KeysContract
from tests.contracts.records import JournalContract, Told, opened, settled, turns


@pytest.fixture
async def journal() -> MemoryJournal:
    return MemoryJournal(asyncio.get_running_loop())


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def entries(self, journal: MemoryJournal) -> Callable[[], list[Entry]]:
        return lambda: list(journal.entries)

    async def test_a_refusal_can_be_played(self, journal: MemoryJournal) -> None:
        told = Told()
        journal.failing = Unavailable("full")
        journal.open(opened(1), told)
        journal.settle(settled(2))
        await turns()
        await journal.close()

        assert told.answers == [journal.failing]
        assert journal.settled == [settled(2)]


class TestMemoryKeys(KeysContract):
    @pytest.fixture
    def store(self) -> MemoryKeyStore:
        return MemoryKeyStore(lambda: NOW)

    @pytest.fixture
    def registry(self, store: MemoryKeyStore) -> MemoryKeyStore:
        return store

    async def test_close_holds_nothing(self, store: MemoryKeyStore) -> None:
        await store.close()
