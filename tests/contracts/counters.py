"""What every counter store promises, with all algorithms."""

from __future__ import annotations

from typing import Any

import pytest

from llmgw.core.claim import (
    BALANCE,
    CONCURRENCY,
    FIXED_WINDOW,
    SLIDING_WINDOW,
    TOKEN_BUCKET,
    Claim,
    Rule,
)
from llmgw.ports.counters import CounterStore

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = 1_000_000 * SECOND
END = START + 3600 * SECOND
"""When the balances' period ends."""
RATES = [FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET]
EVERY = [*RATES, CONCURRENCY, BALANCE]
REQUEST = "req_00112233445566778899aabbccddeeff"


class SteadyHand:
    """A steady clock that only tests move."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


def rule(algorithm: str, limit: int = 100, **changes: Any) -> Rule:
    if algorithm in RATES:
        changes.setdefault("window_ns", MINUTE)
        changes.setdefault("segments", 6 if algorithm == SLIDING_WINDOW else 0)
    changes.setdefault("counts", algorithm)
    return Rule(name=algorithm, algorithm=algorithm, unit="requests", limit=limit, **changes)


def claim(of: Rule | str, cost: int = 1, whose: str = "acme") -> Claim:
    made = rule(of) if isinstance(of, str) else of
    return Claim(made, f"{made.counts}|{whose}", cost, END if made.algorithm == BALANCE else 0)


def remaining(counters: CounterStore, asked: Claim) -> int:
    """What is left of a counter."""
    return counters.peek([Claim(asked.rule, asked.key, 0, asked.until)])[0][1]


class CountersContract:
    """A subclass gives the fixtures `clock` and `counters`, empty and on that clock."""

    @pytest.fixture
    def clock(self) -> SteadyHand:
        return SteadyHand()

    @pytest.mark.parametrize("algorithm", EVERY)
    def test_a_burst_passes_to_the_limit_exactly(self, counters: CounterStore, algorithm: str) -> None:
        asked = claim(algorithm)

        verdicts = [counters.acquire([asked], REQUEST) for _ in range(1_000)]

        assert sum(not verdict.refusals for verdict in verdicts) == 100
        assert [verdict.steps[0][1] for verdict in verdicts[:100]] == list(range(99, -1, -1))

    @pytest.mark.parametrize("algorithm", EVERY)
    def test_counters_are_apart_by_key(self, counters: CounterStore, algorithm: str) -> None:
        counters.acquire([claim(algorithm, 100)], REQUEST)

        assert not counters.acquire([claim(algorithm, 100, "other")], REQUEST).refusals
        assert counters.counted() == 2

    @pytest.mark.parametrize("algorithm", EVERY)
    @pytest.mark.parametrize("place", [0, 2, 4])
    def test_a_refused_request_takes_nothing(
        self, counters: CounterStore, algorithm: str, place: int
    ) -> None:
        """Wherever the one rule is that refuses; and asking again and again changes nothing."""
        roomy = [claim(rule(FIXED_WINDOW, counts=name)) for name in ("a", "b", "c", "d")]
        full = claim(algorithm, 60)
        assert not counters.acquire([full], REQUEST).refusals
        claims = [*roomy[:place], full, *roomy[place:]]

        verdicts = [counters.acquire(claims, REQUEST) for _ in range(5)]

        for verdict in verdicts:
            (refusal,) = verdict.refusals
            assert (refusal.claim, refusal.remaining) == (full, 40)
            assert refusal.at == verdicts[0].refusals[0].at
            assert not refusal.never
            assert len(verdict.steps) == 5
        assert remaining(counters, full) == 40
        assert counters.counted() == 1

    def test_every_rule_that_refuses_is_named(self, counters: CounterStore) -> None:
        claims = [claim(rule(algorithm, limit=0)) for algorithm in EVERY]

        verdict = counters.acquire(claims, REQUEST)

        assert [refusal.claim for refusal in verdict.refusals] == claims
        assert all(refusal.never and refusal.remaining == 0 for refusal in verdict.refusals)

    def test_many_claims_are_one_request(self, counters: CounterStore) -> None:
        """All of one request pass and settle together, 16 of them."""
        claims = [
            claim(rule(algorithm, counts=f"{algorithm}{copy}"), 10)
            for copy in range(4)
            for algorithm in (*RATES, BALANCE)
        ]

        verdict = counters.acquire(claims, REQUEST)
        assert [remaining(counters, asked) for asked in claims] == [90] * 16
        counters.settle([(asked, 4) for asked in claims], verdict)

        assert [remaining(counters, asked) for asked in claims] == [96] * 16

    @pytest.mark.parametrize("algorithm", RATES)
    def test_what_was_not_used_is_given_back(self, counters: CounterStore, algorithm: str) -> None:
        asked = claim(algorithm, 60)
        verdict = counters.acquire([asked], REQUEST)

        counters.settle([(asked, 10)], verdict)

        assert remaining(counters, asked) == 90

    @pytest.mark.parametrize("algorithm", RATES)
    def test_what_was_used_beyond_is_owed(self, counters: CounterStore, algorithm: str) -> None:
        asked = claim(algorithm, 10)
        verdict = counters.acquire([asked], REQUEST)

        counters.settle([(asked, 150)], verdict)

        (refusal,) = counters.acquire([claim(algorithm)], REQUEST).refusals
        assert refusal.remaining == 0

    @pytest.mark.parametrize("charge", [0, 1, 500])
    def test_a_place_is_given_back_whatever_came_of_it(self, counters: CounterStore, charge: int) -> None:
        place = claim(rule(CONCURRENCY, limit=1))
        verdict = counters.acquire([place], REQUEST)
        assert counters.acquire([place], REQUEST).refusals

        counters.settle([(place, charge)], verdict)

        assert remaining(counters, place) == 1

    def test_a_hold_ends_and_spending_stays(self, counters: CounterStore) -> None:
        hold = claim(BALANCE, 60)
        verdict = counters.acquire([hold], REQUEST)
        assert counters.balance(hold.key) == (0, 60)

        counters.settle([(hold, 45)], verdict)

        assert counters.balance(hold.key) == (45, 0)

    def test_a_balance_that_is_only_held_says_so(self, counters: CounterStore) -> None:
        """A caller may wait for requests under way, but not for what is spent."""
        hold = claim(BALANCE, 60)
        verdict = counters.acquire([hold], REQUEST)
        assert [refusal.held for refusal in counters.acquire([hold], REQUEST).refusals] == [True]

        counters.settle([(hold, 60)], verdict)

        (refusal,) = counters.acquire([hold], REQUEST).refusals
        assert (refusal.held, refusal.at, refusal.remaining) == (False, END, 40)

    def test_a_debt_is_met_by_the_next_claim(self, counters: CounterStore) -> None:
        hold = claim(BALANCE, 90)
        counters.settle([(hold, 130)], counters.acquire([hold], REQUEST))

        assert counters.balance(hold.key) == (130, 0)
        assert counters.acquire([claim(BALANCE, 1)], REQUEST).refusals

    def test_claims_that_are_not_named_keep_what_they_took(self, counters: CounterStore) -> None:
        requests, tokens, hold = claim(FIXED_WINDOW), claim(TOKEN_BUCKET, 50), claim(BALANCE, 50)
        verdict = counters.acquire([requests, tokens, hold], REQUEST)

        counters.settle([(tokens, 20)], verdict)

        assert [remaining(counters, asked) for asked in (requests, tokens, hold)] == [99, 80, 50]

    def test_leases_may_end_one_after_the_other(self, counters: CounterStore) -> None:
        place, hold, other = claim(CONCURRENCY), claim(BALANCE, 50), claim(BALANCE, 30, "other")
        verdict = counters.acquire([place, hold, other], REQUEST)

        counters.settle([(hold, 20)], verdict)
        assert counters.balance(other.key) == (0, 30)
        counters.settle([(place, 0), (other, 5)], verdict)

        assert counters.balance(hold.key) == (20, 0)
        assert counters.balance(other.key) == (5, 0)
        assert remaining(counters, place) == 100

    @pytest.mark.parametrize("algorithm", [*RATES, CONCURRENCY])
    def test_a_shadow_rule_neither_refuses_nor_takes(self, counters: CounterStore, algorithm: str) -> None:
        shadow = claim(rule(algorithm, limit=10, shadow=True), 6)
        enforced = claim(rule(FIXED_WINDOW, counts="enforced"))
        counters.acquire([shadow, enforced], REQUEST)

        verdict = counters.acquire([shadow, enforced], REQUEST)

        assert verdict.refusals == ()
        assert [refusal.claim for refusal in verdict.shadows] == [shadow]
        assert verdict.steps[0][0] is None
        assert remaining(counters, shadow) == 4
        assert remaining(counters, enforced) == 98

    @pytest.mark.parametrize("mode", ["warn", "shadow"])
    def test_a_balance_that_refuses_nobody_takes_beyond_its_limit(
        self, counters: CounterStore, mode: str
    ) -> None:
        """It stays the sum of what was used."""
        hold = claim(rule(BALANCE, limit=10, **{mode: True}), 8)
        counters.settle([(hold, 8)], counters.acquire([hold], REQUEST))

        verdict = counters.acquire([hold], REQUEST)
        counters.settle([(hold, 7)], verdict)

        assert verdict.refusals == ()
        assert [(refusal.claim, refusal.remaining) for refusal in verdict.shadows] == [(hold, 0)]
        assert verdict.steps[0][1] == -6
        assert counters.balance(hold.key) == (15, 0)

    def test_balances_come_from_the_ledger(self, counters: CounterStore) -> None:
        counters.restore({f"{BALANCE}|acme": (95, END), "quota|é€ö|beta": (7, END)})

        assert counters.balance(f"{BALANCE}|acme") == (95, 0)
        assert sorted(counters.balances()) == [(f"{BALANCE}|acme", 95, 0), ("quota|é€ö|beta", 7, 0)]
        assert counters.acquire([claim(BALANCE, 6)], REQUEST).refusals
        assert not counters.acquire([claim(BALANCE, 5)], REQUEST).refusals

    def test_balances_that_a_reload_adds_begin_with_the_ledgers_sum(self, counters: CounterStore) -> None:
        """Those that are there are never lowered, nor is what they hold."""
        known = claim(BALANCE, 9)
        counters.settle([(known, 9)], counters.acquire([known], REQUEST))
        counters.acquire([claim(BALANCE, 3)], REQUEST)

        counters.seed({known.key: (4, END), f"{BALANCE}|added": (95, END)})
        assert counters.balance(known.key) == (9, 3)
        assert counters.balance(f"{BALANCE}|added") == (95, 0)

        counters.seed({known.key: (40, END)})
        assert counters.balance(known.key) == (40, 3)
        assert counters.acquire([claim(BALANCE, 58)], REQUEST).refusals

    def test_only_balances_are_listed(self, counters: CounterStore) -> None:
        counters.acquire([claim(algorithm, 3) for algorithm in EVERY], REQUEST)

        assert list(counters.balances()) == [(claim(BALANCE).key, 0, 3)]
        assert counters.balance("nobody's") == (0, 0)

    @pytest.mark.parametrize("algorithm", EVERY)
    def test_peeking_takes_nothing(self, counters: CounterStore, algorithm: str) -> None:
        asked = claim(algorithm, 30)
        fresh = counters.peek([asked])
        assert counters.counted() == 0
        counters.acquire([asked], REQUEST)

        assert [step[1] for step in fresh] == [70]
        assert [step[1] for step in counters.peek([asked]) + counters.peek([asked])] == [40, 40]
        assert counters.peek([claim(algorithm, 71)])[0][0] is None
        assert remaining(counters, asked) == 70

    @pytest.mark.parametrize("algorithm", RATES)
    def test_a_window_is_over_at_the_instant_that_was_told(
        self, counters: CounterStore, clock: SteadyHand, algorithm: str
    ) -> None:
        whole = claim(algorithm, 100)
        counters.acquire([whole], REQUEST)
        (refusal,) = counters.acquire([whole], REQUEST).refusals

        clock.now = refusal.at - 1
        assert counters.acquire([whole], REQUEST).refusals
        clock.now = refusal.at
        assert not counters.acquire([whole], REQUEST).refusals

    @pytest.mark.parametrize("algorithm", RATES)
    def test_spent_counters_are_forgotten(
        self, counters: CounterStore, clock: SteadyHand, algorithm: str
    ) -> None:
        for whose in range(50):
            counters.acquire([claim(algorithm, 100, str(whose))], REQUEST)

        sweep_all(counters)
        assert counters.counted() == 50
        clock.now += 2 * MINUTE
        sweep_all(counters)

        assert counters.counted() == 0
        assert remaining(counters, claim(algorithm, 1, "7")) == 100

    def test_what_is_under_way_is_not_forgotten(self, counters: CounterStore, clock: SteadyHand) -> None:
        place, hold = claim(CONCURRENCY), claim(BALANCE, 50)
        verdict = counters.acquire([place, hold], REQUEST)
        clock.now = END
        sweep_all(counters)
        assert counters.counted() == 2

        counters.settle([(place, 0), (hold, 20)], verdict)
        assert counters.balance(hold.key) == (20, 0)
        sweep_all(counters)

        assert counters.counted() == 0

    def test_a_balance_stays_as_long_as_its_period(self, counters: CounterStore, clock: SteadyHand) -> None:
        hold = claim(BALANCE, 50)
        counters.settle([(hold, 20)], counters.acquire([hold], REQUEST))
        clock.now = END - 1

        sweep_all(counters)

        assert counters.balance(hold.key) == (20, 0)

    @pytest.mark.parametrize("algorithm", RATES)
    def test_a_late_debt_counts_though_its_counter_was_forgotten(
        self, counters: CounterStore, clock: SteadyHand, algorithm: str
    ) -> None:
        asked = claim(algorithm, 10)
        verdict = counters.acquire([asked], REQUEST)
        clock.now += 2 * MINUTE
        sweep_all(counters)

        counters.settle([(asked, 40)], verdict)
        assert remaining(counters, asked) == 70
        assert list(counters.balances()) == []
        clock.now += 2 * MINUTE
        sweep_all(counters)

        assert counters.counted() == 0

    @pytest.mark.parametrize("algorithm", EVERY)
    def test_a_changed_limit_goes_on_with_what_was_used(self, counters: CounterStore, algorithm: str) -> None:
        counters.acquire([claim(rule(algorithm, limit=100), 60)], REQUEST)

        assert remaining(counters, claim(rule(algorithm, limit=1_000))) == 940
        assert remaining(counters, claim(rule(algorithm, limit=50))) == 0
        assert not counters.acquire([claim(rule(algorithm, limit=1_000), 940)], REQUEST).refusals


def sweep_all(counters: CounterStore) -> None:
    """Sweep until everything was looked at."""
    for _ in range(20):
        counters.sweep()
