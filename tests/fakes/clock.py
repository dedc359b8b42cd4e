"""Time that moves when a test says so."""

from __future__ import annotations

from datetime import UTC, datetime

from llmgw.core.clock import Clock

_NS = 1_000_000_000


class FakeClock:
    """at: what the time of day is at the start. Steady time starts somewhere else entirely."""

    def __init__(self, at: str = "2026-11-24T12:00:00+00:00") -> None:
        self.steady = 5_000_000 * _NS
        utc_ns = int(datetime.fromisoformat(at).astimezone(UTC).timestamp()) * _NS
        self.clock = Clock(lambda: self.steady, utc_ns - self.steady)

    def sleep(self, seconds: float) -> None:
        self.steady += round(seconds * _NS)

    def until(self, at: str) -> None:
        """Move to a later time of day."""
        target = int(datetime.fromisoformat(at).astimezone(UTC).timestamp()) * _NS
        self.steady += target - self.clock.utc_ns()
