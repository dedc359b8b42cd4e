from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from llmgw.core.errors import Unavailable
from llmgw.core.record import Settled
from llmgw.ports.stores import GROUPS
from llmgw.stores.schema_version import create_schema
from llmgw.stores.sql import SqlKeyRegistry, SqlRecordStore, open_engine
from llmgw.stores.sqlite import connect, upsert_usage
from tests.contracts.keys import HOSTILE, key
from tests.contracts.records import AT_NS, settled

DAY_NS = 86_400 * 10**9


@pytest.fixture
def database(tmp_path: Path) -> Path:
    create_schema(f"sqlite:///{tmp_path}/u.db")
    return tmp_path / "u.db"


@pytest.fixture
def engine(database: Path) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{database}")
    yield made
    made.dispose()


@pytest.fixture
def records(engine: Engine) -> SqlRecordStore:
    return SqlRecordStore(engine)


def load(database: Path, *records: Settled) -> None:
    connection = connect(database, checkpoints=False)
    for record in records:
        connection.execute(upsert_usage(1), [getattr(record, name) for name in record.__struct_fields__])
    connection.close()


def test_sums_are_exact(records: SqlRecordStore, database: Path) -> None:
    """Random records, added up here and there, over every kind of group."""
    dice = random.Random(2)
    made = [
        settled(
            number,
            at_ns=AT_NS + dice.randrange(3 * DAY_NS),
            tenant=dice.choice(["acme", "other"]),
            user=dice.choice([None, "alice"]),
            outcome=dice.choice(["ok", "client_gone", "upstream_error", "lost"]),
            input_tokens=dice.randrange(2**50),
            cost_nano_usd=dice.choice([None, dice.randrange(2**50)]),
        )
        for number in range(200)
    ]
    load(database, *made)
    for by in ((), ("tenant",), ("tenant", "user"), ("day", "outcome")):
        wanted: dict[tuple[object, ...], list[Settled]] = defaultdict(list)
        for record in made:
            day = record.at_ns // DAY_NS
            wanted[tuple(day if name == "day" else getattr(record, name) for name in by)].append(record)

        rows = records.sums(by, None, None)

        assert len(rows) == len(wanted)
        assert [row["requests"] for row in rows] == [
            len(wanted[group]) for group in sorted(wanted, key=lambda g: [(v is not None, v) for v in g])
        ]
        assert sum(int(row["input_tokens"] or 0) for row in rows) == sum(r.input_tokens for r in made)
        assert sum(int(row["cost_nano_usd"] or 0) for row in rows) == sum(r.cost_nano_usd or 0 for r in made)
        assert sum(int(row["unpriced_requests"] or 0) for row in rows) == sum(
            r.cost_nano_usd is None for r in made
        )
        assert sum(int(row["errors"] or 0) for row in rows) == sum(
            r.outcome in ("upstream_error", "lost") for r in made
        )


def test_every_group_can_be_asked_for(records: SqlRecordStore, database: Path) -> None:
    load(database, settled(1))

    (row,) = records.sums(GROUPS, None, None)

    assert [row[name] for name in GROUPS] == [
        "acme", "alice", "abcdefghijklmnop", "gpt-4o", "openai", "/v1/chat/completions", "2026-09-21", "ok",
    ]  # fmt: skip


def test_a_span_holds_its_start_and_not_its_end(records: SqlRecordStore, database: Path) -> None:
    load(database, *[settled(number) for number in range(10)])

    (row,) = records.sums((), AT_NS + 2, AT_NS + 5)

    assert row["requests"] == 3


def test_nothing_is_one_row_of_zeros(records: SqlRecordStore) -> None:
    (row,) = records.sums((), None, None)
    assert set(row.values()) == {0}
    assert records.sums(("tenant",), None, None) == []


def test_the_newest_records_and_what_follows(records: SqlRecordStore, database: Path) -> None:
    load(database, *[settled(number, streamed=number % 2 == 0) for number in range(5)])
    newest = records.last(3)
    assert [record for _, record in newest] == [settled(n, streamed=n % 2 == 0) for n in (2, 3, 4)]
    assert records.after(newest[-1][0], 10) == []

    # It arrives later, though it began before the others.
    load(database, settled(9, at_ns=AT_NS - 5))

    assert [record.request_id for _, record in records.after(newest[-1][0], 10)] == ["req_000000000009"]
    assert len(records.after(0, 2)) == 2


@pytest.mark.parametrize("text", HOSTILE)
def test_d01_metacharacters_in_records_are_only_text(
    records: SqlRecordStore, database: Path, text: str
) -> None:
    load(database, settled(1, tenant=text, user=text, model=text, upstream_id=text))

    (row,) = records.sums(("tenant", "user", "model"), None, None)

    assert (row["tenant"], row["user"], row["model"]) == (text, text, text)


def test_d01_values_are_bound_and_never_part_of_a_statement(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The log of statements shows placeholders where the values go."""
    registry = SqlKeyRegistry(engine)
    hostile = HOSTILE[0]
    logger = logging.getLogger("sqlalchemy.engine.Engine")
    logger.setLevel(logging.INFO)
    engine.echo = True
    try:
        with caplog.at_level(logging.INFO, logger=logger.name):
            registry.add(key(hostile, tenant=hostile))
            registry.get(hostile)
            registry.list(hostile)
            registry.revoke(hostile, 1)
    finally:
        engine.echo = False
        logger.setLevel(logging.NOTSET)

    statements = [r.getMessage() for r in caplog.records if r.getMessage().startswith(("SELECT", "INSERT", "UPDATE"))]  # fmt: skip  # noqa: E501
    assert len(statements) >= 8
    assert not any("DROP" in statement for statement in statements)


def test_a_missing_table_is_unavailable(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(Unavailable):
        SqlRecordStore(engine).last(1)
    with pytest.raises(Unavailable):
        SqlKeyRegistry(engine).list()
    engine.dispose()


def test_a_change_that_fails_leaves_the_number(engine: Engine) -> None:
    """A digest that exists refuses the successor, and with it the whole rotation."""
    registry = SqlKeyRegistry(engine)
    registry.add(key("one"))
    before = registry.get("one")

    with pytest.raises(ValueError, match="already"):
        registry.replace("one", key("two", digest=key("one").digest), 10**10)

    assert registry.get("one") == before
