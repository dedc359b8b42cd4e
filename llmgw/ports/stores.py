"""Durable things, as the road sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from llmgw.core.record import Opened, Progress, Settled


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One API key, without its secret.

    digest: SHA-256 of the whole key as the client sends it.
    allow_models: patterns, None for every model of the tenant.
    expires_at: UTC seconds since the epoch, None for never.
    """

    key_id: str
    tenant: str
    user: str | None
    digest: bytes
    allow_models: tuple[str, ...] | None = None
    expires_at: float | None = None
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """One issued key, as those who administer keys see it. Times are UTC seconds since the epoch.

    digest: `sha256:<hex>` of the whole key.
    rotated_from, rotated_to: ids of the key it replaces, and of the one that replaces it.
    """

    key_id: str
    digest: str
    tenant: str
    user: str | None
    allow_models: tuple[str, ...] | None
    labels: dict[str, str]
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    rotated_from: str | None = None
    rotated_to: str | None = None
    changed_seq: int = 0


class Journal(Protocol):
    """The write-ahead journal of this process."""

    def open(self, entry: Opened, written: Callable[[Exception | None], None]) -> None:
        """Append before a dispatch; `written` is called once the bytes are the kernel's.

        One `write` serves every entry of one turn of the event loop. `written` hears the
        error when the write failed: then the request must not be dispatched.
        """

    def progress(self, entry: Progress) -> None:
        """Append, without waiting. An entry that cannot be written is dropped and counted."""

    def settle(self, entry: Settled) -> None:
        """Append, without waiting. Kept in memory and tried again while the disk refuses."""


class KeyStore(Protocol):
    """The keys that commands issued. `changed_seq` grows with every change."""

    async def load(self) -> tuple[int, list[KeyEntry]]:
        """Every usable key, and the sequence number they are good for."""

    async def changed_seq(self) -> int:
        """The number of the last change. Cheap: asked several times a second."""


class KeptKeys(Protocol):
    """The keys that were seen last, where they outlive this process."""

    def write(self, entries: Sequence[KeyEntry]) -> None:
        """Keep these instead."""

    def confirm(self) -> None:
        """The store said just now that nothing has changed."""

    def read(self) -> tuple[float, list[KeyEntry]] | None:
        """Seconds since the store last answered, and the keys; None when nothing is kept."""


class NoKeptKeys:
    """Keeps nothing."""

    def write(self, entries: Sequence[KeyEntry]) -> None: ...

    def confirm(self) -> None: ...

    def read(self) -> None: ...


class KeyNotices(Protocol):
    """Hears that keys changed, sooner than by asking the store.

    listening: whether a change would be heard of now. heard: how many were.
    """

    listening: bool
    heard: int

    async def listen(self, changed: Callable[[], None]) -> None:
        """Call `changed` for each change, and when some may have been missed. For ever."""


class NoKeyNotices:
    """Hears of nothing."""

    listening = False
    heard = 0

    async def listen(self, changed: Callable[[], None]) -> None: ...


class KeyRegistry(Protocol):
    """The issued keys, as commands and the admin API change them.

    Blocking, so called off the event loop. Every change is one transaction that also moves
    `changed_seq`, by which running gateways notice it. Raises Unavailable when the store does
    not answer.
    """

    def add(self, key: IssuedKey) -> None:
        """Keep a new key. Raises ValueError when its id or digest exists."""

    def get(self, key_id: str) -> IssuedKey | None: ...

    def list(self, tenant: str | None = None) -> Sequence[IssuedKey]:
        """Every key, expired and revoked ones too, oldest first."""

    def replace(self, key_id: str, successor: IssuedKey, expires_at: int) -> bool:
        """Keep the successor and let the old key end at `expires_at`, if it does not end before.

        False, and nothing done, when the old key does not exist, is revoked, expired or was
        replaced before.
        """

    def revoke(self, key_id: str, at: int) -> bool:
        """End a key now. False when it does not exist; a revoked one keeps its first time."""


class RecordStore(Protocol):
    """The usage records, as reports read them. Blocking. Raises Unavailable."""

    def sums(
        self, by: Sequence[str], since_ns: int | None, until_ns: int | None
    ) -> Sequence[dict[str, str | int | None]]:
        """One row a group, ordered by the group: its names, then exact sums.

        by: of `GROUPS`. since_ns is part of the span, until_ns is not.
        """

    def last(self, limit: int) -> Sequence[tuple[int, Settled]]:
        """The newest records and their sequence numbers, oldest first."""

    def after(self, seq: int, limit: int) -> Sequence[tuple[int, Settled]]:
        """What was recorded after a sequence number."""


GROUPS = ("tenant", "user", "key", "model", "provider", "endpoint", "day", "outcome")
"""What usage can be summed by. A day is a UTC date."""
