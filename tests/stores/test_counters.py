from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.claim import (
    BALANCE,
    CONCURRENCY,
    FIXED_WINDOW,
    SLIDING_WINDOW,
    Claim,
    Rule,
    State,
    Verdict,
)
from llmgw.limits import ALGORITHMS
from llmgw.stores.counters import MemoryCounters
from tests.contracts.counters import CountersContract, SteadyHand


class TestMemoryCounters(CountersContract):
    @pytest.fixture
    def counters(self, clock: SteadyHand) -> MemoryCounters:
        return MemoryCounters(clock)


LIMITED = [
    Rule(name="f", counts="f", algorithm=FIXED_WINDOW, unit="requests", limit=5, window_ns=1000),
    Rule(
        name="s", counts="s", algorithm=SLIDING_WINDOW, unit="requests", limit=6, window_ns=1200, segments=6
    ),
    Rule(name="c", counts="c", algorithm=CONCURRENCY, unit="in_flight", limit=4),
    Rule(name="q", counts="q", algorithm=BALANCE, unit="requests", limit=40),
]
STRICTER = [msgspec.structs.replace(rule, limit=rule.limit - 2) for rule in LIMITED]


def claims_of(rules: list[Rule]) -> tuple[Claim, ...]:
    return tuple(Claim(rule, rule.counts, 1, 10**9 if rule.algorithm == BALANCE else 0) for rule in rules)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("sleep"), st.integers(0, 400)),
            st.tuples(st.just("take"), st.integers(0, 1)),
            st.tuples(st.just("settle"), st.integers(0, 3)),
            st.tuples(st.just("look"), st.just(0)),
        ),
        max_size=120,
    )
)
def test_counting_ahead_is_counting_step_by_step(actions: list[tuple[str, int]]) -> None:
    """Claims that are let on without a step leave and decide what steps would have."""
    now = 10_000
    counters = MemoryCounters(lambda: now)
    asked = [claims_of(LIMITED), claims_of(STRICTER)]
    states: dict[str, State] = {}
    under_way: list[tuple[tuple[Claim, ...], Verdict, int]] = []
    for action, value in actions:
        if action == "sleep":
            now += value
        elif action == "take":
            claims = asked[value]
            steps = [ALGORITHMS[one.rule.algorithm].step(states.get(one.key, ()), one, now) for one in claims]
            verdict = counters.acquire(claims, "r")
            assert bool(verdict.refusals) == any(step[0] is None for step in steps)
            assert [step[1] for step in verdict.steps] == [step[1] for step in steps]
            if not verdict.refusals:
                states |= {one.key: step[0] or () for one, step in zip(claims, steps, strict=True)}
                under_way.append((claims, verdict, now))
        elif action == "settle" and under_way:
            claims, verdict, at = under_way.pop()
            counters.settle([(claims[2], 0), (claims[3], value)], verdict)
            for one, charge in ((claims[2], 0), (claims[3], value)):
                settled = ALGORITHMS[one.rule.algorithm].settled
                states[one.key] = settled(states[one.key], one, charge, at, now)
        elif action == "look":
            assert {key: state for key, _, state in counters.states()} == states


@pytest.mark.parametrize("algorithm", [CONCURRENCY, BALANCE])
def test_f14_a_lowered_limit_holds_while_requests_under_it_end(algorithm: str) -> None:
    """What is given back leaves no room where more is taken than the new limit allows."""
    counters = MemoryCounters(lambda: 0)
    many = Rule(name="r", counts="c", algorithm=algorithm, unit="requests", limit=30)
    before = (Claim(many, "c", 1, 10**9),)
    verdicts = [counters.acquire(before, f"r{number}") for number in range(30)]
    few = (Claim(msgspec.structs.replace(many, limit=10), "c", 1, 10**9),)
    assert counters.acquire(few, "r").refusals

    admitted = []
    for verdict in verdicts:
        counters.settle([(before[0], 0)], verdict)
        admitted.append(not counters.acquire(few, "r").refusals)

    assert admitted == [False] * 20 + [True] * 10
