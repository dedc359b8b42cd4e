from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.dialects import sqlite

from llmgw.core.errors import Unavailable
from llmgw.stores.database import open_database
from llmgw.stores.keys import SELECT_KEYS, SELECT_SEQ, SqlKeyStore
from llmgw.stores.schema import keys, meta
from llmgw.stores.schema_version import create_schema
from llmgw.stores.sql import SqlKeyRegistry
from tests.contracts.keys import NOW, KeysContract, key


@pytest.fixture
def registry(any_url: str) -> Iterator[SqlKeyRegistry]:
    database = open_database(any_url)
    yield SqlKeyRegistry(database)
    database.dispose()


@pytest.fixture
async def store(any_url: str) -> AsyncIterator[SqlKeyStore]:
    made = SqlKeyStore(any_url, lambda: NOW)
    yield made
    await made.close()


class TestSqlKeys(KeysContract):
    """Keys issued by commands and read by the road."""


async def test_a_missing_database_is_unavailable_and_found_later(tmp_path: Path) -> None:
    """Nothing is made by asking, and the store works once there is a database."""
    url = f"sqlite:///{tmp_path}/u.db"
    store = SqlKeyStore(url)
    with pytest.raises(Unavailable) as caught:
        await store.changed_seq()
    assert caught.value.code == "store_unavailable"
    assert not (tmp_path / "u.db").exists()

    create_schema(url)

    assert await store.load() == (0, [])
    await store.close()


async def test_it_cannot_write(tmp_path: Path) -> None:
    create_schema(f"sqlite:///{tmp_path}/u.db")
    store = SqlKeyStore(f"sqlite:///{tmp_path}/u.db")
    with pytest.raises(Unavailable, match="does not answer"):
        await store._asker.rows("DELETE FROM keys", {})
    await store.close()


async def test_a_key_can_be_used_again_after_close(store: SqlKeyStore, registry: SqlKeyRegistry) -> None:
    registry.add(key("one"))
    await store.close()

    assert [entry.key_id for entry in (await store.load())[1]] == ["one"]


def test_the_statements_are_those_of_the_tables() -> None:
    """SQLAlchemy, which the road does not load, would ask the same columns of the same tables."""
    ours = SELECT_KEYS.replace('"', "").partition(" WHERE")[0]
    names = ours.removeprefix("SELECT ").partition(" FROM")[0].split(", ")

    theirs = str(select(*[keys.c[name] for name in names]).compile(dialect=sqlite.dialect()))

    assert theirs.replace("keys.", "").replace('"', "").split() == ours.split()
    assert {"revoked_at", "expires_at"} <= set(keys.c.keys())
    assert SELECT_SEQ.startswith(f"SELECT {meta.c.value.name} FROM {meta.name}")
