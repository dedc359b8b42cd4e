"""What each rule does while Redis cannot be used, on a clock that is moved by hand."""

from __future__ import annotations

import pytest

from llmgw.core.claim import BALANCE, FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, Claim, Step, Verdict
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.redis_alone import ASK_AGAIN_NS, Alone, AloneGrant
from llmgw.stores.redis_claims import TAKEN
from tests.contracts.counters import MINUTE, rule
from tests.fakes.clock import FakeClock

LIMIT = 100


class NoShares:
    """A host that has no standing share of any quota."""

    def claim(self, claim: Claim) -> None:
        return None


class Host:
    """Workers of one of two hosts. known: what each last heard from Redis, by key."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.local = MemoryCounters(lambda: self.clock.steady)
        self.workers = [
            Alone(self.local, lambda: self.clock.steady, NoShares())  # type: ignore[arg-type]
            for _ in range(2)
        ]
        self.known: dict[str, tuple[Claim, Step]] = {}
        for worker in self.workers:
            worker.hosts = 2

    def heard(self, claim: Claim, left: int, seconds: float = 60) -> None:
        """Redis said so: what remained, and until when."""
        self.known[claim.key] = (claim, (TAKEN, left, self.clock.steady + int(seconds * 1e9)))

    def take(self, *claims: Claim, worker: int = 0) -> Verdict:
        return self.workers[worker].acquire(claims, self.known.get, "r")

    def admitted(self, claim: Claim, times: int, worker: int = 0) -> int:
        return sum(not self.take(claim, worker=worker).refusals for _ in range(times))


@pytest.fixture
def host() -> Host:
    return Host()


def limited(algorithm: str = FIXED_WINDOW, whose: str = "acme", cost: int = 1, **changes: object) -> Claim:
    made = rule(algorithm, limit=LIMIT, window_ns=MINUTE, **changes)
    return Claim(made, f"{made.counts}|{whose}", cost)


def budget(host: Host, cost: int = 10, on_store_error: str = "deny", **changes: object) -> Claim:
    made = rule(BALANCE, limit=LIMIT, on_store_error=on_store_error, **changes)
    return Claim(made, "quota|acme", cost, host.clock.steady + 3600 * 10**9)


def grant(verdict: Verdict) -> AloneGrant:
    assert isinstance(verdict.grant, AloneGrant)
    return verdict.grant


@pytest.mark.parametrize("algorithm", [FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET])
def test_f10_this_hosts_share_of_what_was_known_to_remain(host: Host, algorithm: str) -> None:
    claim = limited(algorithm)
    host.heard(claim, 60)

    assert host.admitted(claim, 100) == 30


def test_f10_a_new_window_has_this_hosts_share_of_the_limit(host: Host) -> None:
    claim = limited()
    host.heard(claim, 0)
    assert host.admitted(claim, 10) == 0

    host.clock.sleep(61)

    assert host.admitted(claim, 100) == 50


def test_f10_of_what_several_workers_knew_the_least_holds(host: Host) -> None:
    """One of them was told later, when less remained."""
    claim = limited()
    host.heard(claim, 60)
    assert host.admitted(claim, 5, worker=0) == 5
    host.heard(claim, 40)

    # 20 are this host's, and 5 are gone.
    assert host.admitted(claim, 100, worker=1) == 15
    assert host.admitted(claim, 100, worker=0) == 0


def test_f10_what_was_known_is_said_once(host: Host) -> None:
    claim = limited()
    host.heard(claim, 60)
    assert host.admitted(claim, 10) == 10

    host.workers[0].begin()

    assert host.admitted(claim, 100) == 20


def test_what_was_known_of_a_window_that_ended_says_nothing(host: Host) -> None:
    claim = limited()
    host.heard(claim, 0, seconds=0)

    assert host.admitted(claim, 100) == 50


def test_a_share_is_never_nothing(host: Host) -> None:
    """Of a limit smaller than the number of hosts, one each: or nobody would be served at all."""
    one = Claim(rule(FIXED_WINDOW, limit=1), "fixed_window|acme", 1)
    none = Claim(rule(FIXED_WINDOW, limit=0), "fixed_window|blocked", 1)

    assert host.admitted(one, 3) == 1
    assert host.admitted(none, 3) == 0


def test_a_refusal_is_of_the_whole_limit(host: Host) -> None:
    """What does not fit into the share may fit when Redis is back, unless the limit is smaller."""
    large, larger = limited(cost=60), limited(cost=LIMIT + 1)

    (refused,) = host.take(large).refusals
    assert (refused.claim, refused.never) == (large, False)
    (refused,) = host.take(larger).refusals
    assert (refused.claim, refused.never) == (larger, True)


@pytest.mark.parametrize(("on_store_error", "passes"), [("allow", True), ("local", True), ("deny", False)])
def test_f10_a_budget_does_what_its_rule_says(host: Host, on_store_error: str, passes: bool) -> None:
    verdict = host.take(budget(host, on_store_error=on_store_error))

    assert (not verdict.refusals) == passes
    assert verdict.degraded == b"quota"
    for refusal in verdict.refusals:
        # A moment: nobody knows that it is spent.
        assert (refusal.held, refusal.at) == (True, host.clock.steady + ASK_AGAIN_NS)


def test_a_budget_that_is_denied_takes_no_share_of_the_limits(host: Host) -> None:
    claim = limited()
    for _ in range(60):
        assert host.take(claim, budget(host)).refusals

    assert host.admitted(claim, 100) == 50
    assert host.take(claim, budget(host)).degraded == b"ratelimit, quota"


def test_a_denied_budget_that_refuses_nobody_is_only_told_of(host: Host) -> None:
    verdict = host.take(budget(host, warn=True))

    assert verdict.refusals == ()
    assert len(verdict.shadows) == 1


def test_redis_is_to_hear_what_was_let_on(host: Host) -> None:
    claim, allowed = limited(), limited(whose="other", on_store_error="allow")
    worker = host.workers[0]
    for _ in range(3):
        host.take(claim, allowed)

    # What is let pass uncounted stays uncounted.
    assert [(owed.key, owed.cost, amount) for owed, amount in worker.take_owed()] == [(claim.key, 0, 3)]
    assert worker.take_owed() == []


def test_redis_has_counted_it_after_all(host: Host) -> None:
    """Its answer came, only too late."""
    claim, worker = limited(), host.workers[0]
    host.take(claim)

    assert worker.heard([claim]) == {claim.key}
    assert worker.take_owed() == []


def test_a_charge_is_kept_for_redis(host: Host) -> None:
    """Tokens of a limit are owed as they turned out; a budget is charged whatever was decided."""
    worker = host.workers[0]
    tokens, allowed = limited(cost=20), budget(host, 10, "allow")
    verdict = host.take(tokens, allowed)

    charged = worker.settle([(tokens, 5), (allowed, 7)], grant(verdict))

    assert [(claim.key, claim.cost, charge) for claim, charge in charged] == [("quota|acme", 0, 7)]
    assert [(claim.key, amount) for claim, amount in worker.take_owed()] == [(tokens.key, 5)]
    assert host.admitted(limited(), 100) == 45
