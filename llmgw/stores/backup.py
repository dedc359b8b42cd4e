"""A copy of a SQLite database as of one moment, while others write to it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from llmgw.stores.sqlite import DatabaseProblem, connect, database_path

_PAGES_AT_ONCE = 1000


def backup(url: str, target: Path) -> None:
    """Copy the database to a file that does not exist yet. Raises DatabaseProblem."""
    path = database_path(url)
    hidden = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        if target.exists():
            raise DatabaseProblem(f"{target} exists already; name another file")
        # Before anything is in it, nobody else can read it.
        os.close(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(connect(path, checkpoints=False)) as source:
            # One read transaction keeps the pages as they are until the last is copied.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            with closing(sqlite3.connect(hidden)) as copy:
                source.backup(copy, pages=_PAGES_AT_ONCE)
                verdict = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise DatabaseProblem(f"the copy of {path} is not whole: {verdict}")
        hidden.rename(target)
    except OSError as error:
        raise DatabaseProblem(f"{target} cannot be written: {error.strerror or error}") from error
    except sqlite3.Error as error:
        raise DatabaseProblem(f"{path} could not be copied to {target}: {error}") from error
    finally:
        for rest in ("", "-journal", "-wal", "-shm"):
            # SQLite leaves its own beside a file that it could not finish.
            hidden.with_name(hidden.name + rest).unlink(missing_ok=True)
