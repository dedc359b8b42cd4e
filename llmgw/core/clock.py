"""Two clocks that nobody can set while the process runs.

Limits are measured on a steady clock. Quotas follow the calendar, so they need the time of day;
it is taken from the system once and carried on by the steady clock, because a system clock that
is set forward by an hour would otherwise renew an hour's budget, and one that is set back would
refuse for an hour. The steady clock goes on while the machine sleeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_ns() -> int:
    """Nanoseconds since some moment before this process; the same for every process of the host."""
    return time.clock_gettime_ns(_STEADY)


@dataclass(frozen=True, slots=True)
class Clock:
    """steady_ns: the steady clock. utc_offset_ns: what makes UTC since the epoch of it."""

    steady_ns: Callable[[], int]
    utc_offset_ns: int

    def utc_ns(self) -> int:
        """UTC nanoseconds since the epoch."""
        return self.steady_ns() + self.utc_offset_ns


def system_clock() -> Clock:
    """A clock that agrees with the system's now."""
    return Clock(steady_ns, time.time_ns() - steady_ns())
