"""Sliding-window limit over a ring of segments.

A fixed window lets a caller spend two windows' worth across its boundary. Counting in S segments
bounds that to one segment, for S small integers per caller.

Pure: no clock, no store. State: number of the newest segment, the sum of all, then the counts of
the segments from the newest back.

Promise: at most L in any interval of W*(S-1)/S. A clock that goes back by less than a window
counts in the newest segment there is; one that leaps back further begins anew.
"""

from __future__ import annotations

from llmgw.core.claim import Claim, Rule, State, Step


def step(state: State, claim: Claim, now: int) -> Step:
    """What the claim does to the counter."""
    rule = claim.rule
    segments = rule.segments
    length = rule.window_ns // segments
    newest = now // length
    if not state or state[0] != newest:
        state = _turned(state, newest, segments)
        newest = state[0]
    after = state[1] + claim.cost
    if after <= rule.limit:
        taken = (newest, after, state[2] + claim.cost, *state[3:])
        return taken, rule.limit - after, (newest + segments) * length
    excess = after - rule.limit
    freed = 0
    for age in range(segments - 1, 0, -1):
        freed += state[2 + age]
        if freed >= excess:
            break
    else:
        age = 0
    return None, max(0, rule.limit - state[1]), (newest - age + segments) * length


def settled(state: State, claim: Claim, charge: int, taken_at: int, now: int) -> State:
    """The counter with what the claim took turned into `charge`.

    What is given back goes to the segment it was taken in, if that still counts; what was used
    beyond the claim counts now.
    """
    change = charge - claim.cost
    segments = claim.rule.segments
    length = claim.rule.window_ns // segments
    state = _turned(state, now // length, segments)
    age = 0 if change > 0 else state[0] - taken_at // length
    if not 0 <= age < segments:
        return state
    counts = list(state)
    change = max(change, -counts[2 + age])
    counts[2 + age] += change
    counts[1] += change
    return tuple(counts)


def is_spent(state: State, rule: Rule, now: int) -> bool:
    """Whether the counter says no more than a new one would."""
    return not state or abs(now // (rule.window_ns // rule.segments) - state[0]) >= rule.segments


def certain_ns(rule: Rule, now: int, at: int) -> int:
    """How long claims go on counting in the segment of a step at `now`."""
    length = rule.window_ns // rule.segments
    return length - now % length


def _turned(state: State, newest: int, segments: int) -> State:
    """The ring with `newest` in front."""
    turns = newest - state[0] if state else segments
    if abs(turns) >= segments:
        return (newest, 0, *(0,) * segments)
    if turns <= 0:
        return state
    kept = state[2 : 2 + segments - turns]
    return (newest, sum(kept), *(0,) * turns, *kept)
