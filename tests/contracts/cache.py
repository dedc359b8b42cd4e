"""What every place for kept answers keeps to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256

from llmgw.ports.cache import CacheKey, CacheStore, Kept

Pass = Callable[[float], Awaitable[None]]


def key(name: str, tenant: str = "acme") -> CacheKey:
    return CacheKey(tenant, sha256(name.encode()).digest())


async def ask(store: CacheStore, wanted: CacheKey) -> Kept | None:
    answer: asyncio.Future[Kept | None] = asyncio.get_running_loop().create_future()
    store.get(wanted, answer.set_result)
    async with asyncio.timeout(5):
        return await answer


async def value_of(store: CacheStore, wanted: CacheKey) -> bytes | None:
    kept = await ask(store, wanted)
    return None if kept is None else kept.value


async def wait_for(store: CacheStore, wanted: CacheKey, value: bytes | None) -> None:
    """Until the store has it: a put is not waited for."""
    async with asyncio.timeout(5):
        while await value_of(store, wanted) != value:
            await asyncio.sleep(0.005)


class CacheStoreContract:
    """Give `store`, of 1 MiB and empty, and `let_pass`, which lets seconds go by for it."""

    async def test_nothing_is_there_at_first(self, store: CacheStore) -> None:
        assert await ask(store, key("a")) is None
        assert store.secret is not None
        assert len(store.secret) == 32

    async def test_what_is_put_is_there(self, store: CacheStore) -> None:
        value = bytes(range(256)) * 40
        store.put(key("a"), value, 60.0)

        await wait_for(store, key("a"), value)
        kept = await ask(store, key("a"))
        assert kept is not None
        assert 0 <= kept.age_s < 5
        assert await ask(store, key("b")) is None

    async def test_i01_a_digest_is_of_one_tenant(self, store: CacheStore) -> None:
        """Two tenants' keys are apart even if their digests were not."""
        store.put(key("a", "acme"), b"acme's", 60.0)
        await wait_for(store, key("a", "acme"), b"acme's")

        store.put(key("b", "rival"), b"rival's", 60.0)
        await wait_for(store, key("b", "rival"), b"rival's")
        assert await value_of(store, key("b", "acme")) is None
        assert await value_of(store, key("a", "acme")) == b"acme's"

    async def test_the_newest_holds(self, store: CacheStore) -> None:
        store.put(key("a"), b"old", 60.0)
        store.put(key("a"), b"newer and longer", 60.0)

        await wait_for(store, key("a"), b"newer and longer")

    async def test_an_answer_ages_and_ends(self, store: CacheStore, let_pass: Pass) -> None:
        store.put(key("a"), b"for a while", 0.6)
        await wait_for(store, key("a"), b"for a while")

        await let_pass(0.2)
        kept = await ask(store, key("a"))
        assert kept is not None
        assert kept.age_s >= 0.2
        await let_pass(0.5)
        assert await ask(store, key("a")) is None

    async def test_i07_its_size_is_bounded(self, store: CacheStore) -> None:
        """Of ten times what there is room for, the last ones are there."""
        value = bytes(20_000)
        for number in range(500):
            store.put(key(f"{number}"), value, 60.0 + number)
            if not number % 50:
                await asyncio.sleep(0.01)

        await wait_for(store, key("499"), value)
        assert await value_of(store, key("0")) is None
        there = sum([await value_of(store, key(f"{number}")) is not None for number in range(500)])
        assert 20 <= there <= 53
        assert store.size_bytes <= 1024 * 1024 + 25_000

    async def test_what_cannot_fit_is_not_kept(self, store: CacheStore) -> None:
        store.put(key("small"), b"x", 60.0)
        store.put(key("big"), bytes(2 * 1024 * 1024), 60.0)

        await wait_for(store, key("small"), b"x")
        assert await value_of(store, key("big")) is None
        assert store.failed == 1

    async def test_i11_a_tenants_answers_are_erased(self, store: CacheStore) -> None:
        """And nobody else's."""
        for number in range(30):
            store.put(key(f"{number}", "gone"), b"x" * 1000, 60.0)
            store.put(key(f"other {number}", "there"), b"y" * 1000, 60.0)
        await wait_for(store, key("29", "gone"), b"x" * 1000)
        await wait_for(store, key("other 29", "there"), b"y" * 1000)

        store.forget(frozenset({"gone", "never there"}))

        for number in range(30):
            await wait_for(store, key(f"{number}", "gone"), None)
            assert await value_of(store, key(f"other {number}", "there")) == b"y" * 1000

    async def test_a_closed_one_is_closed(self, store: CacheStore) -> None:
        store.put(key("a"), b"x", 60.0)

        store.close()
