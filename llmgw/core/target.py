"""One place a request can go: an upstream model at a provider."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """provider, kind, vendor: as configured. model: the upstream's name for it."""

    provider: str
    kind: str
    vendor: str | None
    model: str
