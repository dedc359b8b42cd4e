"""The states of targets in one process."""

from __future__ import annotations

from math import inf


class MemoryTarget:
    """Implements `ports.targets.TargetState`."""

    __slots__ = ("closed_at", "cooled_until", "open_until", "probing")

    def __init__(self) -> None:
        self.open_until = 0.0
        self.closed_at = -inf
        self.cooled_until = 0.0
        self.probing = False

    def claim_probe(self) -> bool:
        """Be the one that probes. False when another one is."""
        if self.probing:
            return False
        self.probing = True
        return True

    def drop_probe(self) -> None:
        """The probe is over."""
        self.probing = False


class MemoryTargets:
    """Implements `ports.targets.TargetStates`."""

    def __init__(self) -> None:
        self._known: dict[str, MemoryTarget] = {}

    def of(self, name: str) -> MemoryTarget:
        """The state under a name, the same at every call."""
        return self._known.setdefault(name, MemoryTarget())

    def all(self) -> list[tuple[str, MemoryTarget]]:
        """Every name that was asked for."""
        return list(self._known.items())
