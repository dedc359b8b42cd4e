"""Token-bucket limit: a burst of L, refilled evenly over the window.

Pure: no clock, no store. State: an instant, and what was missing from the bucket then in
millionths. What is missing, rather than what is there, is kept, so that a changed limit goes on
with the same counter. The instant is first, so that a state written by halves lacks a refill
rather than giving it twice. Requests leave no debt: where more is missing than a lowered limit
has room for, the bucket was empty at that instant. Tokens beyond a claim do.

Promise: at most L + t*L/W in any time t. A clock that goes back by less than a window refills
nothing until it is where it was; one that leaps back further begins with a full bucket.
"""

from __future__ import annotations

from llmgw.core.claim import Claim, Rule, State, Step

PARTS = 1_000_000
"""A refill is rounded down to these parts, which withholds at most one of them a step."""

_REQUESTS = "requests"
_LATE_NS = 10_000_000
"""How late a refill may be."""


def step(state: State, claim: Claim, now: int) -> Step:
    """What the claim does to the counter."""
    rule = claim.rule
    limit = rule.limit
    room = limit * PARTS
    if state and state[1] > room and rule.unit == _REQUESTS:
        state = (state[0], room)
    since, missing = _refilled(state, rule, now)
    after = missing + claim.cost * PARTS
    if after <= room:
        return (since, after), (room - after) // PARTS, since + _refill_time(after, rule)
    remaining = max(0, room - missing) // PARTS
    if limit == 0:
        return None, 0, now + rule.window_ns
    if missing:
        # Not from the refilled state: that was rounded, and would be an instant too late.
        since, missing = state
    return None, remaining, since + _refill_time(missing + claim.cost * PARTS - room, rule)


def settled(state: State, claim: Claim, charge: int, taken_at: int, now: int) -> State:
    """The counter with what the claim took turned into `charge`."""
    since, missing = _refilled(state, claim.rule, now)
    return since, max(0, missing + (charge - claim.cost) * PARTS)


def is_spent(state: State, rule: Rule, now: int) -> bool:
    """Whether the counter says no more than a new one would."""
    return _refilled(state, rule, now)[1] == 0


def certain_ns(rule: Rule, now: int, at: int) -> int:
    """How long claims may be told apart from the refill. Late, they are refilled too little."""
    return _LATE_NS


def _refilled(state: State, rule: Rule, now: int) -> tuple[int, int]:
    if not state or state[1] == 0:
        return now, 0
    since, missing = state
    window = rule.window_ns
    elapsed = now - since
    if elapsed <= -window:
        return now, 0
    refill = elapsed * rule.limit * PARTS // window
    if refill <= 0:
        return since, missing
    return now, max(0, missing - refill)


def _refill_time(parts: int, rule: Rule) -> int:
    """Nanoseconds until so many parts are refilled, rounded up."""
    if rule.limit == 0:
        return rule.window_ns
    return -(-parts * rule.window_ns // (rule.limit * PARTS))
