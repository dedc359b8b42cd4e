"""Brings a database to the current schema, by Alembic's scripts in `migrations/`.

All or nothing: everything happens in one transaction, so a script that fails leaves the schema
that was there. Two callers at once, of one host or of many: the second waits, on PostgreSQL for
an advisory lock, and finds nothing left to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmgw.core.errors import Unavailable
from llmgw.stores.database import Database, SqliteDatabase, open_database
from llmgw.stores.schema_version import HEAD, REVISIONS, SchemaState, check_database, schema_state
from llmgw.stores.schema_version import schema_revision as _revision
from llmgw.stores.sqlite import DatabaseProblem, database_path
from llmgw.stores.urls import is_postgres, shown

if TYPE_CHECKING:
    from sqlalchemy import Connection

SCRIPTS = Path(__file__).with_name("migrations")
LOCK = 0x6C6C6D6777_01
"""PostgreSQL's advisory lock of migrations."""
_WAIT = "60s"
_MIGRATION_S = 3600.0
_REFUSED = {
    SchemaState.AHEAD: "was written by a newer llmgw; run that one, or go back to a copy made before",
    SchemaState.FOREIGN: "holds tables that are not llmgw's; name another {} in storage.url",
}


class _TriedOnly(Exception):
    """Takes back what a trial did."""


def refuse_unusable(url: str) -> SchemaState:
    """The state of a schema that this program can use or mend.

    Raises DatabaseProblem for a newer program's schema, foreign tables or a damaged file.
    """
    check_database(url)
    state = schema_state(url)
    if state in _REFUSED:
        place = "database" if is_postgres(url) else "file"
        raise DatabaseProblem(f"the database {shown(url)} {_REFUSED[state].format(place)}")
    return state


def pending(url: str) -> tuple[str, ...]:
    """The revisions that `migrate` would add, oldest first. Raises DatabaseProblem."""
    state = refuse_unusable(url)
    if state is SchemaState.FRESH:
        return REVISIONS
    if state is not SchemaState.BEHIND:
        return ()
    return REVISIONS[REVISIONS.index(_revision(url) or "") + 1 :]


def migrate(url: str, scripts: Path = SCRIPTS, to: str = HEAD, *, dry_run: bool = False) -> None:
    """Bring the schema to the current revision; makes the file if there is none.

    dry_run: everything is tried and taken back. A file that is not there is not made.
    Raises DatabaseProblem.
    """
    if refuse_unusable(url) is SchemaState.NEWER:
        return
    if is_postgres(url):
        from llmgw.stores.postgres import PostgresDatabase

        database: Database = PostgresDatabase(url, _MIGRATION_S)
    else:
        path = database_path(url)
        if dry_run and not path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        database = open_database(url)

    def work(connection: Connection) -> None:
        _upgrade(connection, scripts, to)
        if dry_run:
            raise _TriedOnly

    try:
        if isinstance(database, SqliteDatabase) and not dry_run:
            with database.engine.connect() as connection:
                # Kept in the file, and only possible outside a transaction.
                connection.connection.cursor().execute("PRAGMA journal_mode=WAL")
        database.write(work)
    except _TriedOnly:
        return
    except Unavailable as error:
        raise DatabaseProblem(f"the database {shown(url)} was not migrated: {error.detail}") from error
    finally:
        database.dispose()


def _upgrade(connection: Connection, scripts: Path, to: str) -> None:
    # Imported here: Alembic costs 300 ms and only this function needs it.
    from alembic import command
    from alembic.config import Config

    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_WAIT}'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, to)
