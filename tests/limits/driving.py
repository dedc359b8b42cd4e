"""Random lives of one counter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from llmgw.core.claim import Claim, Rule, State
from llmgw.limits import ALGORITHMS

START = 10**15
WINDOW = 6_000
"""Nanoseconds: a short window, so that random instants meet its edges."""


def rule(algorithm: str, limit: int, window_ns: int = WINDOW, segments: int = 0, **changes: Any) -> Rule:
    return Rule(
        name="r",
        counts="c",
        algorithm=algorithm,
        unit="tokens",
        limit=limit,
        window_ns=window_ns,
        segments=segments,
        **changes,
    )


def claim(of: Rule, cost: int = 1, until: int = 0) -> Claim:
    return Claim(of, "key", cost, until)


class Taken(NamedTuple):
    """A claim that passed."""

    at: int
    cost: int


Moves = Sequence[tuple[int, int]]
"""How long to wait, and how much to claim then."""


def moves(longest_wait: int = 2 * WINDOW, most: int = 30) -> st.SearchStrategy[Moves]:
    return st.lists(st.tuples(st.integers(0, longest_wait), st.integers(0, most)), max_size=40)


def live(of: Rule, asked: Moves, seen: Callable[[State, int, Claim, Any], None] | None = None) -> list[Taken]:
    """What passes. seen: is shown each state, instant, claim and what the claim does."""
    step = ALGORITHMS[of.algorithm].step
    state: State = ()
    now = START
    passed = []
    for wait, cost in asked:
        now += wait
        outcome = step(state, claim(of, cost), now)
        if seen is not None:
            seen(state, now, claim(of, cost), outcome)
        if outcome[0] is not None:
            state = outcome[0]
            passed.append(Taken(now, cost))
    return passed


def is_honest(state: State, now: int, asked: Claim, outcome: Any) -> None:
    """A refused claim passes at the instant that was told, and not a nanosecond before."""
    if outcome[0] is not None or asked.cost > asked.rule.limit:
        return
    step = ALGORITHMS[asked.rule.algorithm].step
    at = outcome[2]
    assert at > now
    assert step(state, asked, at)[0] is not None
    assert step(state, asked, at - 1)[0] is None
    assert 0 <= outcome[1] < asked.cost or asked.cost == 0


def forgets_nothing(state: State, now: int, asked: Claim, outcome: Any) -> None:
    """Where a counter can be forgotten, a new one gives the same answer."""
    algorithm = ALGORITHMS[asked.rule.algorithm]
    if algorithm.is_spent(state, asked.rule, now):
        assert algorithm.step((), asked, now)[:2] == outcome[:2]


def given_back(state: State, now: int, asked: Claim, outcome: Any) -> None:
    """At the instant told to a claim that passed, its counter is as new; no sooner."""
    if outcome[0] is None or asked.cost == 0:
        return
    algorithm = ALGORITHMS[asked.rule.algorithm]
    after, _, at = outcome
    assert algorithm.is_spent(after, asked.rule, at)
    assert not algorithm.is_spent(after, asked.rule, at - 1)


settlements = st.lists(
    st.tuples(
        st.integers(-3 * WINDOW, 3 * WINDOW), st.integers(0, 30), st.integers(0, 60), st.integers(0, 5)
    ),
    max_size=40,
)
"""How the clock moves, a claim, what was used of it, and how many claims later it is settled."""


def live_settling(of: Rule, asked: Any, seen: Callable[[State], None]) -> None:
    """Claims settled late, on a clock that may go back. seen: is shown each state."""
    algorithm = ALGORITHMS[of.algorithm]
    state: State = ()
    now = START
    open_claims: list[tuple[int, Claim, int, int]] = []
    for number, (wait, cost, charge, later) in enumerate(asked):
        now += wait
        after = algorithm.step(state, claim(of, cost, START), now)[0]
        if after is not None:
            state = after
            seen(state)
            open_claims.append((number + later, claim(of, cost, START), charge, now))
        for due in [each for each in open_claims if each[0] <= number]:
            open_claims.remove(due)
            state = algorithm.settled(state, due[1], due[2], due[3], now)
            seen(state)
