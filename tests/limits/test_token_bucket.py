from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmgw.core.claim import TOKEN_BUCKET, Rule
from llmgw.limits.token_bucket import PARTS, is_spent, settled, step
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

MONTH = 31 * 86_400 * 10**9
rules = st.builds(
    lambda limit, window: rule(TOKEN_BUCKET, limit, window),
    st.integers(0, 60),
    st.sampled_from([WINDOW, 7, 10**9 + 7, MONTH]),
)


def scaled(of: Rule, asked: Moves) -> Moves:
    """Waits as they were meant for a window of WINDOW."""
    return [(wait * of.window_ns // WINDOW, cost) for wait, cost in asked]


@given(rules, moves(WINDOW // 4))
def test_f05_no_time_has_more_than_the_burst_and_the_refill(of: Rule, asked: Moves) -> None:
    taken = live(of, scaled(of, asked))
    for first, begin in enumerate(taken):
        used = 0
        for end in taken[first:]:
            used += end.cost
            assert used <= of.limit + Fraction((end.at - begin.at) * of.limit, of.window_ns)


@given(rules, moves(WINDOW // 4))
def test_what_passes_is_what_an_exact_bucket_has(of: Rule, asked: Moves) -> None:
    """But for the millionth that each step rounds down."""
    missing, since, steps = Fraction(0), START, 0

    def seen(_: Any, now: int, of_claim: Any, outcome: Any) -> None:
        nonlocal missing, since, steps
        missing = max(Fraction(0), missing - Fraction((now - since) * of.limit, of.window_ns))
        since = now
        room = of.limit - missing - of_claim.cost
        if outcome[0] is not None:
            assert room >= 0
            missing += of_claim.cost
            steps += 1
        else:
            assert room <= Fraction(steps, PARTS)

    live(of, scaled(of, asked), seen)


@pytest.mark.parametrize("seen", [is_honest, forgets_nothing, given_back])
@given(of=rules, asked=moves(WINDOW // 4))
def test_instants_are_told_truly(seen: Any, of: Rule, asked: Moves) -> None:
    live(of, scaled(of, asked), seen)


@given(st.integers(0, 60), settlements)
def test_nothing_becomes_negative(limit: int, asked: Any) -> None:
    def seen(state: Any) -> None:
        assert state[1] >= 0

    live_settling(rule(TOKEN_BUCKET, limit), asked, seen)


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, WINDOW))
@example(60, 60, 0)
def test_what_is_given_back_can_be_taken_again(cost: int, before: int, later: int) -> None:
    """And no more than that: the bucket does not overflow."""
    of = rule(TOKEN_BUCKET, 120)
    state = (START, before * PARTS)
    taken = step(state, claim(of, cost), START)[0]
    assert taken is not None

    back = settled(taken, claim(of, cost), 0, START, START + later)

    nothing = claim(of, 0)
    assert step(back, nothing, START + later)[1] == step(state, nothing, START + later)[1]


@given(st.integers(1, 200))
def test_what_was_used_beyond_is_refilled_first(beyond: int) -> None:
    of = rule(TOKEN_BUCKET, 60)
    state = settled((START, 60 * PARTS), claim(of, 60), 60 + beyond, START, START)

    outcome = step(state, claim(of, 1), START)

    assert outcome == (None, 0, START + (beyond + 1) * (WINDOW // 60))


@given(st.integers(1, 60), st.integers(0, 60))
def test_a_changed_limit_goes_on_with_what_was_used(limit: int, used: int) -> None:
    after, remaining, _ = step((START, used * PARTS), claim(rule(TOKEN_BUCKET, limit), 0), START)

    assert (after is not None) == (used <= limit)
    assert remaining == max(0, limit - used)


@given(st.integers(1, 60), st.integers(1, 10_000))
def test_f14_a_lowered_limit_locks_nobody_out(limit: int, beyond: int) -> None:
    """What a larger bucket gave away leaves a smaller one empty, not in debt for windows to come."""
    of = msgspec.structs.replace(rule(TOKEN_BUCKET, limit), unit="requests")
    state = (START, (limit + beyond) * PARTS)

    after, remaining, at = step(state, claim(of), START)

    assert (after, remaining, at) == (None, 0, START - (-WINDOW // limit))
    assert step(state, claim(of), at - 1)[0] is None
    assert step(state, claim(of), at)[0] is not None


@given(st.integers(1, WINDOW - 1))
def test_f04_a_clock_that_goes_back_admits_nothing_more(back: int) -> None:
    """Nothing is refilled twice: not while the clock is back, and not when it is where it was."""
    asked = claim(rule(TOKEN_BUCKET, 60), 30)
    taken = step((START, 30 * PARTS), asked, START - back)[0]
    assert taken is not None

    assert step(taken, claim(asked.rule), START - back)[0] is None
    assert step(taken, claim(asked.rule), START)[0] is None
    assert not is_spent(taken, asked.rule, START - back)


@given(st.integers(WINDOW, 10 * WINDOW))
def test_f04_a_clock_that_leaps_back_locks_nobody_out(back: int) -> None:
    empty = (START, 60 * PARTS)
    of = rule(TOKEN_BUCKET, 60)

    assert step(empty, claim(of), START - back)[1] == 59
    assert is_spent(empty, of, START - back)


def test_a_limit_of_nothing_blocks() -> None:
    of = rule(TOKEN_BUCKET, 0)

    assert step((), claim(of), START) == (None, 0, START + WINDOW)
    assert step((START, 5 * PARTS), claim(of), START) == (None, 0, START + WINDOW)
    assert step((), claim(of, 0), START) == ((START, 0), 0, START + WINDOW)
