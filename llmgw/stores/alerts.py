"""Which budget alerts were told: one row for each balance and threshold, never told twice.

A telling is one statement that inserts or does nothing, so of several processes exactly one is
first, without a transaction that is held open. The drainer writes the same file; each waits
for the other.
"""

from __future__ import annotations

import asyncio
import sqlite3

import aiosqlite

from llmgw.core.errors import Unavailable
from llmgw.stores.sqlite import BUSY_TIMEOUT_S, database_path, pragmas

KEPT_S = 400 * 86_400
"""Longer than any window, so that nothing is forgotten within its period."""
_PURGED_AT_ONCE = 500

TELL = (
    "INSERT INTO alerts_told (balance, threshold_ppm, at_s) VALUES (?, ?, ?) "
    "ON CONFLICT (balance, threshold_ppm) DO NOTHING"
)
PURGE = "DELETE FROM alerts_told WHERE rowid IN (SELECT rowid FROM alerts_told WHERE at_s < ? LIMIT ?)"


class SqlAlertStore:
    """Implements `ports.alerts.AlertStore`. Raises Unavailable when the database does not answer."""

    def __init__(self, url: str) -> None:
        self._path = database_path(url)
        self._connection: aiosqlite.Connection | None = None
        self._turn = asyncio.Lock()

    async def first_telling(self, balance: str, threshold_ppm: int, at_s: int) -> bool:
        # A connection has a thread that only `close` ends: a cancelled caller must not lose one.
        return await asyncio.shield(self._tell(balance, threshold_ppm, at_s))

    async def close(self) -> None:
        async with self._turn:
            await self._drop()

    async def _tell(self, balance: str, threshold_ppm: int, at_s: int) -> bool:
        async with self._turn:
            try:
                if self._connection is None:
                    self._connection = await self._connect()
                first = await self._changed(TELL, (balance, threshold_ppm, at_s)) == 1
                if first:
                    await self._changed(PURGE, (at_s - KEPT_S, _PURGED_AT_ONCE))
            except sqlite3.Error as error:
                await self._drop()
                raise Unavailable("the database does not answer", detail=str(error)) from error
            return first

    async def _changed(self, statement: str, values: tuple[str | int, ...]) -> int:
        """How many rows a statement changed."""
        assert self._connection is not None
        async with self._connection.execute(statement, values) as cursor:
            return cursor.rowcount

    async def _connect(self) -> aiosqlite.Connection:
        if not self._path.exists():
            raise sqlite3.OperationalError(f"no database at {self._path}")
        connection = await aiosqlite.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            for pragma in pragmas(checkpoints=False):
                await connection.execute(pragma)
        except sqlite3.Error:
            await connection.close()
            raise
        return connection

    async def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()


class MemoryAlertStore:
    """The same in this process's memory: told again after a restart."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, int], int] = {}

    async def first_telling(self, balance: str, threshold_ppm: int, at_s: int) -> bool:
        if (balance, threshold_ppm) in self._told:
            return False
        self._told[balance, threshold_ppm] = at_s
        while self._told[oldest := next(iter(self._told))] < at_s - KEPT_S:
            del self._told[oldest]
        return True

    async def close(self) -> None:
        """Nothing is held."""
