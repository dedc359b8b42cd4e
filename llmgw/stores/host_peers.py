"""Connections by client, over the workers of a host.

Each worker has a table in one file that it alone writes and all read, so nothing is locked and a
worker that dies takes its counts with it: a table says whose it is, and begins empty when another
worker takes it over. A client is found by a digest, in one of `_WINDOW` slots from where the
digest points; the first one with it is the one that counts.

A worker counts first and then looks at the sum, so that of two connections at the same moment at
most one is taken at the limit; it may be neither.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from llmgw.stores.host_memory import allocate
from llmgw.stores.host_targets import lives
from llmgw.stores.peers import MemoryPeers

_SLOTS = 4096
_WINDOW = 32
_DIGEST = 8
_DIGESTS = 8
"""Behind the number of the process whose table it is."""
_COUNTS = _DIGESTS + (_SLOTS + _WINDOW) * _DIGEST
_TABLE = _COUNTS + (_SLOTS + _WINDOW) * 8


def peers_path(counters: Path) -> Path:
    """Beside the counters of the same gateway."""
    return counters.with_name(f"{counters.name}.peers")


class HostPeers:
    """Implements `ports.peers.Peers`. Clients that the table has no room for are counted alone."""

    def __init__(self, path: Path, worker: int) -> None:
        """As worker number `worker`, from 0, of a file that `create` made. Raises OSError."""
        with path.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            self._map = mmap.mmap(file.fileno(), size)
        self._others = [at for at in range(0, size, _TABLE) if at != worker * _TABLE]
        self._mine = worker * _TABLE
        self._counts = memoryview(self._map).cast("q")
        self._slots: dict[str, int] = {}
        self._alone = MemoryPeers()
        self._map[self._mine : self._mine + _TABLE] = bytes(_TABLE)
        self._counts[self._mine // 8] = os.getpid()

    @staticmethod
    def create(path: Path, workers: int) -> None:
        """An empty one in the place of whatever was there. Raises OSError."""
        allocate(path, workers * _TABLE)

    def come(self, name: str, most: int) -> bool:
        """Count one more, unless `name` has `most` already."""
        digest = blake2b(name.encode(), digest_size=_DIGEST).digest()
        first = int.from_bytes(digest, "little") % _SLOTS
        slot = self._slots.get(name)
        if slot is None:
            slot = self._room(first)
            if slot is None:
                return self._alone.come(name, most)
            at = self._mine + _DIGESTS + slot * _DIGEST
            self._map[at : at + _DIGEST] = digest
            self._slots[name] = slot
        self._add(slot, 1)
        if self._count(self._mine, slot) + self._elsewhere(digest, first) <= most:
            return True
        self.go(name)
        return False

    def go(self, name: str) -> None:
        """One that was counted has ended."""
        slot = self._slots.get(name)
        if slot is None:
            self._alone.go(name)
            return
        self._add(slot, -1)
        if not self._count(self._mine, slot):
            del self._slots[name]

    def close(self) -> None:
        """Leave the file to the others."""
        self._counts.release()
        self._map.close()

    def _elsewhere(self, digest: bytes, first: int) -> int:
        """How many connections the other workers have from the same client."""
        return sum(self._of(table, digest, first) for table in self._others)

    def _of(self, table: int, digest: bytes, first: int) -> int:
        """How many some worker has."""
        begin = table + _DIGESTS + first * _DIGEST
        end = begin + _WINDOW * _DIGEST
        at = self._map.find(digest, begin, end)
        while at >= 0 and (at - begin) % _DIGEST:
            at = self._map.find(digest, at + 1, end)
        count = 0 if at < 0 else self._count(table, first + (at - begin) // _DIGEST)
        return count if count and lives(self._counts[table // 8]) else 0

    def _room(self, first: int) -> int | None:
        """A slot for a new client: one that counts nothing."""
        counts = self._window(first)
        return next((first + step for step, count in enumerate(counts) if not count), None)

    def _window(self, first: int) -> Sequence[int]:
        at = (self._mine + _COUNTS) // 8 + first
        return self._counts[at : at + _WINDOW]

    def _count(self, table: int, slot: int) -> int:
        return self._counts[(table + _COUNTS) // 8 + slot]

    def _add(self, slot: int, change: int) -> None:
        self._counts[(self._mine + _COUNTS) // 8 + slot] += change
