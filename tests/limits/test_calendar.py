"""Periods where clocks change, months end and years leap."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.limits.calendar import period

PARIS = ZoneInfo("Europe/Paris")
ZONES = ["UTC", "Europe/Paris", "America/Havana", "Asia/Beirut", "Asia/Kathmandu", "Pacific/Apia"]


def _s(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(
    ("window", "zone", "at", "start", "end"),
    [
        ("day", "Europe/Paris", "2026-03-29T12:00+02:00", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
        ("day", "Europe/Paris", "2026-10-25T12:00+01:00", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),
        ("day", "Asia/Beirut", "2026-03-29T12:00+03:00", "2026-03-29T01:00+03:00", "2026-03-30T00:00+03:00"),
        ("month", "UTC", "2028-02-29T23:59:59+00:00", "2028-02-01T00:00+00:00", "2028-03-01T00:00+00:00"),
        ("month", "UTC", "2026-12-31T23:59:59+00:00", "2026-12-01T00:00+00:00", "2027-01-01T00:00+00:00"),
        ("month", "Asia/Tokyo", "2026-01-31T15:00+00:00", "2026-02-01T00:00+09:00", "2026-03-01T00:00+09:00"),
        ("week", "UTC", "2026-11-29T23:00+00:00", "2026-11-23T00:00+00:00", "2026-11-30T00:00+00:00"),
        (
            "hour",
            "Asia/Kathmandu",
            "2026-01-01T00:00+00:00",
            "2025-12-31T23:15+00:00",
            "2026-01-01T00:15+00:00",
        ),
        ("minute", "UTC", "2026-01-01T00:00:59+00:00", "2026-01-01T00:00+00:00", "2026-01-01T00:01+00:00"),
    ],
)
def test_periods_of_the_calendar(window: str, zone: str, at: str, start: str, end: str) -> None:
    """A day is from midnight to midnight of its zone, however many hours that is."""
    assert period(window, ZoneInfo(zone), _s(at)) == (_s(start), _s(end))


def test_the_hour_that_is_read_twice_is_two_hours() -> None:
    """An hour's budget is not refused, nor renewed, because clocks are set back."""
    first = period("hour", PARIS, _s("2026-10-25T02:30+02:00"))
    second = period("hour", PARIS, _s("2026-10-25T02:30+01:00"))

    assert first[1] == second[0]


@pytest.mark.parametrize("at", ["2026-04-04T15:00", "2026-10-03T15:30"])
def test_an_hour_ends_where_clocks_change_by_half_of_one(at: str) -> None:
    """On Lord Howe Island; else the hours before and after would have half an hour in common."""
    zone, change = ZoneInfo("Australia/Lord_Howe"), _s(f"{at}+00:00")

    assert period("hour", zone, change - 1)[1] == change
    assert period("hour", zone, change) == (change, change + 1800)
    assert period("hour", zone, change + 1800) == (change + 1800, change + 5400)


@given(
    st.sampled_from(["minute", "hour", "day", "week", "month"]),
    st.sampled_from(ZONES),
    st.integers(_s("1990-01-01T00:00+00:00"), _s("2100-01-01T00:00+00:00")),
)
def test_every_moment_is_in_its_period_and_periods_meet(window: str, zone: str, at: int) -> None:
    """No moment belongs to two periods or to none."""
    start, end = period(window, ZoneInfo(zone), at)

    assert start <= at < end
    assert period(window, ZoneInfo(zone), start) == (start, end)
    assert period(window, ZoneInfo(zone), end - 1) == (start, end)
    assert period(window, ZoneInfo(zone), end)[0] == end


def test_a_moment_of_utc_needs_no_zone_database() -> None:
    """`datetime.UTC` is a zone like others."""
    assert period("day", UTC, 86_400 * 3 + 5) == (86_400 * 3, 86_400 * 4)
