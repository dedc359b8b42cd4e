"""What is left of a quota in one period of the calendar.

What requests under way may still cost is held apart from what was spent: a hold ends, spending
does not. A provider that used more than was held leaves a debt, which the next claim meets.

Pure: no clock, no store. State: spent, held, and the instant the period ends. The period is part
of the counter's key, so a request that outlives its period settles in the one it was admitted in.

Promise: what is spent and held never exceeds L by a claim that was let through. A rule that only
warns, or is in shadow mode, takes beyond L: the balance stays the sum of what was used.
"""

from __future__ import annotations

from llmgw.core.claim import Claim, Rule, State, Step


def step(state: State, claim: Claim, now: int) -> Step:
    """What the claim does to the counter."""
    limit = claim.rule.limit
    spent, held, _ = state or (0, 0, 0)
    after = spent + held + claim.cost
    if after <= limit or claim.rule.warn or claim.rule.shadow:
        return (spent, held + claim.cost, claim.until), limit - after, claim.until
    return None, max(0, limit - spent - held), claim.until


def is_held(state: State, claim: Claim) -> bool:
    """Whether a claim that did not pass would, once what is held is given back."""
    spent = state[0] if state else 0
    return spent + claim.cost <= claim.rule.limit


def settled(state: State, claim: Claim, charge: int, taken_at: int, now: int) -> State:
    """The counter with the claim's hold turned into `charge`."""
    spent, held, until = state or (0, 0, claim.until)
    return spent + charge, max(0, held - claim.cost), until


def is_spent(state: State, rule: Rule, now: int) -> bool:
    """Whether the counter's period is over and nothing is under way in it."""
    return not state or (state[1] == 0 and now >= state[2])


def certain_ns(rule: Rule, now: int, at: int) -> int:
    """How long claims count as they did at `now`: until the period ends at `at`."""
    return max(0, at - now)
