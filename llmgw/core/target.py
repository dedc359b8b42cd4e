"""One place a request can go: an upstream model at a provider."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """provider, kind, vendor: as configured. model: the upstream's name for it.
    base_url: where the provider is, which may tell whose prices hold."""

    provider: str
    kind: str
    vendor: str | None
    model: str
    base_url: str | None = None
