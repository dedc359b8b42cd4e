"""Answers kept by the workers of one host, in one file in memory.

A ring of entries, the oldest overwritten by the newest, and a table that says where each begins.
Writers take the lock; readers take none: what they read may be overwritten meanwhile, and the
proof in it then does not hold, so it is no entry. A process that dies over a write leaves the same.

All of the file is allocated when it is made: writing to a sparse one on a full disk would kill the
process (SIGBUS).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from struct import Struct as Packing

from llmgw.ports.cache import CacheKey, Found, Kept
from llmgw.stores.cache_entry import sealed, unsealed
from llmgw.stores.cache_memory import SECRET_BYTES
from llmgw.stores.host_lock import HostLock
from llmgw.stores.host_memory import allocate

_MAGIC = b"llmgwcch"
_VERSION = 1
_HEADER = Packing("8sqq32s")  # magic, version, bytes of the ring, secret
_LOCK = 64
_CURSOR = 80
_TABLE = 4096
_SLOT = Packing("16sQII")  # digest, where it begins, how long it is, a part of its tenant's digest
_WAYS = 8
_BYTES_A_SLOT = 1024
_WORD = Packing("Q")
_TRIES = 20


def cache_path(counters: Path) -> Path:
    """Beside the counters of the same gateway."""
    return counters.with_name(f"{counters.name}.cache")


class HostCache:
    """Implements `ports.cache.CacheStore`. now_s: the same for every process of the host."""

    def __init__(self, path: Path, memory_bytes: int, now_s: Callable[[], float]) -> None:
        """Open the file, made by whoever comes first. Raises OSError."""
        self.discarded = 0
        self.failed = 0
        self._now_s = now_s
        self._fd = _opened(path, memory_bytes)
        self._ring = memory_bytes
        self._slots = _slots(memory_bytes)
        self._data = _TABLE + self._slots * _SLOT.size
        self._map = mmap.mmap(self._fd, _size(memory_bytes))
        self.secret: bytes | None = _HEADER.unpack_from(self._map)[3]
        self._lock = HostLock(self._fd, self._map, _LOCK)

    @property
    def size_bytes(self) -> int:
        return int(min(self._cursor, self._ring))

    def get(self, key: CacheKey, found: Found) -> None:
        assert self.secret is not None
        at = self._find(key.digest[:16])
        if at is None:
            found(None)
            return
        _, begin, length, _ = _SLOT.unpack_from(self._map, at)
        if begin + self._ring < self._cursor or not 0 < length <= self._ring:
            found(None)
            return
        first = self._data + begin % self._ring
        entry = unsealed(self.secret, key, self._map[first : first + length])
        if entry is None:
            self.discarded += 1
            found(None)
            return
        value, kept_s, until_s = entry
        now = self._now_s()
        found(Kept(value, now - kept_s) if now < until_s else None)

    def put(self, key: CacheKey, value: bytes, ttl_s: float) -> None:
        assert self.secret is not None
        now = self._now_s()
        entry = sealed(self.secret, key, value, now, now + ttl_s)
        if len(entry) > self._ring or not self._lock.take():
            self.failed += 1
            return
        try:
            self._write(key, entry)
        finally:
            self._lock.free()

    def forget(self, tenants: frozenset[str]) -> None:
        threading.Thread(target=self._erase, args=(tenants,), daemon=True).start()

    def close(self) -> None:
        self._map.close()
        os.close(self._fd)

    def _erase(self, tenants: frozenset[str]) -> None:
        """Without the lock: what is written over meanwhile is no entry, and was not there before."""
        marks = {_mark(tenant) for tenant in tenants}
        with suppress(ValueError):  # closed meanwhile, with the process
            for at in range(_TABLE, self._data, _SLOT.size):
                digest, begin, length, mark = _SLOT.unpack_from(self._map, at)
                if mark not in marks or not any(digest):
                    continue
                self._map[at : at + 16] = bytes(16)
                if begin + self._ring >= self._cursor and 0 < length <= self._ring:
                    first = self._data + begin % self._ring
                    self._map[first : first + length] = bytes(length)

    @property
    def _cursor(self) -> int:
        """Bytes written so far, those of every turn of the ring."""
        return int(_WORD.unpack_from(self._map, _CURSOR)[0])

    def _write(self, key: CacheKey, entry: bytes) -> None:
        digest = key.digest[:16]
        begin = self._cursor
        offset = begin % self._ring
        if offset + len(entry) > self._ring:
            begin += self._ring - offset
            offset = 0
        # First what is about to be overwritten is gone, so that nobody finds half of it.
        _WORD.pack_into(self._map, _CURSOR, begin + len(entry))
        first = self._data + offset
        self._map[first : first + len(entry)] = entry
        at = self._room(digest)
        self._map[at : at + 16] = bytes(16)
        _SLOT.pack_into(self._map, at, digest, begin, len(entry), _mark(key.tenant))

    def _find(self, digest: bytes) -> int | None:
        first = self._bucket(digest)
        for at in range(first, first + _WAYS * _SLOT.size, _SLOT.size):
            if self._map[at : at + 16] == digest:
                return at
        return None

    def _room(self, digest: bytes) -> int:
        """The slot of a digest, or else the one whose entry is the oldest of its bucket."""
        found = self._find(digest)
        if found is not None:
            return found
        first = self._bucket(digest)
        return min(
            range(first, first + _WAYS * _SLOT.size, _SLOT.size),
            key=lambda at: int(_SLOT.unpack_from(self._map, at)[1]),
        )

    def _bucket(self, digest: bytes) -> int:
        number = int.from_bytes(digest[:8], "little") % (self._slots // _WAYS)
        return _TABLE + number * _WAYS * _SLOT.size


def _mark(tenant: str) -> int:
    return int.from_bytes(blake2b(tenant.encode(), digest_size=4).digest(), "little")


def _slots(ring: int) -> int:
    return max(_WAYS, ring // _BYTES_A_SLOT // _WAYS * _WAYS)


def _size(ring: int) -> int:
    return _TABLE + _slots(ring) * _SLOT.size + ring


def _opened(path: Path, ring: int) -> int:
    """The file for a ring of that size; one of another size or version is replaced. Raises OSError."""
    for _ in range(_TRIES):
        with suppress(FileExistsError):
            _make(path, ring)
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        if _is_usable(fd, ring):
            return fd
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            # Whoever comes second finds the one that replaced it.
            with suppress(FileNotFoundError):
                if os.stat(path).st_ino == os.fstat(fd).st_ino:
                    path.unlink()
        finally:
            os.close(fd)
    raise OSError(f"{path} is replaced all the time")


def _make(path: Path, ring: int) -> None:
    """Put an empty file there, whole or not at all. Raises FileExistsError when there is one."""
    if path.exists():
        return
    hidden = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        head = _HEADER.pack(_MAGIC, _VERSION, ring, secrets.token_bytes(SECRET_BYTES))
        allocate(hidden, _size(ring), head)
        os.link(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)


def _is_usable(fd: int, ring: int) -> bool:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_size != _size(ring):
        return False
    magic, version, size, _ = _HEADER.unpack(os.pread(fd, _HEADER.size, 0))
    return bool(magic == _MAGIC and version == _VERSION and size == ring)
