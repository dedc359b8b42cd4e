"""Where secrets come from. A reference is written `${scheme:locator}` in the operator's file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SecretRef:
    """A typed reference. It names a secret and is none itself, so it may be shown."""

    scheme: str
    locator: str

    def __str__(self) -> str:
        return "${" + f"{self.scheme}:{self.locator}" + "}"


@dataclass(frozen=True, slots=True)
class FoundSecret:
    """What a source holds. warning: something the operator should mend, without the value."""

    value: str = field(repr=False)
    warning: str | None = None


class SecretUnavailable(Exception):
    """The source has no such secret, or it cannot be used; the message says which and why."""


class SecretSource(Protocol):
    """Reads the secrets of one scheme."""

    scheme: str

    def read(self, locator: str) -> FoundSecret:
        """The secret, never empty. Raises SecretUnavailable. May block: not for the road."""
