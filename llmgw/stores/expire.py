"""Removes usage records that are old enough, a few at a time, between two loads of the drainer."""

from __future__ import annotations

import time
from collections.abc import Callable

DAY_NS = 86_400 * 10**9
LOOK_S = 600.0
AT_ONCE = 2_000
"""Records of one transaction: nobody waits for it."""


class Expiry:
    """remove: takes away some of what was before a moment in nanoseconds; says whether there is more.

    kept_s: how long records stay; None for ever.
    """

    def __init__(self, remove: Callable[[int], bool], now: Callable[[], float] = time.time) -> None:
        self._remove = remove
        self._now = now
        self._kept_s: float | None = None
        self._next = 0.0

    @property
    def kept_s(self) -> float | None:
        return self._kept_s

    @kept_s.setter
    def kept_s(self, seconds: float | None) -> None:
        self._kept_s = seconds
        self._next = 0.0

    def turn(self) -> bool:
        """Remove some, if it is time. Whether there is more. Raises what the database raises."""
        now = self._now()
        # Longer than that only when the clock was set back.
        if self._kept_s is None or self._next - LOOK_S <= now < self._next:
            return False
        day = int((now - self._kept_s) // 86_400)
        more = self._remove(day * DAY_NS)
        self._next = 0.0 if more else now + LOOK_S
        return more
