"""What every place that settled requests are loaded into promises."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmgw.core.record import Settled
from llmgw.stores.database import open_database
from llmgw.stores.recover import LOST
from llmgw.stores.schema_version import create_schema
from llmgw.stores.sink import Sink, open_sink
from llmgw.stores.sql import SqlRecordStore
from llmgw.stores.sqlite import DatabaseProblem
from tests.contracts.records import settled


@pytest.fixture
def sink(any_url: str) -> Iterator[Sink]:
    made = open_sink(any_url, durable=False)
    yield made
    made.close()


def records(url: str) -> list[Settled]:
    database = open_database(url)
    try:
        return [record for _, record in SqlRecordStore(database).after(0, 10_000)]
    finally:
        database.dispose()


@pytest.mark.parametrize("count", [0, 1, 9, 200])
def test_what_is_loaded_comes_back_whole_and_in_order(sink: Sink, any_url: str, count: int) -> None:
    batch = [settled(number, streamed=number % 2 == 0, user=None) for number in range(count)]

    sink.load(batch)

    assert records(any_url) == batch


def test_loading_again_changes_nothing(sink: Sink, any_url: str) -> None:
    sink.load([settled(1)])
    sink.load([settled(1, input_tokens=7), settled(2)], synced=True)

    assert records(any_url) == [settled(1), settled(2)]


def test_one_request_twice_in_a_batch_is_one_record(sink: Sink, any_url: str) -> None:
    """Whichever comes first, what was settled stands."""
    lost = settled(1, outcome=LOST)
    sink.load([lost, settled(1), settled(2), settled(2, outcome=LOST), settled(3, outcome=LOST)])

    assert {(record.request_id[-1], record.outcome) for record in records(any_url)} == {
        ("1", "ok"), ("2", "ok"), ("3", LOST),
    }  # fmt: skip


def test_a_settlement_replaces_what_was_lost(sink: Sink, any_url: str) -> None:
    sink.load([settled(1, outcome=LOST, cost_nano_usd=5)])
    sink.load([settled(1)])
    sink.load([settled(1, outcome=LOST, cost_nano_usd=6)])

    assert records(any_url) == [settled(1)]


def test_values_that_no_database_holds_do_not_block_the_rest(sink: Sink, any_url: str) -> None:
    sink.load([settled(1, input_tokens=2**70), settled(2, model="a\ud800b"), settled(3, user="a\0b")])

    found = {record.request_id[-1]: record for record in records(any_url)}
    assert set(found) == {"1", "2", "3"}
    assert found["1"].input_tokens == 2**63 - 1
    assert found["3"].user in ("a\0b", "a\N{SYMBOL FOR NULL}b")


def test_endless_names_do_not_block_the_rest(sink: Sink, any_url: str) -> None:
    noise = "".join(random.Random(5).choices("abcdefgh", k=9000))
    sink.load([settled(1, model=noise, user=noise), settled(2)])

    assert {record.request_id[-1] for record in records(any_url)} == {"1", "2"}


def test_it_goes_on_after_close(sink: Sink, any_url: str) -> None:
    sink.load([settled(1)])
    sink.close()
    sink.load([settled(2)])

    assert len(records(any_url)) == 2


def test_no_file_is_made_by_loading(tmp_path: Path) -> None:
    sink = open_sink(f"sqlite:///{tmp_path}/none.db", durable=False)
    with pytest.raises(FileNotFoundError, match="no database"):
        sink.load([settled(1)])
    assert not (tmp_path / "none.db").exists()


def test_m15_a_file_put_in_place_of_the_database_is_not_passed_by(tmp_path: Path) -> None:
    """What was loaded into the old file, which nobody sees any more, would be lost."""
    url, copy = f"sqlite:///{tmp_path}/u.db", f"sqlite:///{tmp_path}/copy.db"
    create_schema(url)
    create_schema(copy)
    sink = open_sink(url, durable=False)
    sink.load([settled(1)])
    (tmp_path / "u.db").rename(tmp_path / "old.db")

    with pytest.raises(FileNotFoundError, match="no database"):
        sink.load([settled(2)])
    (tmp_path / "copy.db").rename(tmp_path / "u.db")
    with pytest.raises(DatabaseProblem, match="stop the gateway"):
        sink.load([settled(2)])
    sink.close()
    with pytest.raises(DatabaseProblem, match="stop the gateway"):
        sink.load([settled(2)])

    (tmp_path / "old.db").rename(tmp_path / "u.db")
    sink.load([settled(2)])
    sink.close()
    assert len(records(url)) == 2
