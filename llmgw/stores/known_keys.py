"""The issued keys this host saw last, in a file, for a worker that starts while the database is away.

Holds what the database does: digests, no keys. Only the gateway's user can read it. Its age is the
time since the database last answered anybody on this host.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import DecodeError
from msgspec.json import decode, encode

from llmgw.ports.stores import KeyEntry


class KnownKeys:
    """All of it blocks for microseconds, but for a write of very many keys."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "keys.seen"

    def write(self, entries: Sequence[KeyEntry]) -> None:
        """Replace what is kept, whole. What cannot be written is not kept."""
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            # Before anything is in it, nobody else can read it.
            opened = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(opened, "wb") as file:
                file.write(encode(list(entries)))
            beside.replace(self._path)

    def confirm(self) -> None:
        """What is kept is what the database has, as of now."""
        with contextlib.suppress(OSError):
            os.utime(self._path)

    def read(self) -> tuple[float, list[KeyEntry]] | None:
        """Seconds since it was confirmed, and the keys; None when there is nothing to be used."""
        try:
            age = max(0.0, time.time() - self._path.stat().st_mtime)
            return age, decode(self._path.read_bytes(), type=list[KeyEntry])
        except (OSError, DecodeError):
            return None
