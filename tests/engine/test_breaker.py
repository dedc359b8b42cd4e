"""The breaker's machine, told the time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.engine.breaker import CLOSED, HALF_OPEN, OPEN, Breaker, BreakerRules
from llmgw.stores.targets import MemoryTarget

RULES = BreakerRules(failure_ratio=0.5, min_calls=4, window_s=10.0, open_for_s=2.0)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(RULES, MemoryTarget())
    for _ in range(4):
        breaker.failed(at)
    return breaker


def test_opens_at_the_ratio_and_not_before_enough_calls() -> None:
    breaker = Breaker(RULES, MemoryTarget())
    for now in range(3):
        breaker.failed(now)
        assert breaker.state(now) == CLOSED
    breaker.succeeded(3)
    breaker.failed(4)

    assert breaker.state(4) == OPEN
    assert not breaker.admits(4)
    assert breaker.retry_in_s(4) == 2.0


def test_failures_long_ago_are_forgotten() -> None:
    breaker = Breaker(RULES, MemoryTarget())
    for _ in range(3):
        breaker.failed(0)

    breaker.failed(100)

    assert breaker.state(100) == CLOSED


def test_j10_exactly_one_probe() -> None:
    breaker = opened()

    assert not breaker.admits(1.9)
    assert breaker.admits(2.0)
    assert breaker.state(2.0) == HALF_OPEN
    assert not breaker.admits(2.0)


@pytest.mark.parametrize("end", ["succeeded", "answered"])
def test_a_probe_that_is_answered_closes_it(end: str) -> None:
    breaker = opened()
    breaker.admits(2.0)

    getattr(breaker, end)(2.5, probe=True)

    assert breaker.state(2.5) == CLOSED
    assert breaker.admits(2.5)


def test_a_probe_that_fails_opens_it_anew() -> None:
    breaker = opened()
    breaker.admits(2.0)
    breaker.failed(2.5, probe=True)

    assert breaker.state(4.4) == OPEN
    assert breaker.admits(4.5)


def test_a_probe_without_an_outcome_frees_its_place() -> None:
    breaker = opened()
    breaker.admits(2.0)
    breaker.undecided(probe=True)

    assert breaker.admits(2.5)


def test_j11_traffic_comes_back_by_and_by() -> None:
    breaker = opened()
    breaker.admits(2.0)
    breaker.succeeded(2.0, probe=True)

    shares = [breaker.share(2.0 + step / 2) for step in range(5)]

    assert shares == [0.1, 0.25, 0.5, 0.75, 1.0]


def test_calls_that_were_under_way_when_it_opened_change_nothing() -> None:
    breaker = opened()
    breaker.succeeded(0.5)
    breaker.failed(1.0)

    assert breaker.retry_in_s(1.0) == 1.0


@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from(["admits", "succeeded", "failed", "undecided"]))))
def test_never_two_probes_at_once(moves: list[tuple[float, str]]) -> None:
    """Whatever happens: between an opening and its end, at most one call is let through at a time."""
    breaker = opened()
    now = 0.0
    probing = False
    for pause, move in moves:
        now += pause
        shut = breaker.state(now) != CLOSED
        if move == "admits":
            if breaker.admits(now) and shut:
                assert not probing
                probing = True
        elif probing:
            breaker.undecided(probe=True) if move == "undecided" else getattr(breaker, move)(now, probe=True)
            probing = False
