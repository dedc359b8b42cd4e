"""Periods of the calendar in a time zone.

A day is from midnight to midnight where the zone says so: 23 or 25 hours when clocks change. A
minute and an hour have 60 parts, so the hour that is read twice is two hours; where clocks change
by half an hour, the hour ends at that moment. A week begins on Monday.

Pure. Facts about zones come from the IANA database (`zoneinfo`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo

_SECONDS = {"minute": 60, "hour": 3600}


def period(window: str, zone: tzinfo, at_s: int) -> tuple[int, int]:
    """First second of the period that `at_s` is in, and of the next one; UTC since the epoch.

    window: `minute`, `hour`, `day`, `week` or `month`.
    """
    length = _SECONDS.get(window)
    local = datetime.fromtimestamp(at_s, UTC).astimezone(zone)
    if length is not None:
        start = at_s - (local.minute * 60 + local.second) % length
        return _side(at_s, start, zone, length), _side(at_s, start + length, zone, length)
    first, following = _DATES[window](local.date())
    return _midnight(first, zone), _midnight(following, zone)


def _side(at_s: int, edge: int, zone: tzinfo, length: int) -> int:
    """An edge of the period of `at_s`, or the change of clocks before it by a part of its length."""
    offset = _offset(at_s, zone)
    if not (_offset(edge, zone) - offset) % length:
        return edge
    inside, outside = at_s, edge
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        if (_offset(middle, zone) - offset) % length:
            outside = middle
        else:
            inside = middle
    return max(inside, outside)


def _offset(at_s: int, zone: tzinfo) -> int:
    """Seconds that clocks are ahead of UTC."""
    ahead = datetime.fromtimestamp(at_s, UTC).astimezone(zone).utcoffset()
    return 0 if ahead is None else int(ahead.total_seconds())


def _day(today: date) -> tuple[date, date]:
    return today, today + timedelta(days=1)


def _week(today: date) -> tuple[date, date]:
    monday = today - timedelta(days=today.weekday())
    return monday, monday + timedelta(days=7)


def _month(today: date) -> tuple[date, date]:
    first = today.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1)


_DATES: Mapping[str, Callable[[date], tuple[date, date]]] = {"day": _day, "week": _week, "month": _month}


def _midnight(day: date, zone: tzinfo) -> int:
    """The first moment of a day. Where midnight is skipped, the moment it is skipped at."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())
