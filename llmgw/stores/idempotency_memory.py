"""Keyed requests of one process, in memory: for tests, and where nothing outlives the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmgw.ports.idempotency import LEASE_S, Found, Held


@dataclass(frozen=True, slots=True)
class _Kept:
    held: Held
    answer: bytes | None
    until: float


class MemoryIdempotency:
    """Implements `ports.idempotency.IdempotencyStore`. now: seconds of a steady clock."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._kept: dict[str, _Kept] = {}

    async def claim(self, held: Held) -> Found | None:
        kept = self._kept.get(held.name)
        if kept is not None and kept.until > self._now():
            return Found(kept.held.fingerprint, kept.answer)
        self._kept[held.name] = _Kept(held, None, self._now() + LEASE_S)
        return None

    async def renew(self, held: Sequence[Held]) -> None:
        for one in held:
            if self._is_taken_by(one):
                self._kept[one.name] = _Kept(one, None, self._now() + LEASE_S)

    async def keep(self, held: Held, answer: bytes, ttl_s: float) -> bool:
        kept = self._kept.get(held.name)
        if kept is not None and kept.held.token != held.token and kept.until > self._now():
            return False
        self._kept[held.name] = _Kept(held, answer, self._now() + ttl_s)
        return True

    async def free(self, held: Held) -> None:
        if self._is_taken_by(held):
            del self._kept[held.name]

    async def sweep(self) -> bool:
        now = self._now()
        for name in [name for name, kept in self._kept.items() if kept.until <= now]:
            del self._kept[name]
        return False

    async def close(self) -> None:
        """Nothing is held."""

    def _is_taken_by(self, held: Held) -> bool:
        kept = self._kept.get(held.name)
        return kept is not None and kept.answer is None and kept.held.token == held.token
