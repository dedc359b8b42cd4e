"""One gateway for a data directory.

Two would take each other's control socket, count the same quotas twice, and the first to end
would remove what the other's workers share.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmgw.server.plane import StartProblem

_NAME = "gateway.lock"


@contextmanager
def alone_on(data_dir: Path) -> Iterator[None]:
    """Be the only gateway there. Raises StartProblem.

    The kernel lets go of the lock when the process dies; what it started does not inherit it.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / _NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartProblem(f"storage.data_dir {data_dir} cannot be used: {error}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartProblem(
                f"another gateway runs on storage.data_dir {data_dir}; "
                f"stop it, or give this one a data_dir of its own"
            ) from None
        except OSError as error:
            raise StartProblem(f"storage.data_dir {data_dir} cannot be used: {error}") from error
        yield
    finally:
        os.close(lock)
