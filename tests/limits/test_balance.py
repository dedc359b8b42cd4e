from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.claim import BALANCE, State
from llmgw.limits.balance import is_held, is_spent, settled, step
from tests.limits.driving import START, claim, live_settling, rule, settlements

END = START + 1_000
limits = st.integers(0, 200)
amounts = st.integers(0, 300)


@given(limits, st.lists(st.tuples(amounts, amounts, st.integers(0, 5)), max_size=40))
def test_what_passes_is_what_neither_spending_nor_holds_have_taken(
    limit: int, asked: list[tuple[int, int, int]]
) -> None:
    of = rule(BALANCE, limit, 0)
    state: State = ()
    spent = 0
    held: list[tuple[int, int, int]] = []
    for number, (cost, charge, later) in enumerate(asked):
        left = limit - spent - sum(amount for _, amount, _ in held)
        after, remaining, at = step(state, claim(of, cost, END), START + number)
        assert at == END
        assert (after is not None) == (cost <= left)
        assert remaining == (left - cost if cost <= left else max(0, left))
        if after is not None:
            state = after
            held.append((number + later, cost, charge))
            assert state[0] + state[1] <= limit
        for due in [each for each in held if each[0] <= number]:
            held.remove(due)
            spent += due[2]
            state = settled(state, claim(of, due[1], END), due[2], START, START + number)
        assert not state or state == (spent, sum(amount for _, amount, _ in held), END)


@given(limits, settlements)
def test_nothing_becomes_negative(limit: int, asked: Any) -> None:
    def seen(state: State) -> None:
        assert min(state[:2]) >= 0

    live_settling(rule(BALANCE, limit, 0), asked, seen)


@pytest.mark.parametrize("lenient", [{"warn": True}, {"shadow": True}])
@given(spent=amounts, held=amounts, cost=amounts)
def test_a_rule_that_refuses_nobody_takes_on(
    lenient: dict[str, bool], spent: int, held: int, cost: int
) -> None:
    asked = claim(rule(BALANCE, 100, 0, **lenient), cost, END)

    assert step((spent, held, END), asked, START) == (
        (spent, held + cost, END),
        100 - spent - held - cost,
        END,
    )


@given(amounts, amounts, amounts)
def test_a_claim_is_held_up_by_holds_alone_or_by_spending(spent: int, held: int, cost: int) -> None:
    asked = claim(rule(BALANCE, 100, 0), cost, END)

    assert is_held((spent, held, END), asked) == (step((spent, 0, END), asked, START)[0] is not None)
    assert is_held((), asked) == (cost <= 100)


@given(limits, amounts)
def test_a_changed_limit_goes_on_with_what_was_spent(limit: int, spent: int) -> None:
    after, remaining, _ = step((spent, 0, END), claim(rule(BALANCE, limit, 0), 0, END), START)

    assert (after is not None) == (spent <= limit)
    assert remaining == max(0, limit - spent)


def test_a_request_that_outlives_a_forgotten_period_leaves_its_charge() -> None:
    assert settled((), claim(rule(BALANCE, 100, 0), 50, END), 20, START, END) == (20, 0, END)


@given(amounts, amounts, st.integers(-5, 5))
def test_a_period_is_kept_to_its_end_and_to_the_last_hold(spent: int, held: int, after: int) -> None:
    of = rule(BALANCE, 100, 0)

    assert is_spent((spent, held, END), of, END + after) == (held == 0 and after >= 0)
    assert is_spent((), of, START)
