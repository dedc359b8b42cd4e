"""Keyed requests of all workers of a host, in a SQLite file of their own; it outlives them.

Each process has one thread for it, which does whatever has come up meanwhile in one transaction,
so the event loop never waits for the disk and a burst costs one commit. `BEGIN IMMEDIATE` makes a
claim exact between processes; what a process that died was at is free at once. A rollback journal
rather than a write-ahead log: several processes write here, and with a log that is where SQLite's
WAL-reset bug lies (see `stores.sqlite`).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from llmgw.core.errors import Unavailable
from llmgw.ports.idempotency import LEASE_S, Found, Held
from llmgw.stores.alive import Alive

FILE = "idempotency.db"
OWNERS = "idempotency"
"""Where each process that has keys shows that it is alive."""
_BUSY_S = 2.0
_AT_ONCE = 64
_SWEPT_AT_ONCE = 50
"""In one transaction; each is at a place of its own in a large file."""
_NS = 1_000_000_000
_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS kept (
        name TEXT NOT NULL UNIQUE, token BLOB NOT NULL, fingerprint BLOB NOT NULL, until_ns INTEGER NOT NULL,
        owner TEXT NOT NULL, answer BLOB
    )
    """,
    "CREATE INDEX IF NOT EXISTS kept_until ON kept (until_ns)",
)
_FIND = "SELECT fingerprint, answer, token, owner FROM kept WHERE name = ? AND until_ns > ?"
_TAKE = """
    INSERT OR REPLACE INTO kept (name, token, fingerprint, until_ns, owner, answer)
    VALUES (?, ?, ?, ?, ?, ?)
"""
_RENEW = "UPDATE kept SET until_ns = ? WHERE name = ? AND token = ? AND answer IS NULL"
_FREE = "DELETE FROM kept WHERE name = ? AND token = ? AND answer IS NULL"
_FREE_ALL = "DELETE FROM kept WHERE owner = ? AND answer IS NULL"
_SWEEP = (
    "DELETE FROM kept WHERE rowid IN (SELECT rowid FROM kept WHERE until_ns <= ? ORDER BY until_ns LIMIT ?)"
)

_Work = Callable[[sqlite3.Connection], Any]  # Any: what the one who asks waits for
_Asked = tuple[_Work, "asyncio.Future[Any]"]


class HostIdempotency:
    """Implements `ports.idempotency.IdempotencyStore` for the processes of one host.

    utc_ns: the time of day. durable: what is kept outlives a power failure at once.
    """

    def __init__(
        self, directory: Path, utc_ns: Callable[[], int], loop: asyncio.AbstractEventLoop, *, durable: bool
    ) -> None:
        self._path = directory / FILE
        self._alive = Alive(directory / OWNERS)
        self._utc_ns = utc_ns
        self._loop = loop
        self._durable = durable
        self._queue: SimpleQueue[_Asked | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def claim(self, held: Held) -> Found | None:
        def work(connection: sqlite3.Connection) -> Found | None:
            now = self._utc_ns()
            row = connection.execute(_FIND, (held.name, now)).fetchone()
            if row is not None and (row[1] is not None or not self._bury(connection, row[3])):
                return Found(row[0], row[1])
            until = now + int(LEASE_S * _NS)
            owner = self._alive.name
            connection.execute(_TAKE, (held.name, held.token, held.fingerprint, until, owner, None))
            return None

        found: Found | None = await self._ask(work)
        return found

    async def renew(self, held: Sequence[Held]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            until = self._utc_ns() + int(LEASE_S * _NS)
            connection.executemany(_RENEW, [(until, one.name, one.token) for one in held])

        await self._ask(work)

    async def keep(self, held: Held, answer: bytes, ttl_s: float) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            now = self._utc_ns()
            row = connection.execute(_FIND, (held.name, now)).fetchone()
            if row is not None and row[2] != held.token:
                return False
            until = now + int(ttl_s * _NS)
            owner = self._alive.name
            connection.execute(_TAKE, (held.name, held.token, held.fingerprint, until, owner, answer))
            return True

        return bool(await self._ask(work))

    async def free(self, held: Held) -> None:
        await self._ask(lambda connection: connection.execute(_FREE, (held.name, held.token)).rowcount)

    async def sweep(self) -> bool:
        def work(connection: sqlite3.Connection) -> bool:
            return connection.execute(_SWEEP, (self._utc_ns(), _SWEPT_AT_ONCE)).rowcount == _SWEPT_AT_ONCE

        return self._path.exists() and bool(await self._ask(work))

    async def close(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            await self._loop.run_in_executor(None, self._thread.join)
            self._thread = None

    def _ask(self, work: _Work) -> asyncio.Future[Any]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="idempotency", daemon=True)
            self._thread.start()
        done: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put((work, done))
        return done

    # The thread.

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        ending = False
        while not ending:
            first = self._queue.get()
            asked, ending = self._with_others(first)
            if not asked:
                break
            try:
                if connection is None:
                    connection = self._connect()
                results = _done(connection, [work for work, _ in asked])
            except (sqlite3.Error, OSError) as error:
                if connection is not None:
                    connection.close()
                    connection = None
                failure = Unavailable(
                    "idempotency keys cannot be looked up at the moment. Please retry shortly.",
                    detail=f"{self._path}: {error}",
                    retry_after_s=1,
                )
                self._tell(asked, [failure] * len(asked))
            else:
                self._tell(asked, results)
        if connection is not None:
            connection.close()
        self._alive.release()

    def _with_others(self, first: _Asked | None) -> tuple[list[_Asked], bool]:
        """What came up by now, and whether the end is among it."""
        asked: list[_Asked] = []
        one = first
        while one is not None:
            asked.append(one)
            if len(asked) == _AT_ONCE:
                return asked, False
            try:
                one = self._queue.get_nowait()
            except Empty:
                return asked, False
        return asked, True

    def _connect(self) -> sqlite3.Connection:
        owners = self._path.with_name(OWNERS)
        owners.mkdir(mode=0o700, exist_ok=True)
        self._alive.hold()
        # Answers are in it, so nobody else may read it.
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=TRUNCATE")
            connection.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'NORMAL'}")
            for statement in _SCHEMA:
                connection.execute(statement)
            for name in [*self._alive.dead()]:
                self._bury(connection, name)
        except BaseException:
            connection.close()
            raise
        return connection

    def _bury(self, connection: sqlite3.Connection, owner: str) -> bool:
        """Free what a process was at, if it died. Whether it did."""
        if not self._alive.is_dead(owner):
            return False
        connection.execute(_FREE_ALL, (owner,))
        self._alive.bury(owner)
        return True

    def _tell(self, asked: Sequence[_Asked], results: Sequence[Any]) -> None:
        def tell() -> None:
            for (_, done), result in zip(asked, results, strict=True):
                if done.done():
                    continue
                if isinstance(result, Exception):
                    done.set_exception(result)
                else:
                    done.set_result(result)

        # The loop is closed when the process ends before its answers came.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(tell)


def _done(connection: sqlite3.Connection, works: Sequence[_Work]) -> list[Any]:
    """All of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        results = [work(connection) for work in works]
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return results
