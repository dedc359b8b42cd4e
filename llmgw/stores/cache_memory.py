"""Answers kept in the memory of one process. The least recently used go first."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable

from llmgw.ports.cache import CacheKey, Found, Kept

_ENTRY_BYTES = 400
"""What an entry takes beside its value, about."""
SECRET_BYTES = 32


class MemoryCache:
    """Implements `ports.cache.CacheStore`. now_s: a clock that nobody sets."""

    def __init__(self, memory_bytes: int, now_s: Callable[[], float]) -> None:
        self.discarded = 0
        self.failed = 0
        self.size_bytes = 0
        self.secret: bytes | None = secrets.token_bytes(SECRET_BYTES)
        self._memory = memory_bytes
        self._now_s = now_s
        self._entries: OrderedDict[CacheKey, tuple[bytes, float, float]] = OrderedDict()

    def get(self, key: CacheKey, found: Found) -> None:
        entry = self._entries.get(key)
        if entry is None:
            found(None)
            return
        value, kept_s, until_s = entry
        now = self._now_s()
        if now >= until_s:
            self._drop(key)
            found(None)
            return
        self._entries.move_to_end(key)
        found(Kept(value, now - kept_s))

    def put(self, key: CacheKey, value: bytes, ttl_s: float) -> None:
        if key in self._entries:
            self._drop(key)
        size = len(value) + _ENTRY_BYTES
        if size > self._memory:
            self.failed += 1
            return
        while self.size_bytes + size > self._memory:
            self._drop(next(iter(self._entries)))
        now = self._now_s()
        self._entries[key] = (value, now, now + ttl_s)
        self.size_bytes += size

    def forget(self, tenants: frozenset[str]) -> None:
        for key in [key for key in self._entries if key.tenant in tenants]:
            self._drop(key)

    def close(self) -> None:
        self._entries.clear()
        self.size_bytes = 0

    def _drop(self, key: CacheKey) -> None:
        value, _, _ = self._entries.pop(key)
        self.size_bytes -= len(value) + _ENTRY_BYTES
