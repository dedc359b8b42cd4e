from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmgw.core.errors import Unavailable
from llmgw.core.record import Settled
from llmgw.ports.stores import GROUPS
from llmgw.stores.database import Database, SqliteDatabase, open_database
from llmgw.stores.ledger import Ledger
from llmgw.stores.schema_version import create_schema
from llmgw.stores.sink import open_sink
from llmgw.stores.sql import SqlKeyRegistry, SqlRecordStore
from llmgw.stores.sums import HOUR_NS
from tests.contracts.keys import HOSTILE, key, plain
from tests.contracts.records import AT_NS, settled
from tests.fakes.postgres import PostgresServer

DAY_NS = 86_400 * 10**9


@pytest.fixture
def opened(any_url: str) -> Iterator[Database]:
    made = open_database(any_url)
    yield made
    made.dispose()


@pytest.fixture
def records(opened: Database) -> SqlRecordStore:
    return SqlRecordStore(opened)


def load(url: str, *records: Settled) -> None:
    sink = open_sink(url, durable=False)
    sink.load(records)
    sink.close()


def test_a_span_may_end_beyond_all_times(records: SqlRecordStore, any_url: str) -> None:
    """`--until 9999-12-31` is more nanoseconds than a database's integer holds."""
    load(any_url, settled(1, at_ns=AT_NS))
    for since_ns, until_ns in ((None, 10**21), (-(10**21), None), (-(10**21), 10**21)):
        assert [row["requests"] for row in records.sums(("tenant",), since_ns, until_ns)] == [1]
    assert records.sums(("tenant",), 10**20, 10**21) == []


def test_g19_money_beyond_all_measure_is_added_up(
    records: SqlRecordStore, any_url: str, tmp_path: Path
) -> None:
    """One record that no sum of 64 bits holds must not cost every report and every start."""
    most = 2**63 - 1
    load(
        any_url, settled(1, cost_nano_usd=10**25), settled(2, cost_nano_usd=7), settled(3, cost_nano_usd=None)
    )

    for by in ((), ("tenant",), ("outcome", "day")):
        assert [row["cost_nano_usd"] for row in records.sums(by, None, None)] == [most + 7]
    ledger = Ledger(any_url, tmp_path / "journal")
    assert [row.cost_nano_usd for row in ledger.sums(0, most)] == [most + 7]


def test_sums_are_exact(records: SqlRecordStore, any_url: str) -> None:
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
    load(any_url, *made)
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


def test_every_group_can_be_asked_for(records: SqlRecordStore, any_url: str) -> None:
    load(any_url, settled(1))

    (row,) = records.sums(GROUPS, None, None)

    assert [row[name] for name in GROUPS] == [
        "acme", "alice", "abcdefghijklmnop", "gpt-4o", "openai", "/v1/chat/completions", "2026-09-21", "ok",
    ]  # fmt: skip


def test_a_span_holds_its_start_and_not_its_end(records: SqlRecordStore, any_url: str) -> None:
    load(any_url, *[settled(number) for number in range(10)])

    (row,) = records.sums((), AT_NS + 2, AT_NS + 5)

    assert row["requests"] == 3


def test_any_span_is_exact(records: SqlRecordStore, any_url: str) -> None:
    """Within an hour, over hours, on their edges, open at either end; where sums are kept and where not."""
    dice = random.Random(4)
    start = AT_NS // HOUR_NS * HOUR_NS
    made = [settled(number, at_ns=start + dice.randrange(5 * HOUR_NS)) for number in range(300)]
    made += [settled(300 + edge, at_ns=start + edge * HOUR_NS) for edge in range(5)]
    load(any_url, *made)
    moments = [None, *(start + edge * HOUR_NS + shift for edge in range(6) for shift in (-1, 0, 1))]
    for _ in range(60):
        since, until = dice.choice(moments), dice.choice(moments)
        if since is not None and until is not None and since >= until:
            continue
        (row,) = records.sums((), since, until)
        wanted = [
            record
            for record in made
            if (since is None or record.at_ns >= since) and (until is None or record.at_ns < until)
        ]
        assert row["requests"] == len(wanted), (since, until)
        assert row["input_tokens"] == sum(record.input_tokens for record in wanted)


def test_nothing_is_one_row_of_zeros(records: SqlRecordStore) -> None:
    (row,) = records.sums((), None, None)
    assert set(row.values()) == {0}
    assert records.sums(("tenant",), None, None) == []


def test_the_newest_records_and_what_follows(records: SqlRecordStore, any_url: str) -> None:
    load(any_url, *[settled(number, streamed=number % 2 == 0) for number in range(5)])
    newest = records.last(3)
    assert [record for _, record in newest] == [settled(n, streamed=n % 2 == 0) for n in (2, 3, 4)]
    assert records.after(newest[-1][0], 10) == []

    # It arrives later, though it began before the others.
    load(any_url, settled(9, at_ns=AT_NS - 5))

    assert [record.request_id for _, record in records.after(newest[-1][0], 10)] == ["req_000000000009"]
    assert len(records.after(0, 2)) == 2


@pytest.mark.parametrize("text", HOSTILE)
def test_d01_metacharacters_in_records_are_only_text(
    records: SqlRecordStore, any_url: str, text: str
) -> None:
    load(any_url, settled(1, tenant=text, user=text, model=text, upstream_id=text))

    (row,) = records.sums(("tenant", "user", "model"), None, None)

    kept = plain(text)
    assert {plain(str(row[name])) for name in ("tenant", "user", "model")} == {kept}


def test_d01_values_are_bound_and_never_part_of_a_statement(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log of statements shows placeholders where the values go."""
    url = f"sqlite:///{tmp_path}/u.db"
    create_schema(url)
    opened = SqliteDatabase(url)
    registry = SqlKeyRegistry(opened)
    hostile = HOSTILE[0]
    logger = logging.getLogger("sqlalchemy.engine.Engine")
    logger.setLevel(logging.INFO)
    opened.engine.echo = True
    try:
        with caplog.at_level(logging.INFO, logger=logger.name):
            registry.add(key(hostile, tenant=hostile))
            registry.get(hostile)
            registry.list(hostile)
            registry.revoke(hostile, 1)
    finally:
        opened.engine.echo = False
        logger.setLevel(logging.NOTSET)

    statements = [r.getMessage() for r in caplog.records if r.getMessage().startswith(("SELECT", "INSERT", "UPDATE"))]  # fmt: skip  # noqa: E501
    assert len(statements) >= 8
    assert not any("DROP" in statement for statement in statements)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_missing_table_is_unavailable(kind: str, tmp_path: Path, postgres: PostgresServer) -> None:
    with postgres.database() as empty:
        opened = open_database(empty if kind == "postgresql" else f"sqlite:///{tmp_path}/empty.db")
        _refused(opened)


def _refused(opened: Database) -> None:
    with pytest.raises(Unavailable):
        SqlRecordStore(opened).last(1)
    with pytest.raises(Unavailable):
        SqlKeyRegistry(opened).list()
    opened.dispose()


def test_a_change_that_fails_leaves_the_number(opened: Database) -> None:
    """A digest that exists refuses the successor, and with it the whole rotation."""
    registry = SqlKeyRegistry(opened)
    registry.add(key("one"))
    before = registry.get("one")

    with pytest.raises(ValueError, match="already"):
        registry.replace("one", key("two", digest=key("one").digest), 10**10)

    assert registry.get("one") == before
