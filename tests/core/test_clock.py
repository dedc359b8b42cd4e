from __future__ import annotations

import time

from llmgw.core.clock import steady_ns, system_clock
from tests.fakes.clock import FakeClock


def test_it_agrees_with_the_system_when_it_is_made() -> None:
    assert abs(system_clock().utc_ns() - time.time_ns()) < 1_000_000_000


def test_steady_time_goes_on() -> None:
    assert steady_ns() <= steady_ns()


def test_the_time_of_day_follows_the_steady_clock_alone() -> None:
    """A system clock that is set changes nothing for a running process."""
    clock = FakeClock("2026-11-24T12:00:00+00:00")
    before = clock.clock.utc_ns()
    clock.sleep(90)

    assert clock.clock.utc_ns() - before == 90_000_000_000
