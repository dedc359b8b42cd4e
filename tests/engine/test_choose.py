"""Orders of targets."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, cast

import pytest

from llmgw.core.target import Target
from llmgw.engine.breaker import BreakerRules
from llmgw.engine.choose import choose
from llmgw.engine.health import Health
from llmgw.engine.plan import Lane, Plan
from llmgw.ports.transport import Timeouts
from llmgw.stores.targets import MemoryTarget
from tests.fakes.exchanges import exchange

RULES = BreakerRules(min_calls=1, open_for_s=10.0)


def lanes(*weights: int) -> tuple[Lane, ...]:
    nothing = cast("Any", None)
    return tuple(
        Lane(
            Target(f"p{index}", "echo", None, "m"),
            nothing,
            nothing,
            b"",
            b"",
            False,
            Health(RULES, MemoryTarget(), MemoryTarget()),
            weight,
        )
        for index, weight in enumerate(weights)
    )


def plan(strategy: str, *weights: int, **more: Any) -> Plan:
    return Plan("m", (), lanes(*weights), Timeouts(), strategy=strategy, **more)


def first(found: Plan, now: float = 100.0, seed: int = 1) -> str:
    return choose(found, exchange(), now, Random(seed).random)[0].target.provider


def shares(found: Plan, now: float = 100.0, of: int = 2000) -> dict[str, float]:
    random = Random(7).random
    drawn = Counter(choose(found, exchange(), now, random)[0].target.provider for _ in range(of))
    return {name: count / of for name, count in drawn.items()}


def test_priority_keeps_the_order() -> None:
    found = plan("priority", 1, 1, 1)

    assert list(choose(found, exchange(), 0.0, Random(1).random)) == list(found.lanes)


def test_weights_are_chances_and_zero_is_only_a_reserve() -> None:
    found = shares(plan("weighted", 6, 3, 0))

    assert found["p0"] == pytest.approx(2 / 3, abs=0.05)
    assert found["p1"] == pytest.approx(1 / 3, abs=0.05)
    assert "p2" not in found


def test_the_least_busy_by_weight() -> None:
    found = plan("least_inflight", 2, 1)
    found.lanes[0].health.in_flight = 3
    found.lanes[1].health.in_flight = 2

    assert first(found) == "p0"


def test_the_least_busy_of_those_with_a_weight_and_zero_is_only_a_reserve() -> None:
    found = plan("least_inflight", 0, 1)
    found.lanes[1].health.in_flight = 7

    assert first(found) == "p1"


def test_the_quickest_first_and_now_and_then_another() -> None:
    found = plan("latency", 1, 1)
    found.lanes[0].health.measured(0.9, 100.0)
    found.lanes[1].health.measured(0.1, 100.0)

    drawn = shares(found)

    assert drawn["p1"] == pytest.approx(0.975, abs=0.02)
    assert drawn["p0"] > 0


def test_what_was_slow_is_asked_again_after_a_while() -> None:
    """Its average halves every 30 s, the other is measured on."""
    found = plan("latency", 1, 1)
    found.lanes[0].health.measured(0.9, 100.0)
    found.lanes[1].health.measured(0.1, 300.0)

    assert first(found, now=300.0, seed=3) == "p0"


@pytest.mark.parametrize("strategy", ["priority", "cost", "weighted", "least_inflight", "latency"])
def test_what_is_to_be_spared_comes_last(strategy: str) -> None:
    found = plan(strategy, 9, 1)
    found.lanes[0].health.state.cooled_until = 200.0

    assert {first(found, seed=seed) for seed in range(20)} == {"p1"}


def test_a_refused_credential_spares_every_target_of_the_account() -> None:
    found = plan("priority", 1, 1)
    found.lanes[0].health.credential.cooled_until = 200.0

    assert first(found) == "p1"


def test_j11_a_recovered_target_gets_its_share_back_by_and_by() -> None:
    found = plan("priority", 1, 1)
    breaker = found.lanes[0].health.breaker
    assert breaker is not None
    breaker.failed(80.0)
    assert breaker.admits(90.0)
    breaker.succeeded(95.0, probe=True)

    assert shares(found, now=100.0)["p0"] == pytest.approx(0.5, abs=0.05)
    assert shares(found, now=106.0) == {"p0": 1.0}


def test_sticky_requests_stay_and_spread() -> None:
    value = ["x"]
    found = plan("weighted", 1, 1, 1, sticky=lambda ex: value[0])
    drawn: Counter[str] = Counter()
    for index in range(900):
        value[0] = str(index)
        drawn[first(found, seed=index)] += 1
        assert first(found, seed=index + 1) == first(found, seed=index)

    assert min(drawn.values()) > 230


def test_a_target_that_goes_moves_only_its_own() -> None:
    value = ["x"]
    three = plan("weighted", 1, 1, 1, sticky=lambda ex: value[0])
    two = Plan("m", (), three.lanes[:2], Timeouts(), strategy="weighted", sticky=three.sticky)
    for index in range(300):
        value[0] = str(index)
        if (before := first(three)) != "p2":
            assert first(two) == before
