from __future__ import annotations

import pytest

from llmgw.stores.cache_memory import MemoryCache
from tests.contracts.cache import CacheStoreContract, Pass, key, value_of
from tests.fakes.clock import FakeClock


class TestMemoryCache(CacheStoreContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock) -> MemoryCache:
        return MemoryCache(1024 * 1024, lambda: clock.steady / 1e9)

    @pytest.fixture
    def let_pass(self, clock: FakeClock) -> Pass:
        async def let_pass(seconds: float) -> None:
            clock.sleep(seconds)

        return let_pass


async def test_the_least_recently_used_goes_first() -> None:
    store = MemoryCache(3_000, lambda: 0.0)
    for name in "abc":
        store.put(key(name), bytes(500), 60.0)
    assert await value_of(store, key("a"))

    store.put(key("d"), bytes(500), 60.0)

    found = [name for name in "abcd" if await value_of(store, key(name))]
    assert found == ["a", "c", "d"]


async def test_what_ended_takes_no_room() -> None:
    now = [0.0]
    store = MemoryCache(10_000, lambda: now[0])
    store.put(key("a"), bytes(500), 1.0)

    now[0] = 2.0

    assert await value_of(store, key("a")) is None
    assert store.size_bytes == 0
