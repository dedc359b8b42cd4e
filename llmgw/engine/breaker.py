"""Leaves a failing target alone: closed, open, half-open with one probe, then a ramp.

Every method is told the time, in monotonic seconds. Whether it is open is a host's to know: what
one process finds holds for all, and one of them probes. Calls are counted by each process. What
counts as a failure is the caller's to say: a mistake of who asks never is one.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmgw.ports.targets import TargetState

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """failure_ratio of at least min_calls within window_s opens it for open_for_s."""

    failure_ratio: float = 0.5
    min_calls: int = 10
    window_s: float = 30.0
    open_for_s: float = 5.0


def state_of(state: TargetState, now: float) -> str:
    """CLOSED, OPEN or HALF_OPEN."""
    until = state.open_until
    if not until:
        return CLOSED
    return OPEN if now < until and not state.probing else HALF_OPEN


class Breaker:
    """One target's.

    The window is two halves, of which the older is dropped when the newer is full of time, so
    that between one and two halves are remembered.
    """

    __slots__ = ("_calls", "_counted_from", "_failures", "_half_ends", "_old", "_rules", "_state")

    def __init__(self, rules: BreakerRules, state: TargetState) -> None:
        self._rules = rules
        self._state = state
        self._calls = 0
        self._failures = 0
        self._old = (0, 0)
        self._half_ends = 0.0
        self._counted_from = state.closed_at

    @property
    def closed(self) -> bool:
        return not self._state.open_until

    def state(self, now: float) -> str:
        return state_of(self._state, now)

    def retry_in_s(self, now: float) -> float:
        """How long until a call may go, 0 when one may."""
        until = self._state.open_until
        if not until:
            return 0.0
        return self._rules.open_for_s if self._state.probing else max(0.0, until - now)

    def share(self, now: float) -> float:
        """The share of traffic that should come back: below 1 for a while after a recovery."""
        return min(1.0, max(0.1, (now - self._state.closed_at) / self._rules.open_for_s))

    def admits(self, now: float) -> bool:
        """Whether a call may go. The first one after an opening is the probe, and alone.

        Whoever is let through while it is not `closed` is the probe, and says so at its end.
        """
        until = self._state.open_until
        return not until or (now >= until and self._state.claim_probe())

    def succeeded(self, now: float, *, probe: bool = False) -> None:
        if probe:
            self._close(now)
        elif self.closed:
            self._count(now, 0)

    def failed(self, now: float, *, probe: bool = False) -> None:
        if probe:
            self._open(now)
            self._state.drop_probe()
        elif self.closed:
            self._count(now, 1)
            calls, failures = self._calls + self._old[0], self._failures + self._old[1]
            rules = self._rules
            if calls >= rules.min_calls and failures >= rules.failure_ratio * calls:
                self._open(now)

    def answered(self, now: float, *, probe: bool = False) -> None:
        """It refused a request, as a target in health may."""
        if probe:
            self._close(now)

    def undecided(self, *, probe: bool = False) -> None:
        """A call that ended without saying anything about the target."""
        if probe:
            self._state.drop_probe()

    def _open(self, now: float) -> None:
        self._state.open_until = now + self._rules.open_for_s

    def _close(self, now: float) -> None:
        self._state.closed_at = now
        self._state.open_until = 0.0
        self._state.drop_probe()

    def _count(self, now: float, failures: int) -> None:
        closed_at = self._state.closed_at
        if now >= self._half_ends or closed_at != self._counted_from:
            half = self._rules.window_s / 2
            recent = now < self._half_ends + half and closed_at == self._counted_from
            self._old = (self._calls, self._failures) if recent else (0, 0)
            self._calls = self._failures = 0
            self._half_ends = now + half
            self._counted_from = closed_at
        self._calls += 1
        self._failures += failures
