"""How this program uses SQLite files: connections, the health of a file, the library's version.

One process per host (whoever drains the journals) writes in bulk and does every checkpoint; all
other connections leave checkpoints alone. That keeps clear of the WAL-reset bug, with which a
writer and a checkpoint of two connections could corrupt the file. (sqlite.org/wal.html: 3.7.0
to 3.51.2, mended in 3.51.3 and in 3.50.7 and 3.44.6)

The road's process speaks to the file through `sqlite3` and `aiosqlite` with the statements
below. SQLAlchemy costs a start 170 ms and 16 MiB (its asyncio half 80 ms and 8 MiB more), so
only commands load it; a test holds these statements to the tables of `schema.py`.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from llmgw.core.record import Settled

BUSY_TIMEOUT_S = 5.0
_PREFIX = "sqlite:///"
_MAGIC = b"SQLite format 3\0"
_WHOLE_CHECK_BYTES = 8 << 20
_COLUMNS = Settled.__struct_fields__
_MENDED = {(3, 44): 6, (3, 50): 7}


class DatabaseProblem(Exception):
    """The database cannot be used. The message says what to do about it."""

    @classmethod
    def of(cls, path: Path, error: sqlite3.Error) -> DatabaseProblem:
        if isinstance(error, sqlite3.OperationalError):
            return cls(f"the database {path} did not answer: {error}")
        return cls(f"{_damaged(path)}: {error}. {_REPAIR}")


_REPAIR = (
    "Put a copy back in its place, or move the file away and run `llmgw db migrate` to begin a new "
    "one; journals that were not drained yet are kept and fill it"
)


def _damaged(path: Path) -> str:
    return f"the database {path} is damaged or no SQLite file"


def database_path(url: str) -> Path:
    """The file of `sqlite:///relative` or `sqlite:////absolute`. Raises DatabaseProblem."""
    if not url.startswith(_PREFIX) or len(url) == len(_PREFIX):
        raise DatabaseProblem(
            f"storage.url: {url.partition(':')[0]!r} is not supported; write sqlite:///llmgw.db"
        )
    return Path(url.removeprefix(_PREFIX))


def connect(path: Path, *, checkpoints: bool, durable: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from any one thread at a time.

    checkpoints: only the drainer's.
    durable: every commit is synced.
    """
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        for pragma in pragmas(checkpoints=checkpoints, durable=durable):
            connection.execute(pragma)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def pragmas(*, checkpoints: bool, durable: bool = False) -> list[str]:
    """What every connection is told first."""
    settings = [f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}"]
    if not checkpoints:
        settings.append("PRAGMA wal_autocheckpoint=0")
    return settings


def upsert_usage(rows: int) -> str:
    """The statement that loads so many rows, given as one flat tuple of values.

    A row that stands is only replaced when it was `lost`. One statement for many rows, because
    each step gives up the interpreter's lock, and getting it back from a busy event loop can
    take 5 ms.
    """
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    values = ", ".join(["(" + ", ".join("?" * len(_COLUMNS)) + ")"] * rows)
    updates = ", ".join(f'"{name}" = excluded."{name}"' for name in _COLUMNS if name != "request_id")
    return (
        f"INSERT INTO usage ({names}) VALUES {values} "  # noqa: S608 - names of our own fields
        f"ON CONFLICT (request_id) DO UPDATE SET {updates} WHERE usage.outcome = 'lost'"
    )


def library_warning(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> str | None:
    """A warning when the SQLite library has the WAL-reset bug."""
    if not (3, 7, 0) <= version < (3, 51, 3):
        return None
    mended = _MENDED.get(version[:2])
    if mended is not None and version[2] >= mended:
        return None
    return (
        f"SQLite {'.'.join(map(str, version))} has the WAL-reset bug; llmgw avoids it by writing and "
        "checkpointing from one connection, but other programs must not write to the database. "
        "SQLite 3.51.3 mends it"
    )


def check_file(url: str) -> None:
    """Look whether the file is whole, within milliseconds.

    Header and length always, every page of a small file. A file that is shorter than its header says is
    whole while a log beside it has the rest: a checkpoint was interrupted, or found the disk full. Then
    every page is looked at. Raises DatabaseProblem with a hint.
    """
    path = database_path(url)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DatabaseProblem(f"the database {path} cannot be read: {error.strerror}") from error
    if size == 0:
        return
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        raise DatabaseProblem(f"the database {path} or its directory is read-only; make both writable")
    page = int.from_bytes(header[16:18], "big")
    promised = int.from_bytes(header[28:32], "big") * (65536 if page == 1 else page)
    # The page count is only good while the two change counters agree. (fileformat.html, 1.3.7)
    short = header[24:28] == header[92:96] and promised > size
    if header[:16] != _MAGIC or (short and not _has_log(path)):
        raise DatabaseProblem(f"{_damaged(path)}. {_REPAIR}")
    try:
        connection = connect(path, checkpoints=False)
        try:
            connection.execute("PRAGMA schema_version").fetchone()
            if short or size <= _WHOLE_CHECK_BYTES:
                verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if verdict != "ok":
                    raise DatabaseProblem(f"{_damaged(path)}: {verdict}. {_REPAIR}")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatabaseProblem.of(path, error) from error


def _has_log(path: Path) -> bool:
    """Whether there is a write-ahead log with something in it."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except OSError:
        return False
