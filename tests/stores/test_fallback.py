from __future__ import annotations

import pytest

from llmgw.core.claim import BALANCE, CONCURRENCY, FIXED_WINDOW, TOKEN_BUCKET
from llmgw.stores.fallback import ASK_AGAIN_NS, AloneGrant, Fallback
from tests.contracts.counters import MINUTE, START, SteadyHand, claim, rule


@pytest.fixture
def clock() -> SteadyHand:
    return SteadyHand()


@pytest.fixture
def fallback(clock: SteadyHand) -> Fallback:
    return Fallback(clock, 4)


ALLOW = claim(rule(FIXED_WINDOW, limit=1, counts="allow", on_store_error="allow"), 5)
DENY = claim(rule(FIXED_WINDOW, counts="deny", on_store_error="deny"))
LOCAL = claim(rule(FIXED_WINDOW, limit=8, counts="local"))


def test_allowed_claims_pass_uncounted(fallback: Fallback) -> None:
    for _ in range(9):
        verdict = fallback.acquire([ALLOW])
        assert (verdict.refusals, verdict.steps) == ((), [((), 0, 0)])


def test_denied_claims_are_refused_for_a_second(fallback: Fallback) -> None:
    verdict = fallback.acquire([DENY])

    (refusal,) = verdict.refusals
    assert (refusal.claim, refusal.at, refusal.never, refusal.held) == (
        DENY,
        START + ASK_AGAIN_NS,
        False,
        False,
    )
    assert verdict.steps == [(None, 0, START + ASK_AGAIN_NS)]


def test_a_denied_balance_is_not_said_to_be_spent(fallback: Fallback) -> None:
    hold = claim(rule(BALANCE, on_store_error="deny"))

    assert [refusal.held for refusal in fallback.acquire([hold]).refusals] == [True]


@pytest.mark.parametrize(("limit", "share"), [(0, 0), (1, 1), (3, 1), (8, 2), (103, 25)])
def test_local_claims_have_a_share(fallback: Fallback, limit: int, share: int) -> None:
    asked = claim(rule(TOKEN_BUCKET, limit=limit))

    verdicts = [fallback.acquire([asked]) for _ in range(40)]

    assert sum(not verdict.refusals for verdict in verdicts) == share
    assert verdicts[-1].refusals[0].claim == asked


def test_a_claim_larger_than_the_share_is_not_larger_than_the_limit(fallback: Fallback) -> None:
    """Waiting helps: the shared counters come back."""
    within, beyond = claim(LOCAL.rule, 7), claim(LOCAL.rule, 9)

    assert [refusal.never for refusal in fallback.acquire([within]).refusals] == [False]
    assert [refusal.never for refusal in fallback.acquire([beyond]).refusals] == [True]


def test_one_denied_claim_takes_nothing_of_the_others(fallback: Fallback) -> None:
    for _ in range(5):
        verdict = fallback.acquire([LOCAL, DENY, ALLOW])
        assert [refusal.claim for refusal in verdict.refusals] == [DENY]
        assert [step[0] is None for step in verdict.steps] == [False, True, False]

    assert not fallback.acquire([LOCAL]).refusals


def test_lenient_rules_refuse_nobody(fallback: Fallback) -> None:
    denied = claim(rule(FIXED_WINDOW, counts="deny", on_store_error="deny", shadow=True))
    local = claim(rule(FIXED_WINDOW, limit=4, shadow=True))
    fallback.acquire([local])

    verdict = fallback.acquire([denied, local])

    assert verdict.refusals == ()
    assert [refusal.claim for refusal in verdict.shadows] == [denied, local]


def test_local_claims_are_settled_here(fallback: Fallback) -> None:
    place = claim(rule(CONCURRENCY, limit=4))
    tokens = claim(rule(TOKEN_BUCKET, limit=400), 90)
    verdict = fallback.acquire([place, tokens])
    assert fallback.acquire([place]).refusals

    assert fallback.settle([(place, 0), (tokens, 10)], verdict) == []

    assert not fallback.acquire([place, tokens]).refusals


def test_others_settle_in_the_shared_counters(fallback: Fallback) -> None:
    """So do all claims of a verdict that was not given here."""
    shared = claim(TOKEN_BUCKET)
    verdict = fallback.acquire([LOCAL])
    assert isinstance(verdict.grant, AloneGrant)

    assert fallback.settle([(LOCAL, 0), (shared, 3)], verdict) == [(shared, 3)]
    assert fallback.settle([(LOCAL, 0)], type(verdict)([], START)) == [(LOCAL, 0)]


@pytest.mark.parametrize("mode", ["allow", "local"])
def test_what_a_balance_spent_is_shared_in_the_end(fallback: Fallback, mode: str) -> None:
    hold = claim(rule(BALANCE, on_store_error=mode), 20)
    verdict = fallback.acquire([hold])

    ((shared, charge),) = fallback.settle([(hold, 15)], verdict)

    assert (shared.key, shared.cost, charge) == (hold.key, 0, 15)
    assert fallback.settle([(hold, 0)], verdict) == []


def test_spent_counters_are_forgotten(fallback: Fallback, clock: SteadyHand) -> None:
    fallback.acquire([LOCAL])
    clock.now += 2 * MINUTE

    fallback.sweep()

    assert fallback._local.counted() == 0
