"""Counters shared by the worker processes of one host: exact for all of them together.

They are in a file that every worker maps (`stores.host_file`), changed under one lock of the
kernel, which frees it when its holder dies. All claims of a request are taken under it at once.

A process can be killed between any two writes. Their order makes that over-count by the one
request under way, never under-count: acquire writes the counters, then the grant; settle adds
what was spent before it ends the hold, and strikes out the grant last. Grants are the truth about
what is held: `abandoned` makes the held amounts agree with them again.

What a dead worker's requests hold goes on counting until `release` says what became of them.

A process that is stopped while it holds the lock would stop all of them, so nobody waits for it:
after some milliseconds claims are decided by `stores.fallback`, and so is a claim that there is
no room for. What such a request used of the shared counters is settled when the lock is free.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from msgspec import Struct

from llmgw.core.claim import BALANCE, Claim, Refusal, Rule, State, Step, Verdict
from llmgw.core.clock import Clock, steady_ns
from llmgw.core.errors import Unavailable
from llmgw.limits import ALGORITHMS
from llmgw.limits.refusals import refusals
from llmgw.ports.counters import Settlement
from llmgw.stores import host_file
from llmgw.stores.fallback import AloneGrant, Fallback
from llmgw.stores.host_file import LOCK, CounterFile, Slot
from llmgw.stores.host_lock import HostLock

_INSISTS_NS = 5_000_000_000
"""How long the supervisor tries for the lock."""
_SWEPT_AT_ONCE = 256
_SWEPT = 4_096
"""Slots looked at in one sweep of one worker, a few milliseconds' worth."""

_STEPS = {name: algorithm.step for name, algorithm in ALGORITHMS.items()}
_RESTORED = Rule(name="restored", counts="", algorithm=BALANCE, unit="", limit=0)


class Held(NamedTuple):
    """What a request holds of one counter."""

    key: str
    cost: int
    algorithm: str


class Abandoned(Struct, frozen=True):
    """A request whose process died under it."""

    request_id: str
    claims: tuple[Held, ...]


