"""The days of usage on PostgreSQL: a partition for each UTC day of `at_ns`.

Whoever loads records makes the days they need, and some days ahead, so that a new day begins with
its partition there. A record of a day too far away, or of one that could not be made, goes to
the partition `usage_other`.

Days that are old enough are dropped whole, with the sums of their hours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from llmgw.stores.expire import AT_ONCE, DAY_NS

AHEAD = 3
_FARTHEST_BACK = 400
_LOCK_WAIT = "2s"
_EXISTS = "SELECT to_regclass($1) IS NOT NULL"
DROP_LOCK = 0x6C6C6D6777_03
"""PostgreSQL's advisory lock of whoever drops days: one of the hosts is enough."""
_OLDEST = """
    SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'usage'::regclass AND relname ~ '^usage_[0-9]{8}$' AND relname < $1
    ORDER BY relname LIMIT 1
"""
_SOME = "DELETE FROM {0} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {0} WHERE {1} < $1 LIMIT {2}))"
_SOME_RECORDS = _SOME.format("usage_other", "at_ns", AT_ONCE)
_SOME_HOURS = _SOME.format("usage_hours", "hour", AT_ONCE)


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


def drop_before(connection: Connection, before_ns: int) -> bool:
    """Drop the oldest day before a day's first moment; or some of what is left of such days.

    Whether there is more. A day that somebody holds is left for the next time.
    """
    if not connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({DROP_LOCK})").scalar():
        return False
    day = before_ns // DAY_NS
    oldest = connection.exec_driver_sql(_OLDEST, (partition(day),)).scalar()
    if oldest is not None:
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
                connection.exec_driver_sql(f"DROP TABLE {oldest}")
        except DBAPIError:
            # A long report reads it.
            return False
        return True
    removed = [
        connection.exec_driver_sql(_SOME_RECORDS, (before_ns,)).rowcount,
        connection.exec_driver_sql(_SOME_HOURS, (day * 24,)).rowcount,
    ]
    return AT_ONCE in removed
