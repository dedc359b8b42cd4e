"""Counters in this process's memory: exact for one worker, gone with it.

Everything happens in one call between two turns of the event loop, so nothing is locked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from llmgw.core.claim import BALANCE, CONCURRENCY, Claim, Refusal, Rule, State, Step, Verdict
from llmgw.limits import ALGORITHMS
from llmgw.limits.refusals import refusals
from llmgw.ports.counters import Settlement

_SWEPT_AT_ONCE = 2_000
"""Counters looked at in one sweep, about a millisecond's worth."""
_RESOLVED = 16_384
_TAKEN: State = (1,)
"""Stands for the state of a counter that a claim was taken from without a step."""
_RESTORED = Rule(name="restored", counts="", algorithm=BALANCE, unit="", limit=0)


class _Cell:
    """A counter, and the rule that was last applied to it.

    Most claims cost one and come to a counter with room for many. A step says how many more of
    them fit; until `until`, when its answer begins to mean something else, that many are let on
    by counting `free` down and `pending` up. What is pending is taken in the state before
    anybody looks at it, at the moment it was last certain of.

    mixed: callers with different limits share the counter, so how many more fit depends on who asks.
    """

    __slots__ = ("algorithm", "at", "free", "mixed", "now", "pending", "rule", "state", "until")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.algorithm = ALGORITHMS[rule.algorithm]
        self.state: State = ()
        self.mixed = False
        self.free = self.pending = self.at = self.now = 0
        self.until = 0

    def apply(self, rule: Rule) -> None:
        """Have this rule hold for the next claim."""
        if rule is not self.rule:
            self.flush()
            self.mixed = self.mixed or (rule.limit != self.rule.limit and self.rule is not _RESTORED)
            self.rule = rule
            self.free = 0

    def flush(self) -> State:
        """The state with what is pending in it."""
        if self.pending:
            claim = Claim(self.rule, "", self.pending, self.at)
            after, _, _ = self.algorithm.step(self.state, claim, self.now)
            if after is not None:
                self.state = after
            self.pending = 0
        return self.state

    def settle(self, claim: Claim, charge: int, taken_at: int, now: int) -> None:
        """Turn what a claim took into what was used."""
        leased = claim.rule.algorithm
        if leased == CONCURRENCY:
            charge = 0
        elif leased != BALANCE:
            self.state = self.algorithm.settled(self.flush(), claim, charge, taken_at, now)
            self.free = 0
            return
        if self.free > 0:
            # What it took is given back, and what was used is taken, so `free` stays certain. With
            # none free it does not: after a lower limit, what is given back may leave no room.
            self.free += claim.cost - charge
        if claim.cost <= self.pending and self.state:
            self.pending -= claim.cost
            if charge:
                spent, held, until = self.state
                self.state = (spent + charge, held, until)
        else:
            self.state = self.algorithm.settled(self.flush(), claim, charge, taken_at, now)

    def took(self, step: Step, now: int) -> None:
        """Go on from a claim that passed."""
        after, remaining, at = step
        if after is not None:
            self.state = after
            self.free, self.at, self.now = 0 if self.mixed else remaining, at, now
            self.until = now + self.algorithm.certain_ns(self.rule, now, at)


