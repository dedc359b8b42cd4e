from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.claim import FIXED_WINDOW
from llmgw.limits.fixed_window import is_spent, settled, step
from tests.limits.driving import (
    START,
    WINDOW,
    Moves,
    claim,
    forgets_nothing,
    given_back,
    is_honest,
    live,
    live_settling,
    moves,
    rule,
    settlements,
)

limits = st.integers(0, 60)


@given(limits, moves())
def test_what_passes_is_what_the_windows_have_room_for(limit: int, asked: Moves) -> None:
    """A window lasts from the first use for W; the next begins with the first use after it."""
    start, used, now, expected = START - WINDOW, 0, START, []
    for wait, cost in asked:
        now += wait
        if now >= start + WINDOW:
            fresh_start, fresh_used = now, 0
        else:
            fresh_start, fresh_used = start, used
        if fresh_used + cost <= limit:
            start, used = fresh_start, fresh_used + cost
            expected.append((now, cost))

    assert live(rule(FIXED_WINDOW, limit), asked) == expected


@given(limits, moves())
def test_f05_a_window_never_admits_more_than_the_limit(limit: int, asked: Moves) -> None:
    taken = live(rule(FIXED_WINDOW, limit), asked)
    while taken:
        end = taken[0].at + WINDOW
        assert sum(each.cost for each in taken if each.at < end) <= limit
        taken = [each for each in taken if each.at >= end]


@pytest.mark.parametrize("seen", [is_honest, forgets_nothing, given_back])
@given(limit=limits, asked=moves())
def test_instants_are_told_truly(seen: Any, limit: int, asked: Moves) -> None:
    live(rule(FIXED_WINDOW, limit), asked, seen)


@given(limits, settlements)
def test_nothing_becomes_negative(limit: int, asked: Any) -> None:
    def seen(state: Any) -> None:
        assert state == () or state[1] >= 0

    live_settling(rule(FIXED_WINDOW, limit), asked, seen)


@given(st.integers(1, 60), st.data())
def test_what_is_given_back_can_be_taken_again(used: int, data: Any) -> None:
    """Within its window; afterwards it is no longer missing."""
    cost = data.draw(st.integers(0, used))
    later = data.draw(st.integers(0, WINDOW - 1))
    asked = claim(rule(FIXED_WINDOW, 60), cost)
    state = (START, used)

    assert settled(state, asked, 0, START + later, START + later) == (START, used - cost)
    assert settled((START + WINDOW, used), asked, 0, START + later, START + WINDOW) == (START + WINDOW, used)
    assert settled(state, asked, cost, START, START + WINDOW) == state


@given(st.integers(1, 30), st.integers(0, 2 * WINDOW))
def test_what_was_used_beyond_counts_now(beyond: int, later: int) -> None:
    asked = claim(rule(FIXED_WINDOW, 60), 10)

    start, used = settled((START, 10), asked, 10 + beyond, START, START + later)

    assert (start, used) == ((START, 10 + beyond) if later < WINDOW else (START + later, beyond))


@given(limits, st.integers(0, 60))
def test_a_changed_limit_goes_on_with_what_was_used(limit: int, used: int) -> None:
    after, remaining, _ = step((START, used), claim(rule(FIXED_WINDOW, limit), 0), START + 1)

    assert (after is not None) == (used <= limit)
    assert remaining == max(0, limit - used)


@given(st.integers(1, WINDOW - 1))
def test_f04_a_clock_that_goes_back_admits_nothing_more(back: int) -> None:
    asked = claim(rule(FIXED_WINDOW, 10))
    full = (START, 10)

    assert step(full, asked, START - back) == (None, 0, START + WINDOW)
    assert settled(full, asked, 5, START, START - back) == (START, 14)
    assert not is_spent(full, asked.rule, START - back)


@given(st.integers(WINDOW, 10 * WINDOW))
def test_f04_a_clock_that_leaps_back_locks_nobody_out(back: int) -> None:
    asked = claim(rule(FIXED_WINDOW, 10))

    assert step((START, 10), asked, START - back) == ((START - back, 1), 9, START - back + WINDOW)
    assert is_spent((START, 10), asked.rule, START - back)
