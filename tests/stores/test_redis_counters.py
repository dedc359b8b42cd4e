from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmgw.core.claim import (
    BALANCE,
    CONCURRENCY,
    FIXED_WINDOW,
    SLIDING_WINDOW,
    TOKEN_BUCKET,
    Claim,
    Rule,
    Verdict,
)
from llmgw.stores.counters import MemoryCounters
from tests.contracts.counters import END, REQUEST, SECOND, CountersContract, SteadyHand, claim, remaining
from tests.fakes.redis import RedisServer, redis_server
from tests.fakes.shared_counters import SharedStore


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


_NAMES = itertools.count()
_KINDS = (CONCURRENCY, FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, BALANCE)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Claim, ...]:
    """The claims of a request, a place among those under way first or last, or none."""
    kinds = draw(st.lists(st.sampled_from(_KINDS), min_size=1, max_size=4, unique=True))
    return tuple(
        Claim(
            Rule(
                name=kind,
                counts=kind,
                algorithm=kind,
                unit="requests",
                limit=draw(st.integers(0, 6)),
                window_ns=0 if kind in (CONCURRENCY, BALANCE) else 6 * SECOND,
                segments=3 if kind == SLIDING_WINDOW else 0,
                shadow=draw(st.integers(0, 5)) == 0,
            ),
            kind,
            1 if kind == CONCURRENCY else draw(st.integers(0, 3)),
            END if kind == BALANCE else 0,
        )
        for kind in kinds
    )


ACTIONS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 700), st.integers(0, 100)), min_size=4, max_size=40
)
"""Whether something ends instead of being asked for, thousandths of a window before, and which.

Buckets refill by whole parts in those, so that microseconds and nanoseconds agree.
"""


@pytest.fixture(scope="module")
def hand() -> SteadyHand:
    return SteadyHand()


@pytest.fixture(scope="module")
def store(server: RedisServer, hand: SteadyHand) -> Iterator[SharedStore]:
    store = SharedStore(server, hand)
    yield store
    store.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(requests(), min_size=1, max_size=3), ACTIONS)
def test_places_and_limits_are_taken_together_as_in_memory(
    store: SharedStore,
    hand: SteadyHand,
    shapes: list[tuple[Claim, ...]],
    actions: list[tuple[bool, int, int]],
) -> None:
    """A place is the host's and the rest is Redis's: all or nothing all the same."""
    name = next(_NAMES)
    twin = MemoryCounters(hand)
    shapes = [
        tuple(Claim(one.rule, f"{name}|{one.key}", one.cost, one.until) for one in shape) for shape in shapes
    ]
    under_way: list[tuple[tuple[Claim, ...], Verdict, Verdict]] = []
    for ends, pause, which in actions:
        hand.now += pause * 6 * SECOND // 1_000
        if ends and under_way:
            claims, ours, theirs = under_way.pop(which % len(under_way))
            taken = [
                (claim, which % (claim.cost + 2))
                for claim, step in zip(claims, theirs.steps, strict=True)
                if step[0] is not None
            ]
            store.settle(taken, ours)
            twin.settle(taken, theirs)
            continue
        claims = shapes[which % len(shapes)]
        ours, theirs = store.acquire(claims, f"{name}-{which}-{hand.now}"), twin.acquire(list(claims), "")
        assert _seen(ours) == _seen(theirs)
        if not theirs.refusals:
            under_way.append((claims, ours, theirs))
    for claims, ours, theirs in under_way:
        taken = [(claim, 0) for claim, step in zip(claims, theirs.steps, strict=True) if step[0] is not None]
        store.settle(taken, ours)
    places = [claim for shape in shapes for claim in shape if claim.rule.algorithm == CONCURRENCY]
    assert [remaining(store, place) for place in places] == [place.rule.limit for place in places]


def _seen(verdict: Verdict) -> tuple[list[tuple[bool, int, int]], list[str], list[str]]:
    return (
        [(after is None, remaining, at) for after, remaining, at in verdict.steps],
        [refusal.claim.key for refusal in verdict.refusals],
        [refusal.claim.key for refusal in verdict.shadows],
    )


class TestRedisCounters(CountersContract):
    @pytest.fixture
    def counters(self, server: RedisServer, clock: SteadyHand) -> Iterator[SharedStore]:
        store = SharedStore(server, clock)
        yield store
        store.close()

    def test_what_is_under_way_is_not_forgotten(self, counters: SharedStore, clock: SteadyHand) -> None:
        """A request may outlive its period by an hour."""
        hold = claim(BALANCE, 50)
        verdict = counters.acquire([hold], REQUEST)
        clock.now = END + 3_500 * SECOND
        counters.sweep()
        assert counters.counted() == 1

        counters.settle([(hold, 20)], verdict)
        assert counters.balance(hold.key) == (20, 0)
        clock.now = END + 3_700 * SECOND
        counters.sweep()

        assert counters.counted() == 0
