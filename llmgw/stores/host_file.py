"""The file that the worker processes of one host count in.

A header, a hash table of counters, and for each worker a table of grants: what its requests
under way have leased. Everything is native integers in places that never move, so that a counter
is read and written where it is. Nothing here locks; `stores.host` does.

A state is written one integer after the other in its order, each in one store (`words`), so that
a process that dies over it leaves a mixture of old and new in which no integer is torn.
`struct.pack_into` would not do: it clears all of them first.

A counter is found by a digest of its key, in one of `WINDOW` slots from where the digest points.
Which slots are taken is in an array of its own, a byte each. The digest is written last when a
counter is made, and cleared first when one is forgotten, so that a process that dies in between
leaves a slot that nobody finds, and that is free again after the next sweep.

All of the file is allocated when it is made: writing to a sparse one on a full disk would kill
the process (SIGBUS).
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from struct import Struct as Packing
from typing import Any

from msgspec import Struct

from llmgw.core.claim import (
    BALANCE,
    CONCURRENCY,
    FIXED_WINDOW,
    MAX_SEGMENTS,
    SLIDING_WINDOW,
    TOKEN_BUCKET,
    Rule,
    State,
)
from llmgw.limits import ALGORITHMS
from llmgw.stores.host_grants import Grants, table_size
from llmgw.stores.host_memory import allocate

SLOTS = 65_536
GRANTS = 4_096
"""Requests under way in one worker."""
WORKERS = 65
"""As many as a configuration may ask for, and one that follows another."""
WINDOW = 64

_ALGORITHM_OF = (None, FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, CONCURRENCY, BALANCE)
"""By the byte that says what a slot holds; 0 is a free one."""
_KIND_OF = {name: kind for kind, name in enumerate(_ALGORITHM_OF)}
_LEASED = frozenset({CONCURRENCY, BALANCE})

_MAGIC = b"llmgwctr"
_VERSION = 1
_SHM = Path("/dev/shm")  # noqa: S108  whose a file there is, is checked
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_WORD = Packing("q")
_HEADER = Packing("8sqqqqq40s")  # magic, version, slots, workers, grants, utc offset, boot id
_CURSOR = 88
LOCK = 96
"""What the lock knows about who takes it: two integers."""
_KINDS = 4096

# A slot: digest, limit, state, and behind the state what only some algorithms have.
_SLOT = 320
_LIMIT = 16
_STATE = 24
_HELD = _STATE + 8
_TEXT = 48
_TEXT_MAX = _SLOT - _TEXT - 2
_LENGTH = Packing("H")
_WINDOW_NS = 136
_WINDOW_FIELDS = Packing("qq")  # length, segments
_INTEGERS = {FIXED_WINDOW: 2, TOKEN_BUCKET: 2, CONCURRENCY: 1, BALANCE: 3}
_READ = [Packing(f"{integers}q") for integers in range(MAX_SEGMENTS + 3)]


class Slot(Struct, frozen=True, gc=False):
    """Where a counter is.

    where: its digest in the file, which is `digest` as long as the counter is there.
    check: a part of the digest, so that a lease says which counter it is of.
    at: for `read(map, at)`, which gives its state.
    """

    index: int
    where: slice
    digest: bytes
    check: int
    leased: bool
    at: int
    read: Callable[[Any, int], State]


def counter_path(data_dir: Path, workers: int) -> Path:
    """Where the counters of a data directory belong: in memory if there is room, else in itself.

    Once they are in memory they stay there, so that all processes find the same file. Room is
    for two: the next start makes a new one beside the old.
    """
    found = data_dir.stat()
    identity = f"{data_dir.resolve()}:{found.st_dev}:{found.st_ino}".encode()
    path = _SHM / f"llmgw-{blake2b(identity, digest_size=12).hexdigest()}"
    with suppress(OSError):
        if path.lstat().st_uid == os.geteuid():
            return path
    with suppress(OSError):
        room = os.statvfs(_SHM)
        if os.access(_SHM, os.W_OK) and room.f_bavail * room.f_frsize >= 2 * _size(SLOTS, workers, GRANTS):
            return path
    return data_dir / "counters"


def make(path: Path, workers: int, utc_offset_ns: int, now: int, slots: int, grants: int) -> None:
    """Put a new file at `path`, with what a valid one of the same boot counted there.

    What requests under way held is not taken over: no process is left that they run in. Processes
    that have the old file open go on with it alone. Raises OSError.
    """
    boot = _boot_id()
    hidden = path.with_name(f"{path.name}.new")
    try:
        head = _HEADER.pack(_MAGIC, _VERSION, slots, workers, grants, utc_offset_ns, boot)
        allocate(hidden, _size(slots, workers, grants), head)
        made = CounterFile(hidden)
        try:
            with suppress(FileNotFoundError, ValueError):
                old = CounterFile(path)
                try:
                    if old.boot and old.boot == boot:
                        made.take_over(old, now)
                finally:
                    old.close()
        finally:
            made.close()
        os.rename(hidden, path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise


class CounterFile:
    """An open counter file.

    map: its bytes. grants: a table for each worker.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError, or ValueError for what is no counter file of this user and version."""
        self.fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(self.fd)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise ValueError("not a file of this user")
            head = os.pread(self.fd, _HEADER.size, 0)
            if len(head) < _HEADER.size or not head.startswith(_MAGIC + _WORD.pack(_VERSION)):
                raise ValueError("not a counter file of this version")
            slots, workers, grants, utc_offset_ns, boot = _HEADER.unpack(head)[2:]
            if not 0 < workers <= WORKERS or slots < WINDOW or slots % 8 or grants <= 0:
                raise ValueError("of sizes that make no sense")
            if found.st_size != _size(slots, workers, grants):
                raise ValueError("of another size than it says")
            self.map = mmap.mmap(self.fd, found.st_size)
            self._words = memoryview(self.map).cast("q")
        except BaseException:
            os.close(self.fd)
            raise
        self.capacity: int = slots
        self.workers: int = workers
        self.utc_offset_ns: int = utc_offset_ns
        self.boot: bytes = boot.rstrip(b"\0")
        self._slots: int = _KINDS + slots
        tables = self._slots + _SLOT * slots
        self.grants = [
            Grants(self.map, tables + table_size(grants) * worker, grants) for worker in range(workers)
        ]

    def close(self) -> None:
        self._words.release()
        self.map.close()
        os.close(self.fd)

    @property
    def counters(self) -> int:
        """How many there are; there is room for `capacity`."""
        return self.capacity - self._kinds().count(0)

    def find(self, key: str) -> Slot | None:
        """The counter of a key, or None when there is none."""
        digest = _digest(key)
        first = self._first(digest)
        for index, kind in enumerate(self.map[_KINDS + first : _KINDS + first + WINDOW], first):
            at = self._at(index)
            if kind and self.map[at : at + 16] == digest:
                return self.slot(index)
        return None

    def add(self, key: str, rule: Rule, now: int) -> Slot | None:
        """A new counter, or None when all its slots are taken by counters that still count."""
        digest = _digest(key)
        index = self._room(digest, now)
        if index is None:
            return None
        at = self._at(index)
        self.map[at : at + _SLOT] = bytes(_SLOT)
        if rule.algorithm in _LEASED:
            text = key.encode("utf-8", "surrogatepass")
            if len(text) > _TEXT_MAX:
                text = text[:_TEXT_MAX].decode("utf-8", "ignore").encode()
            _LENGTH.pack_into(self.map, at + _TEXT, len(text))
            self.map[at + _TEXT + 2 : at + _TEXT + 2 + len(text)] = text
        else:
            _WINDOW_FIELDS.pack_into(self.map, at + _WINDOW_NS, rule.window_ns, rule.segments)
        self.map[_KINDS + index] = _KIND_OF[rule.algorithm]
        self.map[at : at + 16] = digest
        return self.slot(index)

    def forget(self, index: int) -> None:
        """Free a slot."""
        at = self._at(index)
        self.map[at : at + 16] = bytes(16)
        self.map[_KINDS + index] = 0

    def forget_spent(self, first: int, count: int, now: int) -> None:
        """Free the slots that say no more than new ones would."""
        end = min(first + count, self.capacity)
        for index, kind in enumerate(self.map[_KINDS + first : _KINDS + end], first):
            if kind and self._is_spent(index, now):
                self.forget(index)

    def indexes(self, algorithm: str) -> list[int]:
        """Where the counters of an algorithm are."""
        kinds = self._kinds()
        wanted = _KIND_OF[algorithm]
        found = []
        index = kinds.find(wanted)
        while index >= 0:
            found.append(index)
            index = kinds.find(wanted, index + 1)
        return found

    def slot(self, index: int) -> Slot:
        """The counter at an index, which is there."""
        at = self._at(index)
        algorithm = _ALGORITHM_OF[self.map[_KINDS + index]]
        integers = _INTEGERS.get(algorithm or "")
        if integers is None:
            integers = 2 + int(_WINDOW_FIELDS.unpack_from(self.map, at + _WINDOW_NS)[1])
        digest = self.map[at : at + 16]
        return Slot(
            index,
            slice(at, at + 16),
            digest,
            int.from_bytes(digest[8:12], "little"),
            algorithm in _LEASED,
            at + _STATE,
            _READ[integers].unpack_from,
        )

    def write(self, slot: Slot, limit: int, state: State) -> None:
        """Set a counter, and the limit that it counts to."""
        words = self._words
        word = slot.at >> 3
        words[word - 1] = limit
        for integer in state:
            words[word] = integer
            word += 1

    def algorithm(self, index: int) -> str | None:
        """How the counter at an index counts, or None when there is none."""
        return _ALGORITHM_OF[self.map[_KINDS + index]]

    def is_leased(self, index: int, check: int) -> bool:
        """Whether the counter that a lease is of is still there."""
        return self.algorithm(index) in _LEASED and self.slot(index).check == check

    def key(self, index: int) -> str:
        """The key of a leased counter. One of more than some 270 bytes is cut."""
        at = self._at(index) + _TEXT
        (length,) = _LENGTH.unpack_from(self.map, at)
        return self.map[at + 2 : at + 2 + length].decode("utf-8", "surrogatepass")

    def recount(self) -> None:
        """Make the counters say of what is held what the grants say."""
        held: dict[int, int] = {}
        for grants in self.grants:
            for entry in grants.taken():
                for index, check, amount in grants.read(entry)[1]:
                    if self.is_leased(index, check):
                        held[index] = held.get(index, 0) + amount
        for index in self.indexes(CONCURRENCY):
            self._words[(self._at(index) + _STATE) >> 3] = held.get(index, 0)
        for index in self.indexes(BALANCE):
            self._words[(self._at(index) + _HELD) >> 3] = held.get(index, 0)

    def take_over(self, old: CounterFile, now: int) -> None:
        """Copy what another file counted, but not what was held, and no slot that makes no sense."""
        for index in range(old.capacity):
            kind = old.map[_KINDS + index]
            if kind in (0, _KIND_OF[CONCURRENCY]) or not old._is_sound(index) or old._is_spent(index, now):
                continue
            at = old._at(index)
            content = old.map[at : at + _SLOT]
            into = self._room(content[:16], now)
            if into is None:
                continue
            self.map[self._at(into) : self._at(into) + _SLOT] = content
            if _ALGORITHM_OF[kind] == BALANCE:
                self._words[(self._at(into) + _HELD) >> 3] = 0
            self.map[_KINDS + into] = kind

    @property
    def cursor(self) -> int:
        """The slot at which the next sweep begins."""
        return self._words[_CURSOR >> 3]

    @cursor.setter
    def cursor(self, index: int) -> None:
        self._words[_CURSOR >> 3] = index

    def _kinds(self) -> bytes:
        return self.map[_KINDS : _KINDS + self.capacity]

    def _at(self, index: int) -> int:
        return self._slots + _SLOT * index

    def _first(self, digest: bytes) -> int:
        return int.from_bytes(digest[:8], "little") % (self.capacity - WINDOW + 1)

    def _room(self, digest: bytes, now: int) -> int | None:
        """A free slot for a digest, made free if need be."""
        first = self._first(digest)
        offset = self.map[_KINDS + first : _KINDS + first + WINDOW].find(0)
        if offset < 0:
            self.forget_spent(first, WINDOW, now)
            offset = self.map[_KINDS + first : _KINDS + first + WINDOW].find(0)
        return None if offset < 0 else first + offset

    def _is_spent(self, index: int, now: int) -> bool:
        at = self._at(index)
        algorithm = _ALGORITHM_OF[self.map[_KINDS + index]]
        assert algorithm is not None
        (limit,) = _WORD.unpack_from(self.map, at + _LIMIT)
        window_ns, segments = (0, 0)
        if algorithm not in _LEASED:
            window_ns, segments = _WINDOW_FIELDS.unpack_from(self.map, at + _WINDOW_NS)
        rule = Rule(
            name="",
            counts="",
            algorithm=algorithm,
            unit="",
            limit=limit,
            window_ns=window_ns,
            segments=segments,
        )
        slot = self.slot(index)
        return ALGORITHMS[algorithm].is_spent(slot.read(self.map, slot.at), rule, now)

    def _is_sound(self, index: int) -> bool:
        """Whether a slot can be read: its file may have been damaged."""
        kind = self.map[_KINDS + index]
        if kind >= len(_ALGORITHM_OF):
            return False
        at = self._at(index)
        if _ALGORITHM_OF[kind] in _LEASED:
            try:
                return len(self.key(index)) <= _TEXT_MAX
            except UnicodeDecodeError:
                return False
        window_ns, segments = _WINDOW_FIELDS.unpack_from(self.map, at + _WINDOW_NS)
        least = 1 if _ALGORITHM_OF[kind] == SLIDING_WINDOW else 0
        return bool(least <= segments <= MAX_SEGMENTS and window_ns >= max(1, segments))


def _digest(key: str) -> bytes:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _size(slots: int, workers: int, grants: int) -> int:
    return _KINDS + (1 + _SLOT) * slots + table_size(grants) * workers


def _boot_id() -> bytes:
    """Which boot of the machine this is; nothing where it does not say."""
    try:
        return _BOOT_ID.read_bytes().strip()[:40]
    except OSError:
        return b""
