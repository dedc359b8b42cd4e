"""When old records are removed, and how many at once."""

from __future__ import annotations

import pytest

from llmgw.stores import expire
from llmgw.stores.database import open_database
from llmgw.stores.expire import DAY_NS, LOOK_S, Expiry
from llmgw.stores.sink import open_sink
from llmgw.stores.sql import SqlRecordStore
from tests.contracts.records import settled

DAY_S = 86_400.0
NOW = 20_700 * DAY_S + 3600


class Store:
    """left: how often there is something to remove."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.asked: list[int] = []
        self.now = NOW

    def remove(self, before_ns: int) -> bool:
        self.asked.append(before_ns)
        self.left -= 1
        return self.left > 0


def expiry(store: Store) -> Expiry:
    return Expiry(store.remove, lambda: store.now)


def test_a_clock_that_was_set_back_does_not_stop_it() -> None:
    store = Store(1)
    made = expiry(store)
    made.kept_s = 10 * DAY_S
    store.now = NOW + 365 * DAY_S
    made.turn()
    store.now = NOW

    made.turn()
    made.turn()

    assert store.asked == [21_055 * DAY_NS, 20_690 * DAY_NS]


def test_for_ever_unless_told() -> None:
    store = Store(3)

    assert not expiry(store).turn()
    assert store.asked == []


def test_whole_days_and_one_more_than_asked_for() -> None:
    store = Store(1)
    made = expiry(store)
    made.kept_s = 10 * DAY_S

    made.turn()

    assert store.asked == [20_690 * DAY_NS]


def test_at_once_while_there_is_more_and_then_now_and_then() -> None:
    store = Store(3)
    made = expiry(store)
    made.kept_s = 10 * DAY_S

    assert [made.turn() for _ in range(5)] == [True, True, False, False, False]
    assert len(store.asked) == 3
    store.now += LOOK_S + 1
    made.turn()
    assert len(store.asked) == 4


def test_another_time_is_acted_on_at_once() -> None:
    store = Store(1)
    made = expiry(store)
    made.kept_s = 10 * DAY_S
    made.turn()

    made.kept_s = 5 * DAY_S
    made.turn()
    made.kept_s = None
    made.turn()

    assert store.asked == [20_690 * DAY_NS, 20_695 * DAY_NS]


def test_both_databases_forget_the_same(any_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report after it has what a report of the days that are left had before."""
    monkeypatch.setattr("llmgw.stores.sink.AT_ONCE", 2)
    today = int(expire.time.time() // DAY_S)
    sink = open_sink(any_url, durable=False)
    sink.load([settled(age, at_ns=(today - age) * DAY_NS + 7) for age in range(12)])
    database = open_database(any_url)
    records = SqlRecordStore(database)
    since = (today - 5) * DAY_NS
    wanted = records.sums(["day", "model"], since, None)

    while sink.expire(since):
        pass

    assert records.sums(["day", "model"], None, None) == wanted
    assert len(wanted) == 6
    database.dispose()
    sink.close()
