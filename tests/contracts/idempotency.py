"""What every store of idempotency keys promises."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from llmgw.ports.idempotency import LEASE_S, Found, Held

PRINT, OTHER = b"a" * 32, b"b" * 32
DAY_S = 86_400.0


def held(name: str = "acme:1", fingerprint: bytes = PRINT) -> Held:
    """What a new request asks with."""
    return Held(name, secrets.token_bytes(16), fingerprint)


class IdempotencyContract:
    """A subclass gives the fixture `stores`: a `Stores` on a clock that it moves, empty."""

    async def test_one_of_many_gets_a_name(self, stores: Any) -> None:
        every = [stores.open() for _ in range(3)]
        claims = [every[at % 3].claim(held()) for at in range(60)]

        found = await asyncio.gather(*claims)

        assert found.count(None) == 1
        assert [one for one in found if one is not None] == [Found(PRINT, None)] * 59

    async def test_names_are_apart(self, stores: Any) -> None:
        store = stores.open()

        assert [await store.claim(held(f"acme:{number}")) for number in range(5)] == [None] * 5

    async def test_an_answer_is_found_by_all(self, stores: Any) -> None:
        store, other = stores.open(), stores.open()
        answer = bytes(range(256)) * 40
        one = held()
        await store.claim(one)

        assert await store.keep(one, answer, DAY_S)

        for asked in (store, other):
            assert await asked.claim(held(fingerprint=OTHER)) == Found(PRINT, answer)

    async def test_no_answer_at_all_is_an_answer_too(self, stores: Any) -> None:
        store = stores.open()
        one = held()
        await store.claim(one)
        await store.keep(one, b"", DAY_S)

        assert await store.claim(held()) == Found(PRINT, b"")

    async def test_a_name_that_was_freed_is_free(self, stores: Any) -> None:
        store = stores.open()
        one = held()
        await store.claim(one)

        await store.free(one)

        assert await store.claim(held()) is None

    async def test_only_its_owner_frees_a_name(self, stores: Any) -> None:
        store = stores.open()
        one = held()
        await store.claim(one)
        await store.free(held())

        assert await store.claim(held()) == Found(PRINT, None)

    async def test_an_answer_is_not_freed(self, stores: Any) -> None:
        store = stores.open()
        one = held()
        await store.claim(one)
        await store.keep(one, b"answer", DAY_S)
        await store.free(one)

        assert await store.claim(held()) == Found(PRINT, b"answer")

    async def test_h07_a_name_whose_owner_says_nothing_is_free_in_time(self, stores: Any) -> None:
        store = stores.open()
        await store.claim(held())
        stores.sleep(LEASE_S - 2)
        assert await store.claim(held()) == Found(PRINT, None)
        stores.sleep(2.5)

        assert await store.claim(held()) is None

    async def test_a_name_that_is_renewed_stays_taken(self, stores: Any) -> None:
        store = stores.open()
        mine, more = held(), held("acme:2")
        await store.claim(mine)
        await store.claim(more)
        stores.sleep(LEASE_S - 5)
        await store.renew([mine, more])
        stores.sleep(LEASE_S - 5)

        assert await store.claim(held()) == Found(PRINT, None)
        assert await store.claim(held("acme:2")) == Found(PRINT, None)

    async def test_a_lost_name_stays_lost(self, stores: Any) -> None:
        """Whoever was thought dead neither renews, frees nor answers for its successor."""
        store = stores.open()
        stale, successor = held(), held()
        await store.claim(stale)
        stores.sleep(LEASE_S + 1)
        assert await store.claim(successor) is None

        await store.renew([stale])
        await store.free(stale)
        assert not await store.keep(stale, b"late", DAY_S)

        assert await store.claim(held()) == Found(PRINT, None)
        assert await store.keep(successor, b"answer", DAY_S)
        assert not await store.keep(stale, b"late", DAY_S)
        assert await store.claim(held()) == Found(PRINT, b"answer")

    async def test_an_answer_of_a_name_that_nobody_took_since_is_kept(self, stores: Any) -> None:
        store = stores.open()
        late = held()
        await store.claim(late)
        stores.sleep(LEASE_S + 1)

        assert await store.keep(late, b"answer", DAY_S)
        assert await store.keep(late, b"answer", DAY_S)

        assert await store.claim(held()) == Found(PRINT, b"answer")

    async def test_h13_an_answer_ends_with_its_time(self, stores: Any) -> None:
        store = stores.open()
        one = held()
        await store.claim(one)
        await store.keep(one, b"answer", DAY_S)
        stores.sleep(DAY_S - 10)
        assert await store.claim(held()) == Found(PRINT, b"answer")
        stores.sleep(11)

        assert await store.claim(held()) is None

    async def test_h13_what_is_past_its_time_is_removed(self, stores: Any) -> None:
        store = stores.open()
        for number in range(20):
            one = held(f"acme:{number}")
            await store.claim(one)
            await store.keep(one, b"answer", 60.0 if number else DAY_S)
        stores.sleep(61)
        while await store.sweep():
            pass

        assert stores.count() == 1
        assert await store.claim(held("acme:0")) == Found(PRINT, b"answer")
