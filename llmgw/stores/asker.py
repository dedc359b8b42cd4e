"""One connection of the road's process, which asks the database a small thing now and then.

Statements are written with `:name`, which both databases take. SQLite is asked through
`aiosqlite`, because SQLAlchemy costs a start 170 ms and 16 MiB, see `sqlite.py`; PostgreSQL
through SQLAlchemy.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import aiosqlite

from llmgw.core.errors import Unavailable
from llmgw.stores.sqlite import BUSY_TIMEOUT_S, database_path, pragmas
from llmgw.stores.urls import is_postgres

if TYPE_CHECKING:
    from sqlalchemy import Connection

Values = Mapping[str, str | int | float]
Row = tuple[Any, ...]  # Any: the columns' own types

T = TypeVar("T")

ASK_S = 5.0


class Asker(Protocol):
    """Connects when it is first asked, and again after a failure. Raises Unavailable."""

    async def rows(self, statement: str, values: Values) -> list[Row]:
        """What a SELECT finds."""

    async def changed(self, statement: str, values: Values) -> int:
        """How many rows a statement changed; kept when this returns."""

    async def close(self) -> None:
        """Close the connection. It may be asked again."""


def open_asker(url: str, *, writes: bool) -> Asker:
    """writes: whether it may change anything."""
    if is_postgres(url):
        return PostgresAsker(url)
    return SqliteAsker(url, writes=writes)


class SqliteAsker:
    def __init__(self, url: str, *, writes: bool) -> None:
        self._path: Path = database_path(url)
        self._pragmas = pragmas(checkpoints=False) + ([] if writes else ["PRAGMA query_only=1"])
        self._connection: aiosqlite.Connection | None = None
        self._turn = asyncio.Lock()

    async def rows(self, statement: str, values: Values) -> list[Row]:
        async def ask(connection: aiosqlite.Connection) -> list[Row]:
            return [tuple(row) for row in await connection.execute_fetchall(statement, dict(values))]

        return await self._ask(ask)

    async def changed(self, statement: str, values: Values) -> int:
        async def ask(connection: aiosqlite.Connection) -> int:
            async with connection.execute(statement, dict(values)) as cursor:
                return cursor.rowcount

        return await self._ask(ask)

    async def close(self) -> None:
        async with self._turn:
            await self._drop()

    async def _ask(self, ask: Callable[[aiosqlite.Connection], Awaitable[T]]) -> T:
        async with self._turn:
            try:
                if self._connection is None:
                    self._connection = await self._connect()
                return await ask(self._connection)
            except sqlite3.Error as error:
                await self._drop()
                raise Unavailable("the database does not answer", detail=str(error)) from error

    async def _connect(self) -> aiosqlite.Connection:
        if not self._path.exists():
            raise sqlite3.OperationalError(f"no database at {self._path}")
        connection = await aiosqlite.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            for pragma in self._pragmas:
                await connection.execute(pragma)
        except sqlite3.Error:
            await connection.close()
            raise
        return connection

    async def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()


class PostgresAsker:
    def __init__(self, url: str) -> None:
        from llmgw.stores.postgres import PostgresEngine

        self._engine = PostgresEngine(url, ASK_S)

    async def rows(self, statement: str, values: Values) -> list[Row]:
        from sqlalchemy import text

        def ask(connection: Connection) -> list[Row]:
            return [tuple(row) for row in connection.execute(text(statement), dict(values))]

        return await self._engine.run(ask)

    async def changed(self, statement: str, values: Values) -> int:
        from sqlalchemy import text

        def ask(connection: Connection) -> int:
            return connection.execute(text(statement), dict(values)).rowcount

        return await self._engine.run(ask)

    async def close(self) -> None:
        await self._engine.close()
