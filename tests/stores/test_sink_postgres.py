from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmgw.core.errors import Unavailable
from llmgw.stores.expire import DAY_NS
from llmgw.stores.recover import LOST
from llmgw.stores.sink_postgres import PostgresSink
from llmgw.stores.sums import HOUR_NS
from tests.contracts.records import AT_NS, settled
from tests.fakes.postgres import PostgresServer
from tests.fakes.wire import Wire


@pytest.fixture
def name(postgres_url: str) -> str:
    return postgres_url.rpartition("/")[2]


@pytest.fixture
def sink(postgres_url: str) -> Iterator[PostgresSink]:
    made = PostgresSink(postgres_url)
    yield made
    made.close()


HOURS = (
    "SELECT hour, tenant, nullif(\"user\", ''), outcome, requests, unpriced_requests, "
    "input_tokens, cost_nano_usd "
    "FROM usage_hours WHERE requests <> 0 ORDER BY 1, 2, 3, 4"
)
ADDED_UP = (
    f'SELECT at_ns / {HOUR_NS}, tenant, "user", outcome, count(*), count(*) - count(cost_nano_usd), '
    "sum(input_tokens), coalesce(sum(cost_nano_usd), 0) FROM usage GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
)


def test_the_sums_of_hours_are_those_of_the_records(
    sink: PostgresSink, postgres: PostgresServer, name: str
) -> None:
    """New, loaded twice, lost and settled later: to the unit, in every hour."""
    dice = random.Random(3)
    made = [
        settled(
            number,
            at_ns=AT_NS + dice.randrange(DAY_NS),
            tenant=dice.choice(["acme", "other"]),
            user=dice.choice([None, "alice"]),
            cost_nano_usd=dice.choice([None, dice.randrange(2**55)]),
            input_tokens=dice.randrange(2**55),
            outcome=dice.choice(["ok", LOST]),
        )
        for number in range(300)
    ]
    sink.load(made)
    sink.load(made[:50])
    sink.load(
        [settled(int(entry.request_id[4:], 16), at_ns=entry.at_ns, user=entry.user) for entry in made[:100]]
    )

    assert postgres.fetch(name, HOURS) == postgres.fetch(name, ADDED_UP)


def test_m07_a_commit_whose_answer_is_lost_is_made_again_and_counts_once(
    postgres: PostgresServer, postgres_url: str, name: str
) -> None:
    """The connection ends after the server committed and before anybody hears of it."""
    with Wire(postgres.port) as wire:
        sink = PostgresSink(postgres.url(name, wire.port))
        sink.load([settled(0)])
        wire.cut_answer = lambda data: b"COMMIT" in data
        with pytest.raises(Unavailable):
            sink.load([settled(number) for number in range(100)])
        wire.cut_answer = lambda data: False
        committed = postgres.fetch(name, "SELECT count(*) FROM usage")[0][0]

        sink.load([settled(number) for number in range(100)])
        sink.close()

    assert committed == 100
    assert postgres.fetch(name, "SELECT count(*), count(DISTINCT request_id) FROM usage") == [(100, 100)]
    assert postgres.fetch(name, "SELECT sum(requests) FROM usage_hours")[0][0] == 100


def test_two_hosts_that_load_the_same_records_neither_fail_nor_double(
    postgres: PostgresServer, postgres_url: str, name: str
) -> None:
    """Each in an order of its own, which row locks alone would not survive."""
    batch = [settled(number) for number in range(400)]

    def host(seed: int) -> None:
        sink = PostgresSink(postgres_url)
        order = batch[:]
        random.Random(seed).shuffle(order)
        for start in range(0, len(order), 40):
            sink.load(order[start : start + 40])
        sink.close()

    with ThreadPoolExecutor() as hosts:
        list(hosts.map(host, range(4)))

    assert postgres.fetch(name, "SELECT count(*) FROM usage") == [(400,)]
    assert postgres.fetch(name, "SELECT sum(requests) FROM usage_hours")[0][0] == 400


def test_commits_are_synced_even_where_the_database_says_otherwise(
    postgres: PostgresServer, postgres_url: str, name: str
) -> None:
    postgres.execute("postgres", f"ALTER DATABASE {name} SET synchronous_commit = off")
    postgres.execute(
        name,
        "CREATE TABLE seen (setting text)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO seen SELECT current_setting('synchronous_commit'); RETURN NULL; END $$",
        "CREATE TRIGGER noted AFTER INSERT ON usage FOR EACH STATEMENT EXECUTE FUNCTION note()",
    )
    sink = PostgresSink(postgres_url)
    sink.load([settled(1)])
    sink.close()

    assert postgres.fetch(name, "SELECT DISTINCT setting FROM seen") == [("on",)]
