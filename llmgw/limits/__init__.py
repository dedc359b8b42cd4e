"""The algorithms by name: each a pure step over a few integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmgw.core.claim import (
    BALANCE,
    CONCURRENCY,
    FIXED_WINDOW,
    SLIDING_WINDOW,
    TOKEN_BUCKET,
    Claim,
    Rule,
    State,
    Step,
)
from llmgw.limits import balance, concurrency, fixed_window, sliding_window, token_bucket


@dataclass(frozen=True, slots=True)
class Algorithm:
    """step: what a claim does to a counter.

    settled: the counter with what a claim took turned into what was used.
    is_spent: whether a counter can be forgotten.
    certain_ns: for how long after a step, with its instant, further claims count as it did.
    """

    step: Callable[[State, Claim, int], Step]
    settled: Callable[[State, Claim, int, int, int], State]
    is_spent: Callable[[State, Rule, int], bool]
    certain_ns: Callable[[Rule, int, int], int]


ALGORITHMS: Mapping[str, Algorithm] = {
    FIXED_WINDOW: Algorithm(
        fixed_window.step, fixed_window.settled, fixed_window.is_spent, fixed_window.certain_ns
    ),
    SLIDING_WINDOW: Algorithm(
        sliding_window.step, sliding_window.settled, sliding_window.is_spent, sliding_window.certain_ns
    ),
    TOKEN_BUCKET: Algorithm(
        token_bucket.step, token_bucket.settled, token_bucket.is_spent, token_bucket.certain_ns
    ),
    CONCURRENCY: Algorithm(
        concurrency.step, concurrency.settled, concurrency.is_spent, concurrency.certain_ns
    ),
    BALANCE: Algorithm(balance.step, balance.settled, balance.is_spent, balance.certain_ns),
}
