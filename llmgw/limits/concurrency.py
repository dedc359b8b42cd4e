"""Concurrency limit: so many at the same time.

Pure: no clock, no store. State: how many there are.
"""

from __future__ import annotations

from llmgw.core.claim import Claim, Rule, State, Step


def step(state: State, claim: Claim, now: int) -> Step:
    """What the claim does to the counter."""
    limit = claim.rule.limit
    there = state[0] if state else 0
    after = there + claim.cost
    if after <= limit:
        return (after,), limit - after, 0
    return None, max(0, limit - there), 0


def settled(state: State, claim: Claim, charge: int, taken_at: int, now: int) -> State:
    """The counter without the claim. A place that was taken is given back whatever came of it."""
    return (max(0, state[0] - claim.cost),) if state else ()


def is_spent(state: State, rule: Rule, now: int) -> bool:
    """Whether the counter says no more than a new one would."""
    return not state or state[0] == 0


def certain_ns(rule: Rule, now: int, at: int) -> int:
    """How long claims count as they did at `now`: always."""
    return 1 << 62