class MemoryCounters:
    """Implements `ports.counters.CounterStore`. clock: steady nanoseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._cells: dict[str, _Cell] = {}
        # Claims that are asked for again and again are the same tuple, so its cells are looked up
        # once. The tuple is kept, so that its id names no other meanwhile.
        self._resolved: dict[int, tuple[Sequence[Claim], list[_Cell]]] = {}
        self._unswept: list[str] = []

    def acquire(self, claims: Sequence[Claim], request_id: str) -> Verdict:
        now = self._clock()
        known = self._resolved.get(id(claims))
        if known is None:
            return self._decide(claims, self._resolve(claims), now)
        cells = known[1]
        for cell in cells:
            if cell.free <= 0 or now >= cell.until:
                return self._decide(claims, cells, now)
        steps: list[Step] = []
        for cell in cells:
            cell.free = free = cell.free - 1
            cell.pending += 1
            steps.append((_TAKEN, free, cell.at))
        return Verdict(steps, now)

    def settle(self, settlements: Sequence[Settlement], verdict: Verdict) -> None:
        now = self._clock()
        for claim, charge in settlements:
            self._cell(claim).settle(claim, charge, verdict.now, now)

    def peek(self, claims: Sequence[Claim]) -> list[Step]:
        now = self._clock()
        return [ALGORITHMS[claim.rule.algorithm].step(self._state(claim.key), claim, now) for claim in claims]

    def restore(self, balances: Mapping[str, tuple[int, int]]) -> None:
        self._resolved.clear()
        for key in [key for key, cell in self._cells.items() if cell.rule.algorithm == BALANCE]:
            del self._cells[key]
        for key, (spent, until) in balances.items():
            cell = self._cells[key] = _Cell(_RESTORED)
            cell.state = (spent, 0, until)

    def seed(self, balances: Mapping[str, tuple[int, int]]) -> None:
        """As the port says."""
        self._resolved.clear()
        for key, (spent, until) in balances.items():
            cell = self._cells.get(key)
            state = cell.flush() if cell is not None else ()
            if cell is None or not state:
                cell = self._cells[key] = _Cell(_RESTORED)
                cell.state = (spent, 0, until)
            elif state[0] < spent:
                cell.state = (spent, *state[1:])
                cell.free = 0

    def balance(self, key: str) -> tuple[int, int]:
        state = self._state(key)
        return (state[0], state[1]) if state else (0, 0)

    def balances(self) -> Iterable[tuple[str, int, int]]:
        return [
            (key, state[0], state[1])
            for key, cell in self._cells.items()
            if cell.rule.algorithm == BALANCE and (state := cell.flush())
        ]

    def states(self) -> list[tuple[str, Rule, State]]:
        """Every counter, as it was left."""
        return [(key, cell.rule, state) for key, cell in self._cells.items() if (state := cell.flush())]

    def counted(self) -> int:
        return sum(1 for cell in self._cells.values() if cell.state or cell.pending)

    def sweep(self) -> None:
        if not self._unswept:
            self._unswept = list(self._cells)
        now = self._clock()
        batch = self._unswept[-_SWEPT_AT_ONCE:]
        del self._unswept[-_SWEPT_AT_ONCE:]
        for key in batch:
            cell = self._cells.get(key)
            if cell is not None and cell.algorithm.is_spent(cell.flush(), cell.rule, now):
                del self._cells[key]
                self._resolved.clear()

    def _decide(self, claims: Sequence[Claim], cells: list[_Cell], now: int) -> Verdict:
        """What the algorithms say of each claim, and all or none of it done."""
        steps = [
            cell.algorithm.step(cell.flush(), claim, now) for cell, claim in zip(cells, claims, strict=True)
        ]
        enforced: tuple[Refusal, ...] = ()
        silent: tuple[Refusal, ...] = ()
        if any(after is None or remaining < 0 for after, remaining, _ in steps):
            enforced, silent = refusals(claims, steps, self._state)
        if not enforced:
            for cell, claim, step in zip(cells, claims, steps, strict=True):
                cell.apply(claim.rule)
                cell.took(step, now)
        return Verdict(steps, now, enforced, silent)

    def _resolve(self, claims: Sequence[Claim]) -> list[_Cell]:
        cells = [self._cell(claim) for claim in claims]
        if type(claims) is tuple and all(claim.cost == 1 for claim in claims):
            if len(self._resolved) >= _RESOLVED:
                self._resolved.clear()
            self._resolved[id(claims)] = (claims, cells)
            for cell, claim in zip(cells, claims, strict=True):
                cell.apply(claim.rule)
        return cells

    def _cell(self, claim: Claim) -> _Cell:
        cell = self._cells.get(claim.key)
        if cell is None:
            cell = self._cells[claim.key] = _Cell(claim.rule)
        return cell

    def _state(self, key: str) -> State:
        cell = self._cells.get(key)
        return cell.flush() if cell is not None else ()
