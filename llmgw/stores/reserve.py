"""Disk space set aside, so that what is under way can still be written down on a full disk."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


class Reserve:
    """A preallocated file in the journal's directory, shared by the workers of a host.

    given_up: the file was removed to make room and is not back yet.
    spent: half of what it freed has been written, so the rest is for settlements.
    """

    def __init__(self, directory: Path, size: int) -> None:
        self._path = directory / "reserve"
        self._size = size
        self._left = 0
        self.given_up = False
        self.spent = False

    def release(self) -> bool:
        """Remove the file. False when it was given up already."""
        if self.given_up or not self._size:
            return False
        # Another worker may have removed it first; the room is there all the same.
        self._path.unlink(missing_ok=True)
        self.given_up = True
        self._left = self._size // 2
        return True

    def use(self, written: int) -> None:
        """Count what was written since the file was given up."""
        if self.given_up:
            self._left -= written
            self.spent = self._left <= 0

    def refill(self) -> None:
        """Make the file again if the disk has room for it. Blocking."""
        if not self._size:
            return
        if not self._path.exists():
            room = os.statvfs(self._path.parent)
            if room.f_bavail * room.f_frsize < 2 * self._size:
                return
            hidden = self._path.with_name(f"reserve-{secrets.token_hex(4)}.new")
            fd = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.posix_fallocate(fd, 0, self._size)
                os.rename(hidden, self._path)
            except OSError:
                # Still no room: asked again a second later.
                hidden.unlink(missing_ok=True)
                return
            finally:
                os.close(fd)
        self.given_up = self.spent = False
