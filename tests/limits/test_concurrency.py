from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.claim import CONCURRENCY, State
from llmgw.limits.concurrency import is_spent, settled, step
from tests.limits.driving import START, claim, live_settling, rule, settlements

limits = st.integers(0, 20)


@given(limits, st.lists(st.booleans(), max_size=60), st.integers(0, 9))
def test_as_many_at_once_as_the_limit(limit: int, arrivals: list[bool], charge: int) -> None:
    """However they come and go, and whatever is charged for them."""
    asked = claim(rule(CONCURRENCY, limit, 0))
    state: State = ()
    there = 0
    for arrives in arrivals:
        if arrives:
            after, remaining, at = step(state, asked, START)
            assert (after is not None) == (there < limit)
            assert (remaining, at) == (limit - there - (there < limit), 0)
            if after is not None:
                state = after
                there += 1
        elif there:
            state = settled(state, asked, charge, START, START)
            there -= 1
        assert is_spent(state, asked.rule, START) == (there == 0)


@given(limits, settlements)
def test_nothing_becomes_negative(limit: int, asked: Any) -> None:
    def seen(state: State) -> None:
        assert state[0] >= 0

    live_settling(rule(CONCURRENCY, limit, 0), asked, seen)


def test_a_place_that_was_forgotten_is_not_given_back() -> None:
    asked = claim(rule(CONCURRENCY, 5, 0))

    assert settled((), asked, 0, START, START) == ()
    assert settled((0,), asked, 0, START, START) == (0,)


@given(limits, limits)
def test_a_changed_limit_goes_on_with_who_is_there(limit: int, there: int) -> None:
    after, remaining, _ = step((there,), claim(rule(CONCURRENCY, limit, 0)), START)

    assert (after is not None) == (there < limit)
    assert remaining == max(0, limit - there - (there < limit))
