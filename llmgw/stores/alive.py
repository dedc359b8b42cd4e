"""Whether another process of this host is still there, by a file that it holds locked.

The kernel lets go of a lock when its process dies, however it does. Unlike a process id, a name
is never used again, and it means the same in every container that shares the directory.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_SUFFIX = ".alive"


class Alive:
    """This process's own file in `directory`, as long as it is held. name: what others know it by."""

    def __init__(self, directory: Path) -> None:
        self.name = secrets.token_hex(8)
        self._directory = directory
        self._file: int | None = None

    def hold(self) -> None:
        """Be alive from now on. Raises OSError."""
        if self._file is not None:
            return
        fresh = self._directory / f"{self.name}.new"
        self._file = os.open(fresh, os.O_CREAT | os.O_RDWR, 0o600)
        # Under its name it is never seen without its lock.
        fcntl.flock(self._file, fcntl.LOCK_EX)
        fresh.rename(self._path(self.name))

    def release(self) -> None:
        """Be forgotten."""
        if self._file is not None:
            self._path(self.name).unlink(missing_ok=True)
            os.close(self._file)
            self._file = None

    def dead(self) -> Iterator[str]:
        """The names of those that died."""
        for path in self._directory.glob(f"*{_SUFFIX}"):
            name = path.name.removesuffix(_SUFFIX)
            if self.is_dead(name):
                yield name

    def is_dead(self, name: str) -> bool:
        """Whether it died. Of whom there is no file, that is not known, so it did not."""
        if name == self.name:
            return False
        try:
            file = os.open(self._path(name), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(file)
        return True

    def bury(self, name: str) -> None:
        """Forget one that died, once nothing of it is left."""
        with suppress(FileNotFoundError):
            self._path(name).unlink()

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{_SUFFIX}"
