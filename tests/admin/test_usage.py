from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from llmgw.admin.usage import follow, parse_moment, render_cost, report, row, tail
from llmgw.core.errors import InvalidRequest
from llmgw.core.record import Settled
from tests.contracts.records import settled

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class Records:
    """A record store that remembers what it was asked."""

    def __init__(self, *records: Settled) -> None:
        self.records = list(enumerate(records, 1))
        self.asked: tuple[object, ...] = ()

    def sums(
        self, by: Sequence[str], since_ns: int | None, until_ns: int | None
    ) -> Sequence[dict[str, str | int | None]]:
        self.asked = (by, since_ns, until_ns)
        return [{"tenant": "acme", "requests": 2, "cost_nano_usd": 1_000_000_001, "errors": 0}]

    def last(self, limit: int) -> Sequence[tuple[int, Settled]]:
        return self.records[-limit:]

    def after(self, seq: int, limit: int) -> Sequence[tuple[int, Settled]]:
        return [pair for pair in self.records if pair[0] > seq][:limit]


def test_a_report_adds_the_decimal_cost() -> None:
    records = Records()

    (found,) = report(records, ("tenant", "tenant"), datetime(2026, 1, 1, tzinfo=UTC), NOW)

    assert list(found.items()) == [
        ("tenant", "acme"), ("requests", 2), ("cost_nano_usd", 1_000_000_001), ("cost_usd", "1.000000001"),
        ("errors", 0),
    ]  # fmt: skip
    assert records.asked == (("tenant",), 1_767_225_600 * 10**9, 1_795_521_600 * 10**9)


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(InvalidRequest, match='by "tenants"; by any of tenant, user'):
        report(Records(), ("tenants",))


def test_a_span_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="ends before"):
        report(Records(), (), NOW, NOW)


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0.000000000"), (1, "0.000000001"), (10**9, "1.000000000"), (-1, "-0.000000001"),
     (2**62, "4611686018.427387904")],
)  # fmt: skip
def test_money_is_exact(nano: int, text: str) -> None:
    assert render_cost(nano) == text


@pytest.mark.parametrize(
    ("text", "moment"),
    [("7d", "2026-11-17T12:00:00+00:00"), ("90s", "2026-11-24T11:58:30+00:00"),
     ("2026-01-31", "2026-01-31T00:00:00+00:00"), ("2026-01-31T10:00", "2026-01-31T10:00:00+00:00"),
     ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00+00:00"),
     ("2026-01-31T10:00:00+02:00", "2026-01-31T08:00:00+00:00")],
)  # fmt: skip
def test_moments(text: str, moment: str) -> None:
    assert parse_moment(text, NOW).isoformat() == moment


@pytest.mark.parametrize("text", ["", "7", "soon", "2026-13-01", "2026-01-31T25:00", "9999999999w", "'; --"])
def test_other_moments_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a span"):
        parse_moment(text, NOW)


def test_following_reads_on_where_it_stopped() -> None:
    records = Records(*[settled(number) for number in range(3)])
    rows, place = tail(records, 2)
    assert [found["request_id"] for found in rows] == ["req_000000000001", "req_000000000002"]
    assert follow(records, place) == ([], place)

    records.records += [(number, settled(number)) for number in range(4, 1204)]
    rows, place = follow(records, place)

    assert len(rows) == 1200
    assert follow(records, place) == ([], place)


def test_nothing_yet_is_followed_from_the_start() -> None:
    records = Records()
    assert tail(records, 5) == ([], 0)


def test_a_row_names_the_time_and_both_forms_of_the_cost() -> None:
    found = row(settled(1, at_ns=1_790_000_000_123_456_789, cost_nano_usd=None))

    assert found["at"] == "2026-09-21T14:13:20.123Z"
    assert (found["key"], found["cost_nano_usd"], found["cost_usd"]) == ("abcdefghijklmnop", None, None)
    assert row(settled(1))["cost_usd"] == "0.000097500"
