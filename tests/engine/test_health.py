"""What is kept of targets."""

from __future__ import annotations

from llmgw.engine.breaker import BreakerRules
from llmgw.engine.health import Health, Healths
from llmgw.stores.targets import MemoryTarget, MemoryTargets

RULES = BreakerRules()


def test_an_edit_that_does_not_concern_a_target_keeps_what_is_known() -> None:
    healths = Healths(MemoryTargets())
    known = healths.of(None, "openai", "gpt-4o", RULES)

    assert healths.of(None, "openai", "gpt-4o", BreakerRules()) is known
    assert healths.of(None, "openai", "gpt-4o", BreakerRules(min_calls=3)) is not known
    assert healths.of("acme", "openai", "gpt-4o", RULES) is not known


def test_targets_of_one_account_share_its_credential() -> None:
    healths = Healths(MemoryTargets())
    mini = healths.of(None, "openai", "mini", RULES)

    assert healths.of(None, "openai", "gpt-4o", RULES).credential is mini.credential
    assert healths.of("acme", "openai", "gpt-4o", RULES).credential is not mini.credential


def test_the_longest_reason_to_be_spared_counts() -> None:
    health = Health(RULES, MemoryTarget(), MemoryTarget())
    health.state.cooled_until = 10.0
    health.credential.cooled_until = 20.0

    assert health.spared_for_s(5.0) == 15.0
    assert health.spared_for_s(25.0) == 0.0


def test_latency_is_a_moving_average() -> None:
    health = Health(None, MemoryTarget(), MemoryTarget())
    assert health.latency_s(0.0) == 0.0
    health.measured(1.0, 0.0)
    health.measured(2.0, 0.0)

    assert health.latency_s(0.0) == 1.2
    assert health.latency_s(30.0) == 0.6


def test_a_provider_with_another_key_is_not_held_to_what_the_old_one_did() -> None:
    healths = Healths(MemoryTargets())
    known = healths.of(None, "openai", "mini", RULES)
    other = healths.of("acme", "openai", "mini", RULES)
    for health in (known, other):
        health.credential.cooled_until = health.state.open_until = 50.0

    healths.renewed(None, "openai")

    assert known.is_clear(1.0)
    assert not other.is_clear(1.0)
