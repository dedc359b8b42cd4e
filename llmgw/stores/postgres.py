"""How this program uses PostgreSQL: SQLAlchemy Core over asyncpg, a few connections a process.

asyncpg reads the URL itself, so that what libpq knows of it is known here too: several hosts,
`sslmode`, `sslrootcert`, `target_session_attrs`. Everything has an end in time: connecting, each
transaction, a lock that is waited for.

Only a gateway whose `storage.url` names PostgreSQL loads this module.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

try:
    import asyncpg
except ImportError:  # pragma: no cover - the extra is installed wherever tests run
    asyncpg = None
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from llmgw.core.errors import Unavailable
from llmgw.stores.sqlite import DatabaseProblem
from llmgw.stores.urls import shown

T = TypeVar("T")

CONNECT_S = 5.0
WORK_S = 30.0
_CLOSE_S = 2.0
_SESSION = "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '30s'"
_NUL = "\N{SYMBOL FOR NULL}"
"""PostgreSQL's texts hold no NUL character; this one is kept in its place."""
OLDEST_SERVER = 140_000


class PostgresEngine:
    """A database, for whoever runs an event loop. One connection, kept.

    within_s: how long connecting, and each transaction, may take.
    """

    def __init__(self, url: str, within_s: float = WORK_S) -> None:
        if asyncpg is None:
            raise DatabaseProblem(
                "storage.url names PostgreSQL, whose driver is not installed; "
                "run `pip install 'llmgw[postgres]'`"
            )
        self._within_s = within_s
        self._engine = _engine(url, within_s)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, out of one transaction. Raises Unavailable."""
        try:
            async with asyncio.timeout(self._within_s), self._engine.connect() as connection:
                return await _transaction(connection, work)
        except TimeoutError as error:
            raise unavailable(f"no answer within {self._within_s:g} s") from error
        except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise unavailable(reason(error)) from error

    async def close(self) -> None:
        """Close the connection. A server that is away does not keep this waiting."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._engine.dispose()
        except TimeoutError:
            await self._engine.dispose(close=False)


async def _transaction(connection: AsyncConnection, work: Callable[[Connection], T]) -> T:
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    assert driver is not None
    try:
        async with connection.begin():
            return await connection.run_sync(work)
    except (asyncio.CancelledError, OSError):
        # Whoever asks this connection anything would wait for an answer that does not come.
        driver.terminate()
        raise


def _engine(url: str, within_s: float) -> AsyncEngine:
    address = f"postgresql{url[url.index('://') :]}"

    async def connect() -> Any:  # Any: the driver has no types
        connection = await asyncpg.connect(
            address,
            timeout=min(CONNECT_S, within_s),
            server_settings={"application_name": "llmgw"},
        )
        await connection.execute(_SESSION)
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, pool_size=1, max_overflow=0, pool_pre_ping=True
    )

    @event.listens_for(engine.sync_engine, "before_cursor_execute", retval=True)
    def bind(  # Any: SQLAlchemy's own
        connection: Any, cursor: Any, statement: str, values: Any, context: Any, many: bool
    ) -> tuple[str, Any]:
        return statement, _without_nul(values)

    return engine


def _without_nul(values: Any) -> Any:  # Any: whatever is bound to a statement
    if isinstance(values, str):
        return values.replace("\0", _NUL) if "\0" in values else values
    if isinstance(values, tuple | list):
        return type(values)(map(_without_nul, values))
    if isinstance(values, dict):
        return {name: _without_nul(value) for name, value in values.items()}
    return values


class PostgresDatabase:
    """Implements `database.Database`, with an event loop in a thread of its own."""

    def __init__(self, url: str, within_s: float = WORK_S) -> None:
        self._engine = PostgresEngine(url, within_s)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def read(self, work: Callable[[Connection], T]) -> T:
        loop = self._running_loop()
        asked: Future[T] = asyncio.run_coroutine_threadsafe(self._engine.run(work), loop)
        try:
            return asked.result()
        except BaseException:
            # Whoever is interrupted here does not wait for the end of the work.
            asked.cancel()
            raise

    def write(self, work: Callable[[Connection], T]) -> T:
        return self.read(work)

    def dispose(self) -> None:
        with self._starting:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._engine.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="llmgw-postgres", daemon=True
                )
                self._thread.start()
            return self._loop


def unavailable(why: str) -> Unavailable:
    return Unavailable("the database does not answer", detail=why)


def reason(error: BaseException) -> str:
    """What the server or the network said, in one line, without statement and values."""
    if isinstance(error, DBAPIError):
        origin = error.orig
        error = (origin.__cause__ or origin) if origin is not None else error
    return " ".join((str(error) or type(error).__name__).split())


def check_server(url: str) -> None:
    """Look whether the server can be used. Raises DatabaseProblem saying what to do."""
    database = PostgresDatabase(url, CONNECT_S)
    try:
        version, encoding, read_only, standby = database.read(_look)
    except Unavailable as error:
        raise DatabaseProblem(f"the database {shown(url)} cannot be used: {_hint(error)}") from error
    finally:
        database.dispose()
    if version < OLDEST_SERVER:
        raise DatabaseProblem(
            f"the database {shown(url)} runs on PostgreSQL {version // 10_000}; "
            f"llmgw needs {OLDEST_SERVER // 10_000} or newer"
        )
    if encoding != "UTF8":
        raise DatabaseProblem(
            f"the database {shown(url)} is encoded in {encoding}; make one with `createdb --encoding=UTF8`"
        )
    if standby or read_only:
        raise DatabaseProblem(
            f"the database {shown(url)} takes no writes: it is a standby or read-only; name the primary, "
            "or several hosts and target_session_attrs=read-write"
        )


def _look(connection: Connection) -> tuple[int, str, bool, bool]:
    found = connection.exec_driver_sql(
        "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), "
        "current_setting('transaction_read_only') = 'on', pg_is_in_recovery()"
    ).one()
    return found[0], found[1], found[2], found[3]


_HINTS: dict[str, str] = {
    "InvalidPasswordError": "check the user and the password in storage.url",
    "InvalidAuthorizationSpecificationError": "check the user in storage.url and the server's pg_hba.conf",
    "InvalidCatalogNameError": "make it with `createdb`",
    "TooManyConnectionsError": "raise max_connections, or use fewer workers: each takes one or two",
    "ConnectionRefusedError": "is PostgreSQL running there?",
    "gaierror": "check the host in storage.url",
}


def _hint(error: Unavailable) -> str:
    """The reason, and what to do where that is known."""
    cause = error.__cause__
    if isinstance(cause, DBAPIError) and cause.orig is not None:
        cause = cause.orig.__cause__
    hints = [_HINTS[kind.__name__] for kind in type(cause).__mro__ if kind.__name__ in _HINTS]
    return "; ".join([error.detail or error.message, *hints[:1]])
