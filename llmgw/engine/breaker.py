"""Leaves a failing target alone: closed, open, half-open with one probe, then a ramp.

A pure machine: every method is told the time, in monotonic seconds. What counts as a failure is
the caller's to say (`engine.verdict`): a caller's own mistake never is one.
"""

from __future__ import annotations

from dataclasses import dataclass

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """failure_ratio of at least min_calls within window_s opens it for open_for_s."""

    failure_ratio: float = 0.5
    min_calls: int = 10
    window_s: float = 30.0
    open_for_s: float = 5.0


class Breaker:
    """One target's.

    The window is two halves, of which the older is dropped when the newer is full of time, so
    that between one and two halves are remembered.
    """

    __slots__ = ("_calls", "_failures", "_half_ends", "_old", "_open_until", "_probing", "_rules", "_since")

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self._calls = 0
        self._failures = 0
        self._old = (0, 0)
        self._half_ends = 0.0
        self._open_until: float | None = None
        self._probing = False
        self._since: float | None = None

    @property
    def closed(self) -> bool:
        return self._open_until is None

    def state(self, now: float) -> str:
        if self._open_until is None:
            return CLOSED
        return OPEN if now < self._open_until and not self._probing else HALF_OPEN

    def retry_in_s(self, now: float) -> float:
        """How long until a call may go, 0 when one may."""
        if self._open_until is None:
            return 0.0
        return self._rules.open_for_s if self._probing else max(0.0, self._open_until - now)

    def share(self, now: float) -> float:
        """The share of traffic that should come back: below 1 for a while after a recovery."""
        if self._since is None:
            return 1.0
        grown = (now - self._since) / self._rules.open_for_s
        if grown >= 1.0:
            self._since = None
            return 1.0
        return max(0.1, grown)

    def admits(self, now: float) -> bool:
        """Whether a call may go. The first one after an opening is the probe, and alone."""
        if self._open_until is None:
            return True
        if self._probing or now < self._open_until:
            return False
        self._probing = True
        return True

    def succeeded(self, now: float) -> None:
        if self._probing:
            self._close(now)
        elif self._open_until is None:
            self._count(now, 0)

    def failed(self, now: float) -> None:
        if self._probing:
            self._open(now)
        elif self._open_until is None:
            self._count(now, 1)
            calls, failures = self._calls + self._old[0], self._failures + self._old[1]
            rules = self._rules
            if calls >= rules.min_calls and failures >= rules.failure_ratio * calls:
                self._open(now)

    def answered(self, now: float) -> None:
        """It refused a request, as a target in health may."""
        if self._probing:
            self._close(now)

    def undecided(self, now: float) -> None:
        """A call that ended without saying anything about the target."""
        if self._probing:
            self._probing = False

    def _open(self, now: float) -> None:
        self._probing = False
        self._open_until = now + self._rules.open_for_s

    def _close(self, now: float) -> None:
        self._probing = False
        self._open_until = None
        self._since = now
        self._calls = self._failures = 0
        self._old = (0, 0)

    def _count(self, now: float, failures: int) -> None:
        if now >= self._half_ends:
            half = self._rules.window_s / 2
            self._old = (self._calls, self._failures) if now < self._half_ends + half else (0, 0)
            self._calls = self._failures = 0
            self._half_ends = now + half
        self._calls += 1
        self._failures += failures
