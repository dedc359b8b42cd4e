"""The states of targets, shared by the workers of a host in one file.

A table of slots, found by a digest of the name. Each number is eight bytes in a place that never
moves and is read and written where it is; only making a slot and taking the probe need the lock.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from math import inf
from pathlib import Path

from llmgw.stores.host_memory import allocate
from llmgw.stores.targets import MemoryTarget

_SLOTS = 1024
_SLOT = 256
_DIGEST = 16
_WORDS = _DIGEST // 8
"""Where a slot's numbers begin: open_until, closed_at, cooled_until, and the process that probes."""
_TEXT = 64
_TEXT_MAX = _SLOT - _TEXT - 1


def targets_path(counters: Path) -> Path:
    """Beside the counters of the same gateway."""
    return counters.with_name(f"{counters.name}.targets")


class HostTarget:
    """Implements `ports.targets.TargetState`."""

    __slots__ = ("_at", "_file")

    def __init__(self, file: HostTargets, at: int) -> None:
        """at: of its first number, in words."""
        self._file = file
        self._at = at

    @property
    def open_until(self) -> float:
        return self._file.numbers[self._at]

    @open_until.setter
    def open_until(self, value: float) -> None:
        self._file.numbers[self._at] = value

    @property
    def closed_at(self) -> float:
        return self._file.numbers[self._at + 1]

    @closed_at.setter
    def closed_at(self, value: float) -> None:
        self._file.numbers[self._at + 1] = value

    @property
    def cooled_until(self) -> float:
        return self._file.numbers[self._at + 2]

    @cooled_until.setter
    def cooled_until(self, value: float) -> None:
        self._file.numbers[self._at + 2] = value

    @property
    def probing(self) -> bool:
        """Whether some living process's probe is under way."""
        return lives(self._file.integers[self._at + 3])

    def claim_probe(self) -> bool:
        """Be the one that probes. False when another one is; who dies over it does not count."""
        with self._file.locked():
            if self.probing:
                return False
            self._file.integers[self._at + 3] = os.getpid()
            return True

    def drop_probe(self) -> None:
        """The probe is over, if it was this process's."""
        if self._file.integers[self._at + 3] == os.getpid():
            self._file.integers[self._at + 3] = 0


class HostTargets:
    """Implements `ports.targets.TargetStates`. When its table is full, a state is the process's own."""

    def __init__(self, path: Path) -> None:
        """Open what `create` made. Raises OSError."""
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._map = mmap.mmap(self._fd, _SLOTS * _SLOT)
        self.numbers = memoryview(self._map).cast("d")
        self.integers = memoryview(self._map).cast("q")
        self._known: dict[str, HostTarget | MemoryTarget] = {}

    @classmethod
    def create(cls, path: Path) -> HostTargets:
        """An empty one in the place of whatever was there. Raises OSError."""
        allocate(path, _SLOTS * _SLOT)
        return cls(path)

    def of(self, name: str) -> HostTarget | MemoryTarget:
        """The state under a name, the same for every process."""
        known = self._known.get(name)
        if known is None:
            slot = self._slot(name)
            known = MemoryTarget() if slot is None else HostTarget(self, slot * _SLOT // 8 + _WORDS)
            self._known[name] = known
        return known

    def all(self) -> list[tuple[str, HostTarget]]:
        """Every name that some process asked for."""
        found = []
        for slot in range(_SLOTS):
            at = slot * _SLOT
            if self._map[at : at + _DIGEST] != bytes(_DIGEST):
                size = self._map[at + _TEXT]
                text = self._map[at + _TEXT + 1 : at + _TEXT + 1 + size].decode(errors="replace")
                found.append((text, HostTarget(self, at // 8 + _WORDS)))
        return found

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Held for microseconds, and freed by the kernel when its holder dies."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        self.numbers.release()
        self.integers.release()
        self._map.close()
        os.close(self._fd)

    def _slot(self, name: str) -> int | None:
        """The name's slot, made when there is none; None when the table is full."""
        digest = blake2b(name.encode(), digest_size=_DIGEST).digest()
        first = int.from_bytes(digest[:4], "little") % _SLOTS
        with self.locked():
            for step in range(_SLOTS):
                slot = (first + step) % _SLOTS
                at = slot * _SLOT
                there = self._map[at : at + _DIGEST]
                if there == digest:
                    return slot
                if there == bytes(_DIGEST):
                    text = name.encode()[:_TEXT_MAX]
                    self._map[at + _TEXT : at + _TEXT + 1 + len(text)] = bytes((len(text),)) + text
                    self.numbers[at // 8 + _WORDS + 1] = -inf
                    self._map[at : at + _DIGEST] = digest
                    return slot
        return None


def lives(pid: int) -> bool:
    """Whether there is such a process; 0 is none."""
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
