"""What every small connection of the road's process promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from llmgw.core.errors import Unavailable
from llmgw.stores.asker import Asker, open_asker


@pytest.fixture
async def asker(any_url: str) -> AsyncIterator[Asker]:
    made = open_asker(any_url, writes=True)
    yield made
    await made.close()


async def test_rows_and_changes(asker: Asker) -> None:
    """Values are bound by name; what changed is kept."""
    add = "INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING"

    assert await asker.changed(add, {"name": "'; --", "value": 7}) == 1
    assert await asker.changed(add, {"name": "'; --", "value": 8}) == 0
    await asker.close()

    assert await asker.rows("SELECT value FROM meta WHERE name = :name", {"name": "'; --"}) == [(7,)]


async def test_a_statement_that_is_refused_is_unavailable_and_the_next_one_works(asker: Asker) -> None:
    with pytest.raises(Unavailable) as caught:
        await asker.rows("SELECT nothing FROM meta", {})
    assert "nothing" in str(caught.value.detail)

    assert await asker.rows("SELECT count(*) FROM meta", {}) == [(1,)]


async def test_many_at_once_take_turns(asker: Asker) -> None:
    answers = await asyncio.gather(*(asker.rows("SELECT value FROM meta", {}) for _ in range(50)))

    assert answers == [[(0,)]] * 50
