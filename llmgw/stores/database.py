"""A database for whoever may block: commands, the admin API's threads, migrations, the drainer.

Work is a function of a SQLAlchemy connection, so that both databases can run it: SQLite in the
caller's thread, PostgreSQL (`postgres.py`, whose driver is asynchronous) in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from llmgw.core.errors import Unavailable
from llmgw.stores.sqlite import BUSY_TIMEOUT_S, database_path, pragmas
from llmgw.stores.urls import is_postgres

T = TypeVar("T")


class Database(Protocol):
    """Work that raises leaves nothing behind. Raises Unavailable when the database does not answer."""

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, out of one transaction."""

    def write(self, work: Callable[[Connection], T]) -> T:
        """Likewise; what it changed is kept."""

    def dispose(self) -> None:
        """Close what is open."""


def open_database(url: str) -> Database:
    """Nothing is connected before there is work."""
    if is_postgres(url):
        from llmgw.stores.postgres import PostgresDatabase

        return PostgresDatabase(url)
    return SqliteDatabase(url)


class SqliteDatabase:
    """Keeps no idle connection. Writes are short `BEGIN IMMEDIATE` transactions, so that a command
    and the drainer wait for each other instead of failing.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)

    def read(self, work: Callable[[Connection], T]) -> T:
        return _run(self.engine, work)

    def write(self, work: Callable[[Connection], T]) -> T:
        return _run(self.engine.execution_options(write=True), work)

    def dispose(self) -> None:
        self.engine.dispose()


def _run(engine: Engine, work: Callable[[Connection], T]) -> T:
    try:
        with engine.begin() as connection:
            return work(connection)
    except DBAPIError as error:
        raise Unavailable("the database does not answer", detail=str(error.orig)) from error


def _engine(url: str) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(database_path(url))),
        poolclass=NullPool,
        connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:  # Any: the driver's own connection
        for pragma in pragmas(checkpoints=False):
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The driver's own way begins a transaction late, and cannot upgrade it safely.
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
