"""In-memory twins of the durable stores, for tests and demos."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from llmgw.core.api_key import parse_digest
from llmgw.core.record import Entry, Opened, Progress, Settled
from llmgw.ports.stores import IssuedKey, KeyEntry


class MemoryJournal:
    """Implements `ports.stores.Journal`. entries: everything, in order.

    failing: what `open` answers with, None to let entries in.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.entries: list[Entry] = []
        self.failing: Exception | None = None

    @property
    def settled(self) -> list[Settled]:
        return [entry for entry in self.entries if isinstance(entry, Settled)]

    def open(self, entry: Opened, written: Callable[[Exception | None], None]) -> None:
        if self.failing is None:
            self.entries.append(entry)
        self._loop.call_soon(written, self.failing)

    def progress(self, entry: Progress) -> None:
        self.entries.append(entry)

    def settle(self, entry: Settled) -> None:
        self.entries.append(entry)

    async def close(self) -> None:
        """Nothing is left to be written."""


class MemoryKeyStore:
    """Implements `ports.stores.KeyStore` and `KeyRegistry` over a dictionary."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._keys: dict[str, IssuedKey] = {}
        self._seq = 0

    async def load(self) -> tuple[int, list[KeyEntry]]:
        usable = [
            KeyEntry(
                key.key_id,
                key.tenant,
                key.user,
                parse_digest(key.digest),
                key.allow_models,
                key.expires_at,
                key.labels,
            )
            for key in self._keys.values()
            if key.revoked_at is None and (key.expires_at is None or key.expires_at > self._now())
        ]
        return self._seq, usable

    async def changed_seq(self) -> int:
        return self._seq

    async def close(self) -> None:
        """Nothing is held."""

    def add(self, key: IssuedKey) -> None:
        if key.key_id in self._keys or any(key.digest == other.digest for other in self._keys.values()):
            raise ValueError(f"there is a key {key.key_id!r} already")
        self._keep(key)

    def get(self, key_id: str) -> IssuedKey | None:
        return self._keys.get(key_id)

    def list(self, tenant: str | None = None) -> Sequence[IssuedKey]:
        return [key for key in self._keys.values() if tenant is None or key.tenant == tenant]

    def replace(self, key_id: str, successor: IssuedKey, expires_at: int) -> bool:
        old = self._keys.get(key_id)
        if old is None or old.revoked_at is not None or old.rotated_to is not None:
            return False
        if old.expires_at is not None and old.expires_at <= successor.created_at:
            return False
        end = expires_at if old.expires_at is None else min(expires_at, old.expires_at)
        self.add(successor)
        self._keep(replace(old, expires_at=end, rotated_to=successor.key_id))
        return True

    def revoke(self, key_id: str, at: int) -> bool:
        old = self._keys.get(key_id)
        if old is None:
            return False
        if old.revoked_at is None:
            self._keep(replace(old, revoked_at=at))
        return True

    def _keep(self, key: IssuedKey) -> None:
        self._seq += 1
        self._keys[key.key_id] = replace(key, changed_seq=self._seq)
