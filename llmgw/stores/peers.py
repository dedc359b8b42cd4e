"""Connections by client, in the memory of the only process."""

from __future__ import annotations

from collections import Counter


class MemoryPeers:
    """Implements `ports.peers.Peers`."""

    def __init__(self) -> None:
        self._connections: Counter[str] = Counter()

    def come(self, name: str, most: int) -> bool:
        """Count one more, unless `name` has `most` already."""
        if self._connections[name] >= most:
            return False
        self._connections[name] += 1
        return True

    def go(self, name: str) -> None:
        """One that was counted has ended."""
        self._connections[name] -= 1
        if self._connections[name] <= 0:
            del self._connections[name]
