"""Where the drainer puts what it reads: a database that takes settled requests in batches.

Promise: loading a request again changes nothing, unless what stands there is `lost`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from msgspec.structs import astuple

from llmgw.core.record import Settled
from llmgw.stores.expire import AT_ONCE
from llmgw.stores.frames import tamed
from llmgw.stores.sqlite import DatabaseProblem, connect, database_path, upsert_usage
from llmgw.stores.urls import is_postgres

_BATCHES = tuple((rows, upsert_usage(rows)) for rows in (64, 8, 1))
_EXPIRE = "DELETE FROM usage WHERE seq IN (SELECT seq FROM usage WHERE at_ns < ? ORDER BY at_ns LIMIT ?)"
_FULL_COMMIT = "UPDATE meta SET value = value WHERE name = 'keys_changed_seq'"


class Sink(Protocol):
    """Connects when it is first used, and again after `close`.

    alone: whether this process is the host's drainer, which alone does a file's checkpoints.
    """

    alone: bool

    def load(self, settled: Sequence[Settled], *, synced: bool = False) -> None:
        """All of it or nothing.

        synced: returns only when this, and all that was loaded before, outlives a power failure.
        """

    def expire(self, before_ns: int) -> bool:
        """Remove some records of before that moment. Whether there is more to do now."""

    def close(self) -> None: ...


def open_sink(url: str, *, durable: bool) -> Sink:
    """durable: every load is synced."""
    if is_postgres(url):
        from llmgw.stores.sink_postgres import PostgresSink

        return PostgresSink(url)
    return SqliteSink(database_path(url), durable=durable)


class SqliteSink:
    """One file, as long as this lives: another in its place may be a copy that is older, beside a log
    that is not its own, and what went on into the old one would be seen by nobody. Journals wait then.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self.alone = False
        self._path = path
        self._durable = durable
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def load(self, settled: Sequence[Settled], *, synced: bool = False) -> None:
        connection = self._connected()
        if not synced:
            with _Transaction(connection):
                _insert(connection, settled)
            return
        # With synchronous=FULL a commit syncs the whole log, earlier transactions included.
        connection.execute("PRAGMA synchronous=FULL")
        try:
            with _Transaction(connection):
                _insert(connection, settled)
                connection.execute(_FULL_COMMIT)
        finally:
            if not self._durable:
                connection.execute("PRAGMA synchronous=NORMAL")

    def expire(self, before_ns: int) -> bool:
        connection = self._connected()
        with _Transaction(connection):
            removed = connection.execute(_EXPIRE, (before_ns, AT_ONCE)).rowcount
        return removed == AT_ONCE

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            raise FileNotFoundError(f"no database at {self._path}") from None
        if self._file is None:
            self._file = found.st_dev, found.st_ino
        elif self._file != (found.st_dev, found.st_ino):
            raise DatabaseProblem(
                f"another file was put at {self._path} while the gateway runs; stop the gateway, put the "
                f"file there without a {self._path.name}-wal beside it, and start again; journals are kept"
            )
        if self._connection is None:
            self._connection = connect(self._path, checkpoints=self.alone, durable=self._durable)
        return self._connection


class _Transaction:
    """Commits, or takes everything back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._connection.execute("COMMIT")
        finally:
            # The database may have taken it back by itself, when its disk was full.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _insert(connection: sqlite3.Connection, settled: Sequence[Settled]) -> None:
    at = 0
    left = len(settled)
    for rows, statement in _BATCHES:
        while left >= rows:
            batch = settled[at : at + rows]
            try:
                connection.execute(statement, _values(batch))
            except (OverflowError, UnicodeEncodeError):
                # An upstream claimed more tokens than an integer of the database holds, or no text.
                connection.execute(statement, _values([tamed(entry) for entry in batch]))
            at += rows
            left -= rows


def _values(settled: Sequence[Settled]) -> list[object]:
    return [value for entry in settled for value in astuple(entry)]
