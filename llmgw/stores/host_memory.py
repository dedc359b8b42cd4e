"""Files that the processes of a host map into memory."""

from __future__ import annotations

import os
from pathlib import Path


def allocate(path: Path, size: int, head: bytes = b"") -> None:
    """Make a file of `size` bytes, zero behind its `head`, in the place of whatever was there.

    All of it is allocated: writing to a sparse one on a full disk would kill the process (SIGBUS).
    Raises OSError.
    """
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
        os.pwrite(fd, head, 0)
    finally:
        os.close(fd)
