"""Issued keys, as the road reads them: `aiosqlite`, one connection, two statements.

Without SQLAlchemy on purpose, see `stores/sqlite.py`.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterable

import aiosqlite

from llmgw.core.api_key import parse_digest
from llmgw.core.errors import Unavailable
from llmgw.ports.stores import KeyEntry
from llmgw.stores.sqlite import BUSY_TIMEOUT_S, database_path, pragmas

SELECT_SEQ = "SELECT value FROM meta WHERE name = 'keys_changed_seq'"
SELECT_KEYS = (
    'SELECT key_id, tenant, "user", digest, allow_models, expires_at, labels FROM keys '
    "WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)"
)


class SqlKeyStore:
    """Implements `ports.stores.KeyStore`. Raises Unavailable when the database does not answer."""

    def __init__(self, url: str, now: Callable[[], float] = time.time) -> None:
        self._path = database_path(url)
        self._now = now
        self._connection: aiosqlite.Connection | None = None
        self._turn = asyncio.Lock()

    async def load(self) -> tuple[int, list[KeyEntry]]:
        # The number first: a change between the two is then loaded twice rather than never.
        seq = await self.changed_seq()
        rows = await self._rows(SELECT_KEYS, (self._now(),))
        return seq, [_entry(*row) for row in rows]

    async def changed_seq(self) -> int:
        rows = list(await self._rows(SELECT_SEQ, ()))
        return int(rows[0][0]) if rows else 0

    async def close(self) -> None:
        async with self._turn:
            await self._drop()

    async def _rows(self, statement: str, values: tuple[float, ...]) -> Iterable[sqlite3.Row]:
        async with self._turn:
            try:
                if self._connection is None:
                    self._connection = await self._connect()
                return await self._connection.execute_fetchall(statement, values)
            except sqlite3.Error as error:
                await self._drop()
                raise Unavailable("the database does not answer", detail=str(error)) from error

    async def _connect(self) -> aiosqlite.Connection:
        if not self._path.exists():
            raise sqlite3.OperationalError(f"no database at {self._path}")
        connection = await aiosqlite.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        for pragma in [*pragmas(checkpoints=False), "PRAGMA query_only=1"]:
            await connection.execute(pragma)
        return connection

    async def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()


def _entry(
    key_id: str,
    tenant: str,
    user: str | None,
    digest: str,
    allow_models: str | None,
    expires_at: int | None,
    labels: str,
) -> KeyEntry:
    return KeyEntry(
        key_id,
        tenant,
        user,
        parse_digest(digest),
        None if allow_models is None else tuple(json.loads(allow_models)),
        expires_at,
        json.loads(labels),
    )
