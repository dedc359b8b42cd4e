"""How near a process is to its memory limit, and what it does about it.

A container that reaches its limit is killed, with every request in it. Before that, connections
are not kept, then new requests are asked to come again; what is under way goes on.

Facts: the kernel's documentation of cgroup v1 and v2. Like Kubernetes, this leaves out file pages
that the kernel gives up first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from llmgw.telemetry.events import Events

CROWDED = 0.92
FULL = 0.95
_UNLIMITED = 1 << 60
"""cgroup v1 says a number like this instead of `max`."""


class Door(Protocol):
    """Whose requests are held back."""

    crowded: bool
    full: bool


class Cgroup:
    """The control group of this process.

    limit: bytes, None where there is none.
    """

    def __init__(self, root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> None:
        self.limit: int | None = None
        self._used = self._stat = root
        self._inactive = b""
        for directory, limit, used, inactive in _places(root, own):
            with suppress(OSError, ValueError):
                found = int((directory / limit).read_bytes())
                if found < _UNLIMITED:
                    self.limit = found
                    self._used, self._stat = directory / used, directory / "memory.stat"
                    self._inactive = inactive
                    break

    def share(self) -> float:
        """Of the limit, how much is in use; 0 where there is no limit."""
        if self.limit is None:
            return 0.0
        try:
            used = int(self._used.read_bytes())
            stat = dict(line.split() for line in self._stat.read_bytes().splitlines())
        except (OSError, ValueError):
            return 0.0
        return (used - int(stat.get(self._inactive, 0))) / self.limit


class MemoryWatch:
    """Holds requests back while memory is short."""

    def __init__(self, door: Door, events: Events, cgroup: Cgroup) -> None:
        self._door = door
        self._events = events
        self._cgroup = cgroup

    def look(self) -> None:
        """Called each second."""
        share = self._cgroup.share()
        door = self._door
        if (share >= FULL) is not door.full:
            door.full = not door.full
            level, event = ("error", "memory_short") if door.full else ("info", "memory_free_again")
            self._events.log_event(level, event, share=round(share, 3), limit_bytes=self._cgroup.limit)
        door.crowded = share >= CROWDED


def _places(root: Path, own: Path) -> Iterator[tuple[Path, str, str, bytes]]:
    """Where the limit may stand, the nearest first: inside a container its group is the root."""
    v1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", b"total_inactive_file")
    v2 = ("memory.max", "memory.current", b"inactive_file")
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "memory":
                yield root / "memory" / path.lstrip("/"), *v1
            elif not controllers:
                yield root / path.lstrip("/"), *v2
    yield root, *v2
    yield root / "memory", *v1
