"""Where answers are kept, to be given again.

Nothing here raises for a store that is away, full or damaged: then there is no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CacheKey:
    """What an answer is kept under; made by `policies.cache_key` alone.

    tenant: whose answer it is. digest: of the tenant again, and of all that can change the answer.
    """

    tenant: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """age_s: how long ago it was put there."""

    value: bytes
    age_s: float


Found = Callable[[Kept | None], None]


class CacheStore(Protocol):
    """secret: what keys are made with here; None while the store is away.

    size_bytes: what is kept, as far as this process is the one to tell. discarded: how many answers
    were damaged or of another version. failed: how often the store did not do what it was asked.
    """

    discarded: int
    failed: int

    @property
    def secret(self) -> bytes | None: ...

    @property
    def size_bytes(self) -> int: ...

    def get(self, key: CacheKey, found: Found) -> None:
        """Have `found` called once with what is kept, at once or within the store's budget."""

    def put(self, key: CacheKey, value: bytes, ttl_s: float) -> None:
        """Keep a value, in place of what was there. Not waited for."""

    def forget(self, tenants: frozenset[str]) -> None:
        """Erase all that is kept for these. Not waited for; takes seconds."""

    def close(self) -> None:
        """Let go of what it holds."""
