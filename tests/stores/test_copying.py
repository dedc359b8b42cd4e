from __future__ import annotations

from pathlib import Path

import pytest

from llmgw.stores.copying import Copying, Counts
from llmgw.stores.database import open_database
from llmgw.stores.schema_version import create_schema
from llmgw.stores.sink import open_sink
from llmgw.stores.sql import SqlKeyRegistry, SqlRecordStore
from llmgw.stores.sqlite import DatabaseProblem, connect
from tests.contracts.keys import key
from tests.contracts.records import settled
from tests.fakes.postgres import PostgresServer

RECORDS = 4500


@pytest.fixture
def source(tmp_path: Path) -> str:
    """An installation with keys, records and a told alert."""
    url = f"sqlite:///{tmp_path}/u.db"
    create_schema(url)
    database = open_database(url)
    registry = SqlKeyRegistry(database)
    registry.add(key("one", labels={"a": "b"}, allow_models=("x",)))
    registry.add(key("two"))
    registry.revoke("two", 5)
    database.dispose()
    sink = open_sink(url, durable=False)
    sink.load(
        [settled(number, streamed=number % 2 == 0, cost_nano_usd=None) for number in range(RECORDS - 1)]
    )
    sink.load([settled(RECORDS)])
    sink.close()
    connection = connect(tmp_path / "u.db", checkpoints=False)
    connection.execute("INSERT INTO alerts_told VALUES ('b', 1, 2)")
    connection.close()
    return url


def test_m17_everything_arrives_and_is_counted(source: str, postgres_url: str) -> None:
    """Keys with their states, records in their order, told alerts, and the number of the last change."""
    told: list[int] = []
    counts = Copying(source, postgres_url).run(told.append)

    assert counts == Counts(2, RECORDS, 1, RECORDS * 250, RECORDS * 100, 97_500)
    assert counts == Copying(source, postgres_url).counts()
    assert sum(told) == RECORDS
    before, after = open_database(source), open_database(postgres_url)
    assert SqlKeyRegistry(after).list() == SqlKeyRegistry(before).list()
    theirs, ours = SqlRecordStore(before).after(0, 9999), SqlRecordStore(after).after(0, 9999)
    assert [record for _, record in ours] == [record for _, record in theirs]
    added = SqlKeyRegistry(after)
    added.add(key("three"))
    assert added.get("three").changed_seq == 4  # type: ignore[union-attr]
    before.dispose()
    after.dispose()


def test_a_filled_target_is_refused(source: str, postgres_url: str) -> None:
    Copying(source, postgres_url).refuse_filled()
    sink = open_sink(postgres_url, durable=False)
    sink.load([settled(1)])
    sink.close()

    with pytest.raises(DatabaseProblem, match="not empty: it has 0 keys and 1 records"):
        Copying(source, postgres_url).refuse_filled()


def test_an_interrupted_copy_leaves_nothing_and_can_be_made_again(
    source: str, postgres: PostgresServer, postgres_url: str
) -> None:
    def interrupt(rows: int) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        Copying(source, postgres_url).run(interrupt)
    Copying(source, postgres_url).refuse_filled()
    name = postgres_url.rpartition("/")[2]
    assert postgres.fetch(name, "SELECT value FROM meta") == [(0,)]

    assert Copying(source, postgres_url).run(lambda rows: None).records == RECORDS


def test_sides_that_differ_are_not_kept(source: str, postgres: PostgresServer, postgres_url: str) -> None:
    """A trigger that loses rows stands for whatever could."""
    name = postgres_url.rpartition("/")[2]
    postgres.execute(
        name,
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        "CREATE TRIGGER lose BEFORE INSERT ON alerts_told FOR EACH ROW EXECUTE FUNCTION lose()",
    )

    with pytest.raises(DatabaseProblem, match="would not equal"):
        Copying(source, postgres_url).run(lambda rows: None)
    Copying(source, postgres_url).refuse_filled()
