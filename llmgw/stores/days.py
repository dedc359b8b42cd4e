"""The days of usage on PostgreSQL: a partition for each UTC day of `at_ns`.

Whoever loads records makes the days they need, and some days ahead, so that a new day begins with
its partition there. A record of a day too far away, or of one that could not be made, goes to
the partition `usage_other`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

DAY_NS = 86_400 * 10**9
AHEAD = 3
_FARTHEST_BACK = 400
_LOCK_WAIT = "2s"
_EXISTS = "SELECT to_regclass($1) IS NOT NULL"


def partition(day: int) -> str:
    """The partition's name. day: days since the epoch."""
    return f"usage_{datetime.fromtimestamp(day * 86_400, UTC):%Y%m%d}"


class Days:
    """Remembers which days are there, so that a batch of today asks nothing."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._known: set[int] = set()

    def missing(self, at_ns: Iterable[int]) -> list[int]:
        """Days to be made for records of these moments, and for the days to come."""
        today = int(self._now() // 86_400)
        wanted = {moment // DAY_NS for moment in at_ns}
        wanted = {day for day in wanted if today - _FARTHEST_BACK <= day <= today + AHEAD}
        wanted.update(range(today, today + AHEAD + 1))
        return sorted(wanted - self._known)

    def make(self, connection: Connection, days: Iterable[int]) -> None:
        """Make what is missing. A day that cannot be made is not tried again by this process."""
        for day in days:
            name = partition(day)
            self._known.add(day)
            if connection.exec_driver_sql(_EXISTS, (name,)).scalar():
                continue
            try:
                with connection.begin_nested():
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
                    connection.exec_driver_sql(
                        f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF usage "
                        f"FOR VALUES FROM ({day * DAY_NS}) TO ({(day + 1) * DAY_NS})"
                    )
            except DBAPIError:
                # Somebody holds the table for long, or `usage_other` has records of the day already:
                # the day's records go there, and are found all the same.
                continue

    def forget(self) -> None:
        """Look again: what was made may have been taken back."""
        self._known.clear()
