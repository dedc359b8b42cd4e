from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.claim import MAX_SEGMENTS, SLIDING_WINDOW, Rule
from llmgw.limits.sliding_window import is_spent, settled, step
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

rules = st.builds(
    lambda limit, segments: rule(SLIDING_WINDOW, limit, segments=segments),
    st.integers(0, 60),
    st.integers(1, MAX_SEGMENTS),
)
SIX = rule(SLIDING_WINDOW, 10, segments=6)
NEWEST = START // 1_000


@given(rules, moves())
def test_what_passes_is_what_the_segments_have_room_for(of: Rule, asked: Moves) -> None:
    """The segment of a claim and the S-1 before it count."""
    length = of.window_ns // of.segments
    now, expected = START, []
    for wait, cost in asked:
        now += wait
        oldest = now // length - of.segments + 1
        if sum(taken for at, taken in expected if at // length >= oldest) + cost <= of.limit:
            expected.append((now, cost))

    assert live(of, asked) == expected


@given(rules, moves(WINDOW // 2))
def test_f05_no_interval_has_more_than_the_limit(of: Rule, asked: Moves) -> None:
    interval = of.window_ns // of.segments * (of.segments - 1)
    taken = live(of, asked)
    for first in taken:
        assert sum(each.cost for each in taken if 0 <= each.at - first.at <= interval) <= of.limit


@pytest.mark.parametrize("seen", [is_honest, forgets_nothing])
@given(of=rules, asked=moves(WINDOW))
def test_instants_are_told_truly(seen: Any, of: Rule, asked: Moves) -> None:
    live(of, asked, seen)


@given(rules, moves(WINDOW))
def test_all_is_given_back_at_the_instant_that_was_told(of: Rule, asked: Moves) -> None:
    live(of, asked, given_back)


@given(rules, settlements)
def test_nothing_becomes_negative_and_sums_agree(of: Rule, asked: Any) -> None:
    def seen(state: Any) -> None:
        assert len(state) == 2 + of.segments
        assert min(state[1:]) >= 0
        assert state[1] == sum(state[2:])

    live_settling(of, asked, seen)


@given(rules, moves(WINDOW // 2, 10), st.data())
def test_what_is_given_back_can_be_taken_again(of: Rule, asked: Moves, data: Any) -> None:
    """In the segment that it was taken in; so the oldest use is not forgotten for the newest."""
    last: Any = None

    def seen(state: Any, now: int, of_claim: Any, outcome: Any) -> None:
        nonlocal last
        if outcome[0] is not None:
            last = (state, now, of_claim, outcome[0])

    live(of, asked, seen)
    if last is None:
        return
    before, now, taken, after = last
    later = now + data.draw(st.integers(0, 2 * WINDOW))

    back = settled(after, taken, 0, now, later)

    nothing = claim(of, 0)
    assert step(back, nothing, later)[:2][1] == step(before, nothing, later)[1]


@given(st.integers(1, 30), st.integers(0, 2 * WINDOW))
def test_what_was_used_beyond_counts_now(beyond: int, later: int) -> None:
    now = START + later
    state = settled(step((), claim(SIX, 10), START)[0] or (), claim(SIX, 10), 10 + beyond, START, now)

    assert state[2] == beyond + (10 if later < 1_000 else 0)
    assert state[0] == now // 1_000


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_changed_limit_goes_on_with_what_was_used(limit: int, used: int) -> None:
    asked = claim(rule(SLIDING_WINDOW, limit, segments=6), 0)

    after, remaining, _ = step((NEWEST, used, used, 0, 0, 0, 0, 0), asked, START)

    assert (after is not None) == (used <= limit)
    assert remaining == max(0, limit - used)


@given(st.integers(1, WINDOW - 1_000))
def test_f04_a_clock_that_goes_back_admits_nothing_more(back: int) -> None:
    full = (NEWEST, 10, 10, 0, 0, 0, 0, 0)

    assert step(full, claim(SIX), START - back) == (None, 0, START + WINDOW)
    assert not is_spent(full, SIX, START - back)


@given(st.integers(WINDOW, 10 * WINDOW))
def test_f04_a_clock_that_leaps_back_locks_nobody_out(back: int) -> None:
    full = (NEWEST, 10, 10, 0, 0, 0, 0, 0)

    assert step(full, claim(SIX), START - back)[1] == 9
    assert is_spent(full, SIX, START - back)
