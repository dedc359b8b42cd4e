from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from llmgw.core.errors import Unavailable
from llmgw.ports.alerts import AlertStore
from llmgw.stores.alerts import KEPT_S, PURGE, TELL, MemoryAlertStore, SqlAlertStore
from llmgw.stores.asker import SqliteAsker
from llmgw.stores.schema import alerts_told
from llmgw.stores.schema_version import create_schema

NOW = 1_800_000_000
HALF, ALL = 500_000, 1_000_000


@pytest.fixture
def url(tmp_path: Path) -> str:
    create_schema(f"sqlite:///{tmp_path}/u.db")
    return f"sqlite:///{tmp_path}/u.db"


@pytest.fixture
def direct(url: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    yield connection
    connection.close()


class AlertsContract:
    """A subclass gives the fixture `store`."""

    async def test_a_pair_is_first_once(self, store: AlertStore) -> None:
        answers = [await store.first_telling("b", HALF, NOW + second) for second in range(3)]

        assert answers == [True, False, False]

    async def test_balances_and_thresholds_are_apart(self, store: AlertStore) -> None:
        pairs = [("b", HALF), ("b", ALL), ("c", HALF), ("b ", HALF), ("B", HALF), ("", HALF)]

        assert [await store.first_telling(*pair, NOW) for pair in pairs] == [True] * len(pairs)

    async def test_one_of_many_at_once_is_first(self, store: AlertStore) -> None:
        answers = await asyncio.gather(*(store.first_telling("b", HALF, NOW) for _ in range(50)))

        assert sum(answers) == 1

    @pytest.mark.parametrize("text", ["'; DROP TABLE alerts_told; --", "a\0b", "ключ'", '%_\\"`'])
    async def test_d01_metacharacters_are_only_text(self, store: AlertStore, text: str) -> None:
        assert await store.first_telling(text, HALF, NOW)
        assert not await store.first_telling(text, HALF, NOW)
        assert await store.first_telling("other", HALF, NOW)

    async def test_what_is_too_old_is_forgotten(self, store: AlertStore) -> None:
        """Whatever is as young as the limit stays."""
        await store.first_telling("old", HALF, NOW - 1)
        await store.first_telling("young", HALF, NOW)
        await store.first_telling("now", HALF, NOW + KEPT_S)

        assert await store.first_telling("old", HALF, NOW + KEPT_S)
        assert not await store.first_telling("young", HALF, NOW + KEPT_S)


class TestMemoryAlerts(AlertsContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[MemoryAlertStore]:
        made = MemoryAlertStore()
        yield made
        await made.close()


class TestSqlAlerts(AlertsContract):
    @pytest.fixture
    async def store(self, any_url: str) -> AsyncIterator[SqlAlertStore]:
        made = SqlAlertStore(any_url)
        yield made
        await made.close()

    async def test_a_restart_remembers(self, store: SqlAlertStore, any_url: str) -> None:
        assert await store.first_telling("b", HALF, NOW)
        await store.close()

        assert not await store.first_telling("b", HALF, NOW)
        again = SqlAlertStore(any_url)
        assert not await again.first_telling("b", HALF, NOW)
        await again.close()

    async def test_of_several_processes_one_is_first(self, any_url: str) -> None:
        code = (
            "import asyncio, sys\n"
            "from llmgw.stores.alerts import SqlAlertStore\n"
            "async def main():\n"
            f"    store = SqlAlertStore({any_url!r})\n"
            "    sys.stdin.readline()\n"
            "    print(sum([await store.first_telling(f'b{n}', 1, 1) for n in range(100)]))\n"
            "    await store.close()\n"
            "asyncio.run(main())"
        )
        command = [sys.executable, "-c", code]
        running = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        said = await asyncio.gather(*(asyncio.to_thread(process.communicate, "\n") for process in running))

        assert sum(int(out) for out, _ in said) == 100


class TestSqliteAlerts:
    """What SQLite's files add to it."""

    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[SqlAlertStore]:
        made = SqlAlertStore(url)
        yield made
        await made.close()

    async def test_it_waits_for_the_drainer(self, store: SqlAlertStore, direct: sqlite3.Connection) -> None:
        """A writer in its transaction delays a telling and does not fail it."""
        direct.execute("BEGIN IMMEDIATE")
        telling = asyncio.create_task(store.first_telling("b", HALF, NOW))
        done, _ = await asyncio.wait([telling], timeout=0.1)
        assert not done
        direct.execute("COMMIT")

        assert await telling

    async def test_a_missing_database_is_unavailable_and_found_later(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/later.db"
        store = SqlAlertStore(url)
        with pytest.raises(Unavailable) as caught:
            await store.first_telling("b", HALF, NOW)
        assert caught.value.code == "store_unavailable"
        assert not (tmp_path / "later.db").exists()

        create_schema(url)

        assert await store.first_telling("b", HALF, NOW)
        await store.close()

    async def test_a_file_that_is_no_database_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "bad.db").write_bytes(b"x" * 5000)
        store = SqlAlertStore(f"sqlite:///{tmp_path}/bad.db")

        with pytest.raises(Unavailable):
            await store.first_telling("b", HALF, NOW)
        await store.close()

    async def test_a_telling_that_is_cancelled_leaves_no_connection(
        self, url: str, direct: sqlite3.Connection
    ) -> None:
        """Its thread would keep the process from ending. The telling itself still counts."""
        store = SqlAlertStore(url)
        telling = asyncio.create_task(store.first_telling("b", HALF, NOW))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        telling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await telling

        await store.close()

        assert isinstance(store._asker, SqliteAsker)
        assert store._asker._connection is None
        assert direct.execute("SELECT balance FROM alerts_told").fetchall() == [("b",)]

    async def test_it_leaves_checkpoints_to_the_drainer(self, store: SqlAlertStore) -> None:
        await store.first_telling("b", HALF, NOW)

        assert isinstance(store._asker, SqliteAsker)
        assert store._asker._connection is not None
        assert await store._asker._connection.execute_fetchall("PRAGMA wal_autocheckpoint") == [(0,)]


def test_the_statements_are_those_of_the_table() -> None:
    names = ", ".join(alerts_told.c.keys())

    assert f"INTO {alerts_told.name} ({names})" in TELL
    assert f"VALUES (:{names.replace(', ', ', :')})" in TELL
    assert f"ON CONFLICT ({', '.join(alerts_told.primary_key.columns.keys())})" in TELL
    assert PURGE.count(f"FROM {alerts_told.name} ") == 2


def test_a_purge_reads_no_more_than_it_forgets(direct: sqlite3.Connection) -> None:
    """It finds old rows by the index, whatever the size of the table."""
    plan = str(direct.execute(f"EXPLAIN QUERY PLAN {PURGE}", {"before": NOW, "rows": 500}).fetchall())

    assert "USING INDEX alerts_told_at (at_s<?)" in plan
    assert "SCAN alerts_told" not in plan
