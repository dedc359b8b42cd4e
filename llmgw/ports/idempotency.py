"""Where it is known which keyed requests are under way or answered.

Several processes, or hosts, share one store. Held to one suite, `tests/contracts/idempotency.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

LEASE_S = 30.0
"""How long a name stays taken by a process that says nothing more."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a name was taken for before.

    fingerprint: of the request. answer: None while that request is under way; else what was kept.
    """

    fingerprint: bytes
    answer: bytes | None


@dataclass(frozen=True, slots=True)
class Held:
    """A name that one request has taken. token: 16 bytes of its own, by which it is told from others.

    fingerprint: 32 bytes.
    """

    name: str
    token: bytes
    fingerprint: bytes


class IdempotencyStore(Protocol):
    """Raises Unavailable when it cannot be asked; then nobody may go on."""

    async def claim(self, held: Held) -> Found | None:
        """Take a name for `LEASE_S`, if it is free. None when it was.

        Of all that ask at once, in whatever process, one gets None.
        """

    async def renew(self, held: Sequence[Held]) -> None:
        """Have names stay taken for `LEASE_S` from now. Those that are lost stay lost."""

    async def keep(self, held: Held, answer: bytes, ttl_s: float) -> bool:
        """Give what claims of the name find from now on. Asked again, it changes nothing.

        False, and nothing kept, when somebody else has the name by now.
        """

    async def free(self, held: Held) -> None:
        """Let the name be taken again, if it is still this one's."""

    async def sweep(self) -> bool:
        """Remove some of what is past its time. Whether there is more."""

    async def close(self) -> None: ...
