"""How many connections each client has."""

from __future__ import annotations

from typing import Protocol


class Peers(Protocol):
    """Counted for a host, whichever of its processes took a connection."""

    def come(self, name: str, most: int) -> bool:
        """Count one more, unless `name` has `most` already."""

    def go(self, name: str) -> None:
        """One that was counted has ended."""
