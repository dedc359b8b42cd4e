from __future__ import annotations

from sqlalchemy import Connection

from llmgw.stores.days import AHEAD, Days, drop_before, partition
from llmgw.stores.expire import DAY_NS
from llmgw.stores.postgres import PostgresDatabase
from llmgw.stores.sink_postgres import PostgresSink, load
from tests.contracts.records import settled
from tests.fakes.postgres import PostgresServer

TODAY = 20_700
NOW = TODAY * 86_400 + 3600.0
PLACES = "SELECT tableoid::regclass::text, count(*) FROM usage GROUP BY 1 ORDER BY 1"
PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage'::regclass ORDER BY 1"


def test_the_days_ahead_are_asked_for_once() -> None:
    days = Days(lambda: NOW)

    assert days.missing([]) == list(range(TODAY, TODAY + AHEAD + 1))
    assert days.missing([(TODAY - 2) * DAY_NS, 5]) == list(range(TODAY - 2, TODAY + AHEAD + 1))[:1] + list(
        range(TODAY, TODAY + AHEAD + 1)
    )


def test_a_name_says_the_day() -> None:
    assert partition(0) == "usage_19700101"
    assert partition(TODAY) == "usage_20260904"


def test_records_go_to_their_days_and_late_ones_too(postgres: PostgresServer, postgres_url: str) -> None:
    """Days ahead are there before they begin; what is far away goes to the rest."""
    name = postgres_url.rpartition("/")[2]
    sink = PostgresSink(postgres_url)
    sink._days = Days(lambda: NOW)
    sink.load(
        [
            settled(1, at_ns=TODAY * DAY_NS),
            settled(2, at_ns=TODAY * DAY_NS - 1),
            settled(3, at_ns=(TODAY - 30) * DAY_NS),
            settled(4, at_ns=(TODAY - 900) * DAY_NS),
            settled(5, at_ns=(TODAY + 90) * DAY_NS),
        ]
    )
    sink.close()

    assert postgres.fetch(name, PLACES) == [
        (partition(TODAY - 30), 1), (partition(TODAY - 1), 1), (partition(TODAY), 1), ("usage_other", 2),
    ]  # fmt: skip
    there = {row[0] for row in postgres.fetch(name, PARTITIONS)}
    assert {partition(TODAY + ahead) for ahead in range(AHEAD + 1)} <= there


def test_a_day_that_cannot_be_made_stays_with_the_rest(postgres: PostgresServer, postgres_url: str) -> None:
    """Whatever was loaded without its day is found, and further records of the day are loaded."""
    name = postgres_url.rpartition("/")[2]
    database = PostgresDatabase(postgres_url)
    database.write(lambda connection: load(connection, [settled(1, at_ns=TODAY * DAY_NS)]))
    database.dispose()
    sink = PostgresSink(postgres_url)
    sink._days = Days(lambda: NOW)
    sink.load([settled(2, at_ns=TODAY * DAY_NS + 1), settled(1, at_ns=TODAY * DAY_NS)])
    sink.close()

    assert postgres.fetch(name, PLACES) == [("usage_other", 2)]


def test_old_days_are_dropped_whole_one_after_the_other(postgres: PostgresServer, postgres_url: str) -> None:
    """With the sums of their hours, and with what was too old for a day of its own."""
    name = postgres_url.rpartition("/")[2]
    sink = PostgresSink(postgres_url)
    sink._days = Days(lambda: NOW)
    ages = (0, 9, 10, 11, 30, 900)
    sink.load([settled(age, at_ns=(TODAY - age) * DAY_NS + 5) for age in ages])
    before = (TODAY - 10) * DAY_NS

    turns = 0
    while sink.expire(before):
        turns += 1
    sink.close()

    assert turns == 2
    left = postgres.fetch(name, f"SELECT {TODAY} - at_ns / {DAY_NS} FROM usage ORDER BY at_ns DESC")
    assert [age for (age,) in left] == [0, 9, 10]
    assert postgres.fetch(name, "SELECT sum(requests), min(hour) FROM usage_hours") == [
        (3, (TODAY - 10) * 24)
    ]
    assert partition(TODAY - 11) not in {place for (place,) in postgres.fetch(name, PARTITIONS)}


def test_a_day_that_somebody_reads_is_left_for_later(postgres_url: str) -> None:
    sink, reader = PostgresSink(postgres_url), PostgresDatabase(postgres_url, 30.0)
    sink._days = Days(lambda: NOW)
    sink.load([settled(1, at_ns=(TODAY - 30) * DAY_NS)])

    def read_and_drop(connection: Connection) -> bool:
        connection.exec_driver_sql("SELECT count(*) FROM usage").scalar()
        return sink.expire(TODAY * DAY_NS)

    dropped = reader.read(read_and_drop)

    assert not dropped
    assert sink.expire(TODAY * DAY_NS)
    reader.dispose()
    sink.close()


def test_one_host_drops_at_a_time(postgres_url: str) -> None:
    one, other = PostgresDatabase(postgres_url, 30.0), PostgresSink(postgres_url)
    other._days = Days(lambda: NOW)
    other.load([settled(age, at_ns=(TODAY - age) * DAY_NS) for age in (30, 31)])

    def drop_twice(connection: Connection) -> tuple[bool, bool]:
        return drop_before(connection, TODAY * DAY_NS), other.expire(TODAY * DAY_NS)

    assert one.write(drop_twice) == (True, False)
    one.dispose()
    other.close()