class HostCounters:
    """Implements `ports.counters.CounterStore`. One thread of a process uses it.

    clock: the one clock of all workers.
    alone: requests some claim of which was decided without the shared counters.
    uncounted: settlements that there was no room for.
    """

    def __init__(self, file: CounterFile, worker: int | None, steady: Callable[[], int]) -> None:
        self.clock = Clock(steady, file.utc_offset_ns)
        self.alone = 0
        self.uncounted = 0
        self._steady = steady
        self._file = file
        self._map = file.map
        self._file_lock = HostLock(file.fd, file.map, LOCK)
        self._grants = None if worker is None else file.grants[worker]
        self._slots: dict[str, Slot] = {}
        self._free = [] if self._grants is None else self._grants.free()
        self._fallback = Fallback(steady, file.workers)
        self._owed: list[tuple[Sequence[Settlement], Verdict]] = []

    @classmethod
    def create(
        cls,
        path: Path,
        workers: int,
        clock: Clock,
        *,
        slots: int = host_file.SLOTS,
        grants: int = host_file.GRANTS,
    ) -> Self:
        """For the supervisor: put the file there, before there is a worker.

        Rate limits and balances go on from a file of the same boot; nothing is held. `restore`
        then says what balances are. The supervisor itself takes no claim.
        Raises Unavailable.
        """
        try:
            host_file.make(path, workers, clock.utc_offset_ns, clock.steady_ns(), slots, grants)
        except OSError as error:
            raise Unavailable(f"counters cannot be kept in {path}: {error}") from error
        return cls(_opened(path), None, clock.steady_ns)

    @classmethod
    def attach(cls, path: Path, worker: int, steady: Callable[[], int] = steady_ns) -> Self:
        """For worker number `worker`, from 0. What its predecessor held stays. Raises Unavailable."""
        file = _opened(path)
        if not 0 <= worker < file.workers:
            file.close()
            raise Unavailable(f"counters in {path} are for {file.workers} workers, not for number {worker}")
        return cls(file, worker, steady)

    def close(self) -> None:
        """Leave the file to the others."""
        self._file.close()

    @property
    def capacity(self) -> int:
        """How many counters there is room for."""
        return self._file.capacity

    @property
    def degraded(self) -> bool:
        """Whether the lock was not to be had the last time."""
        return self._file_lock.degraded

    def acquire(self, claims: Sequence[Claim], request_id: str) -> Verdict:
        if not self._lock():
            self.alone += 1
            return self._fallback.acquire(claims)
        try:
            now = self._steady()
            view = self._map
            slots = self._slots
            steps = []
            found = []
            passed = whole = True
            for claim in claims:
                slot = slots.get(claim.key)
                if slot is None or view[slot.where] != slot.digest:
                    slot = self._find(claim.key)
                found.append(slot)
                if slot is None:
                    whole = False
                    state: State = ()
                else:
                    state = slot.read(view, slot.at)
                step = _STEPS[claim.rule.algorithm](state, claim, now)
                if step[0] is None or step[1] < 0:
                    passed = False
                steps.append(step)
            enforced: tuple[Refusal, ...] = ()
            silent: tuple[Refusal, ...] = ()
            if not passed:
                enforced, silent = refusals(claims, steps, self._state)
                if enforced:
                    return Verdict(steps, now, enforced, silent)
            if not (whole and self._free):
                return self._acquire_with_room(claims, request_id, found, Verdict(steps, now, (), silent))
            return Verdict(steps, now, (), silent, self._take(claims, request_id, found, steps))
        finally:
            self._file_lock.free()

    def settle(self, settlements: Sequence[Settlement], verdict: Verdict) -> None:
        settlements = self._fallback.settle(settlements, verdict)
        if not settlements:
            return
        if not self._lock():
            self._owed.append((settlements, verdict))
            return
        try:
            self._settle(settlements, verdict)
        finally:
            self._file_lock.free()

    def peek(self, claims: Sequence[Claim]) -> list[Step]:
        # Without the lock, a number may be one that is just being written: this is only for show.
        locked = self._lock()
        try:
            now = self._steady()
            return [_STEPS[claim.rule.algorithm](self._state(claim.key), claim, now) for claim in claims]
        finally:
            if locked:
                self._file_lock.free()

    def restore(self, balances: Mapping[str, tuple[int, int]]) -> None:
        """As the port says. Raises Unavailable when there is no room for them."""
        self._insist()
        try:
            now = self._steady()
            for index in self._file.indexes(BALANCE):
                self._file.forget(index)
            for key, (spent, until) in balances.items():
                slot = self._file.add(key, _RESTORED, now)
                if slot is None:
                    raise Unavailable(f"no room for {len(balances)} balances among {self.capacity} counters")
                self._file.write(slot, 0, (spent, 0, until))
        finally:
            self._file_lock.free()

    def seed(self, balances: Mapping[str, tuple[int, int]]) -> None:
        """As the port says. Raises Unavailable when there is no room for them."""
        self._insist()
        try:
            now = self._steady()
            for key, (spent, until) in balances.items():
                slot = self._file.find(key)
                state = () if slot is None else slot.read(self._map, slot.at)
                if slot is None or not state:
                    slot = slot or self._file.add(key, _RESTORED, now)
                    if slot is None:
                        raise Unavailable(
                            f"no room for {len(balances)} balances among {self.capacity} counters"
                        )
                    self._file.write(slot, 0, (spent, 0, until))
                elif state[0] < spent:
                    self._file.write(slot, 0, (spent, *state[1:]))
        finally:
            self._file_lock.free()

    def balance(self, key: str) -> tuple[int, int]:
        state = self._state(key)
        return (state[0], state[1]) if state else (0, 0)

    def balances(self) -> Iterable[tuple[str, int, int]]:
        file = self._file
        indexes = file.indexes(BALANCE)
        listed = []
        for first in range(0, len(indexes), _SWEPT_AT_ONCE):
            locked = self._lock()
            try:
                for index in indexes[first : first + _SWEPT_AT_ONCE]:
                    if file.algorithm(index) == BALANCE:
                        slot = file.slot(index)
                        spent, held, _ = slot.read(self._map, slot.at)
                        listed.append((file.key(index), spent, held))
            finally:
                if locked:
                    self._file_lock.free()
        return listed

    def counted(self) -> int:
        return self._file.counters

    def sweep(self) -> None:
        self._fallback.sweep()
        for _ in range(_SWEPT // _SWEPT_AT_ONCE):
            if not self._lock():
                return
            try:
                first = self._file.cursor
                self._file.forget_spent(first, _SWEPT_AT_ONCE, self._steady())
                after = first + _SWEPT_AT_ONCE
                self._file.cursor = after if after < self.capacity else 0
            finally:
                self._file_lock.free()

    def abandoned(self, worker: int) -> list[Abandoned]:
        """What requests of a dead worker still hold. While no process has its number.

        Raises Unavailable when the lock is not to be had.
        """
        file = self._file
        self._insist()
        try:
            file.recount()
            found = []
            for entry in file.grants[worker].taken():
                request_id, leases = file.grants[worker].read(entry)
                held = [
                    Held(file.key(index), amount, file.algorithm(index) or "")
                    for index, check, amount in leases
                    if amount and file.is_leased(index, check)
                ]
                found.append(Abandoned(request_id, tuple(held)))
            return found
        finally:
            self._file_lock.free()

    def release(
        self,
        worker: int,
        request_id: str,
        charges: Mapping[str, int],
        keys: Collection[str] | None = None,
    ) -> None:
        """End what an abandoned request holds, and charge balances with what it used.

        charges: by key, as `abandoned` has it; a balance that is not named is charged nothing.
        keys: end only what it holds of these.
        Does nothing the second time. Raises Unavailable when the lock is not to be had.
        """
        file = self._file
        self._insist()
        try:
            now = self._steady()
            grants = file.grants[worker]
            for entry in grants.taken():
                written_by, leases = grants.read(entry)
                if written_by != request_id:
                    continue
                if keys is not None:
                    leases = [lease for lease in leases if file.key(lease[0]) in keys]
                for index, check, amount in leases:
                    if amount and file.is_leased(index, check):
                        slot = file.slot(index)
                        charge = charges.get(file.key(index), 0)
                        state = slot.read(self._map, slot.at)
                        settled = ALGORITHMS[file.algorithm(index) or ""].settled
                        after = settled(state, Claim(_RESTORED, "", amount), charge, now, now)
                        file.write(slot, 0, after)
                grants.end(entry, [index for index, _, _ in leases])
        finally:
            self._file_lock.free()

    def _is_there(self, slot: Slot | None) -> bool:
        return slot is not None and self._map[slot.where] == slot.digest

    def _find(self, key: str) -> Slot | None:
        """The counter of a key, or None when there is none."""
        slots = self._slots
        slot = slots.get(key)
        if self._is_there(slot):
            return slot
        slot = self._file.find(key)
        if slot is not None:
            if len(slots) >= self.capacity:
                slots.clear()
            slots[key] = slot
        return slot

    def _state(self, key: str) -> State:
        slot = self._find(key)
        return () if slot is None else slot.read(self._map, slot.at)

    def _take(
        self, claims: Sequence[Claim], request_id: str, slots: Sequence[Slot | None], steps: Sequence[Step]
    ) -> int:
        """Write what the claims do to their counters, and the grant."""
        write = self._file.write
        leases: list[int] = []
        for claim, slot, step in zip(claims, slots, steps, strict=True):
            after = step[0]
            if after is None or slot is None:
                continue
            write(slot, claim.rule.limit, after)
            if slot.leased and claim.cost:
                leases += (slot.index, slot.check, claim.cost)
        if not leases or self._grants is None:
            return 0
        entry = self._free.pop()
        self._grants.write(entry, request_id, leases)
        return entry + 1

    def _acquire_with_room(
        self, claims: Sequence[Claim], request_id: str, slots: list[Slot | None], verdict: Verdict
    ) -> Verdict:
        """Take claims that pass, when there may not be room for all of them."""
        steps = verdict.steps
        file = self._file
        if not self._free and self._grants is not None:
            # Some may have been released that the process before this one had taken.
            self._free = self._grants.free()
        # Twice: making room for one claim may forget the spent counter of another.
        for position, claim in [*enumerate(claims), *enumerate(claims)]:
            if steps[position][0] is not None and not self._is_there(slots[position]):
                slots[position] = file.add(claim.key, claim.rule, verdict.now)
        apart = [
            position
            for position, (claim, slot) in enumerate(zip(claims, slots, strict=True))
            if steps[position][0] is not None
            and (slot is None or not self._is_there(slot) or (slot.leased and claim.cost and not self._free))
        ]
        if not apart:
            grant = self._take(claims, request_id, slots, steps)
            return Verdict(steps, verdict.now, (), verdict.shadows, grant)
        self.alone += 1
        alone = self._fallback.acquire([claims[position] for position in apart])
        for position, step in zip(apart, alone.steps, strict=True):
            steps[position] = step
            slots[position] = None
        silent = verdict.shadows + alone.shadows
        if alone.refusals:
            return Verdict(steps, verdict.now, alone.refusals, silent)
        grant = self._take(claims, request_id, slots, steps)
        keys = frozenset(claims[position].key for position in apart)
        return Verdict(steps, verdict.now, (), silent, AloneGrant(grant, keys))

    def _settle(self, settlements: Sequence[Settlement], verdict: Verdict) -> None:
        now = self._steady()
        view = self._map
        ended = []
        for claim, charge in settlements:
            rule = claim.rule
            slot = self._find(claim.key)
            state = () if slot is None else slot.read(view, slot.at)
            after = ALGORITHMS[rule.algorithm].settled(state, claim, charge, verdict.now, now)
            if slot is None:
                if not after:
                    continue
                slot = self._file.add(claim.key, rule, now)
                if slot is None:
                    self.uncounted += 1
                    continue
            self._file.write(slot, rule.limit, after)
            if slot.leased and claim.cost:
                ended.append(slot.index)
        if ended and verdict.grant and self._grants is not None:
            entry = verdict.grant - 1
            if self._grants.end(entry, ended):
                self._free.append(entry)

    def _lock(self) -> bool:
        """Whether the lock was to be had."""
        if not self._file_lock.take():
            return False
        if self._owed:
            owed, self._owed = self._owed, []
            try:
                for settlements, verdict in owed:
                    self._settle(settlements, verdict)
            except BaseException:
                self._file_lock.free()
                raise
        return True

    def _insist(self) -> None:
        """Take the lock. Raises Unavailable after seconds."""
        end = time.monotonic_ns() + _INSISTS_NS
        while not self._lock():
            if time.monotonic_ns() > end:
                raise Unavailable(f"the counters are locked by process {self._file_lock.holder}")


def _opened(path: Path) -> CounterFile:
    try:
        return CounterFile(path)
    except (OSError, ValueError) as error:
        raise Unavailable(f"counters in {path} cannot be used: {error}") from error
