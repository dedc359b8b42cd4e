"""Fixed-window limit: so much from the first use on, until the window ends.

A window begins with the first use after the last one ended, so that a burst never straddles a
boundary of the clock and callers are not all renewed at the same instant.

Pure: no clock, no store. State: start of the window, what was used in it.

Promise: at most L in each window, and windows never overlap. A clock that goes back by less than
a window stays in the window; one that leaps back further begins a new one.
"""

from __future__ import annotations

from llmgw.core.claim import Claim, Rule, State, Step


def step(state: State, claim: Claim, now: int) -> Step:
    """What the claim does to the counter."""
    rule = claim.rule
    window = rule.window_ns
    start, used = state if state and -window < now - state[0] < window else (now, 0)
    after = used + claim.cost
    if after <= rule.limit:
        return (start, after), rule.limit - after, start + window
    return None, max(0, rule.limit - used), start + window


def settled(state: State, claim: Claim, charge: int, taken_at: int, now: int) -> State:
    """The counter with what the claim took turned into `charge`.

    What was given back too late changes nothing; what was used beyond the claim counts now.
    """
    change = charge - claim.cost
    window = claim.rule.window_ns
    start, used = state if state and -window < now - state[0] < window else (now, 0)
    if change <= 0 and not start <= taken_at < start + window:
        return state
    return start, max(0, used + change)


def is_spent(state: State, rule: Rule, now: int) -> bool:
    """Whether the counter says no more than a new one would."""
    return not state or abs(now - state[0]) >= rule.window_ns


def certain_ns(rule: Rule, now: int, at: int) -> int:
    """How long claims go on counting in the window of a step at `now` that gave `at`."""
    return at - now
