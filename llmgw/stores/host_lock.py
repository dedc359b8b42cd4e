"""One lock for the processes of a host, which no process waits for when its holder is stopped.

The kernel frees it when its holder dies. A holder that only lacks a processor is waited for, so
that a busy machine counts exactly; one that was stopped (SIGSTOP, a debugger) may hold it for ever.

Whoever waits says so beside the lock, and who comes next then lets it go first: a process that
does nothing else would otherwise take the lock again before another one wakes up.
"""

from __future__ import annotations

import fcntl
import os
import time
from mmap import mmap
from pathlib import Path
from struct import Struct as Packing

PATIENCE_NS = 20_000_000
"""How long the lock is tried for when its holder is stopped."""
_RUNNING_NS = 250_000_000
"""How long when its holder runs."""
_DEGRADED_NS = 200_000
"""How long when the try before was in vain."""
_SPINS = 20
_PAUSE_S = 50e-6
"""Longer than the lock is ever held by a process that has a processor."""
_PROC = Path("/proc")
_TRY = fcntl.LOCK_EX | fcntl.LOCK_NB
_WORD = Packing("q")
_WORDS = Packing("qq")


class HostLock:
    """A lock on an open file, with two integers at `at`: who took it last, and who waits for it.

    degraded: it was not to be had the last time.
    """

    def __init__(self, fd: int, view: mmap, at: int) -> None:
        self.degraded = False
        self._fd = fd
        self._map = view
        self._at = at
        self._pid = os.getpid()

    @property
    def holder(self) -> int:
        """The process that took it last."""
        return int(_WORD.unpack_from(self._map, self._at)[0])

    def take(self) -> bool:
        """Whether the lock was to be had. Blocks for milliseconds at worst."""
        if _WORDS.unpack_from(self._map, self._at)[1]:
            time.sleep(_PAUSE_S)
        try:
            fcntl.flock(self._fd, _TRY)
        except BlockingIOError:
            self.degraded = not self._wait()
            if self.degraded:
                return False
        self.degraded = False
        _WORDS.pack_into(self._map, self._at, self._pid, 0)
        return True

    def free(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _wait(self) -> bool:
        patience_ns = _DEGRADED_NS if self.degraded else PATIENCE_NS
        begun = time.monotonic_ns()
        tries = 0
        while True:
            try:
                fcntl.flock(self._fd, _TRY)
            except BlockingIOError:
                tries += 1
            else:
                return True
            if tries <= _SPINS:
                continue
            waited = time.monotonic_ns() - begun
            if waited > patience_ns and (self.degraded or waited > _RUNNING_NS or _is_stopped(self.holder)):
                return False
            _WORD.pack_into(self._map, self._at + 8, self._pid)
            time.sleep(_PAUSE_S)


def _is_stopped(pid: int) -> bool:
    """Whether a process was stopped; False where the system does not say."""
    try:
        status = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] in "Tt"
