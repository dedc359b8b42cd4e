"""Counters in this process's memory: exact for one worker, gone with it.

Everything happens in one call between two turns of the event loop, so nothing is locked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from llmgw.core.claim import BALANCE, Claim, Refusal, Rule, State, Step, Verdict
from llmgw.limits import ALGORITHMS
from llmgw.limits.refusals import refusals
from llmgw.ports.counters import Settlement

_SWEPT_AT_ONCE = 2_000
"""Counters looked at in one sweep, about a millisecond's worth."""
_STEPS = {name: algorithm.step for name, algorithm in ALGORITHMS.items()}
_RESTORED = Rule(name="restored", counts="", algorithm=BALANCE, unit="", limit=0)


class MemoryCounters:
    """Implements `ports.counters.CounterStore`. clock: steady nanoseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._states: dict[str, State] = {}
        self._rules: dict[str, Rule] = {}
        self._unswept: list[str] = []

    def acquire(self, claims: Sequence[Claim], request_id: str) -> Verdict:
        now = self._clock()
        states = self._states
        steps = []
        passed = True
        for claim in claims:
            step = _STEPS[claim.rule.algorithm](states.get(claim.key, ()), claim, now)
            if step[0] is None or step[1] < 0:
                passed = False
            steps.append(step)
        enforced: tuple[Refusal, ...] = ()
        silent: tuple[Refusal, ...] = ()
        if not passed:
            enforced, silent = refusals(claims, steps, self._state)
        if not enforced:
            for claim, step in zip(claims, steps, strict=True):
                if step[0] is not None:
                    states[claim.key] = step[0]
                    self._rules[claim.key] = claim.rule
        return Verdict(steps, now, enforced, silent)

    def settle(self, settlements: Sequence[Settlement], verdict: Verdict) -> None:
        now = self._clock()
        for claim, charge in settlements:
            settled = ALGORITHMS[claim.rule.algorithm].settled
            after = settled(self._state(claim.key), claim, charge, verdict.now, now)
            if after:
                self._states[claim.key] = after
                self._rules[claim.key] = claim.rule

    def peek(self, claims: Sequence[Claim]) -> list[Step]:
        now = self._clock()
        return [_STEPS[claim.rule.algorithm](self._state(claim.key), claim, now) for claim in claims]

    def restore(self, balances: Mapping[str, tuple[int, int]]) -> None:
        for key, (spent, until) in balances.items():
            self._rules[key] = _RESTORED
            self._states[key] = (spent, 0, until)

    def balance(self, key: str) -> tuple[int, int]:
        state = self._state(key)
        return (state[0], state[1]) if state else (0, 0)

    def balances(self) -> Iterable[tuple[str, int, int]]:
        return [
            (key, state[0], state[1])
            for key, state in self._states.items()
            if state and self._rules[key].algorithm == BALANCE
        ]

    def states(self) -> list[tuple[str, Rule, State]]:
        """Every counter, as it was left."""
        return [(key, self._rules[key], state) for key, state in self._states.items()]

    def counted(self) -> int:
        return len(self._states)

    def sweep(self) -> None:
        if not self._unswept:
            self._unswept = list(self._rules)
        now = self._clock()
        batch = self._unswept[-_SWEPT_AT_ONCE:]
        del self._unswept[-_SWEPT_AT_ONCE:]
        for key in batch:
            rule = self._rules.get(key)
            if rule is not None and ALGORITHMS[rule.algorithm].is_spent(self._state(key), rule, now):
                self._states.pop(key, None)
                del self._rules[key]

    def _state(self, key: str) -> State:
        return self._states.get(key, ())
