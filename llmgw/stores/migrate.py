"""Brings a database to the current schema, by Alembic's scripts in `migrations/`.

All or nothing: everything happens in one transaction, so a script that fails leaves the schema
that was there. Two callers at once: the second waits, and finds nothing left to do.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.exc import DBAPIError

from llmgw.stores.schema_version import HEAD, SchemaState, schema_state
from llmgw.stores.sql import open_engine
from llmgw.stores.sqlite import DatabaseProblem, check_file, database_path

SCRIPTS = Path(__file__).with_name("migrations")
_REFUSED = {
    SchemaState.AHEAD: "was written by a newer llmgw; run that one, or go back to a copy made before",
    SchemaState.FOREIGN: "holds tables that are not llmgw's; name another file in storage.url",
}


def refuse_unusable(url: str) -> SchemaState:
    """The state of a schema that this program can use or mend.

    Raises DatabaseProblem for a newer program's schema, foreign tables or a damaged file.
    """
    check_file(url)
    state = schema_state(url)
    if state in _REFUSED:
        raise DatabaseProblem(f"the database {database_path(url)} {_REFUSED[state]}")
    return state


def migrate(url: str, scripts: Path = SCRIPTS, to: str = HEAD) -> None:
    """Bring the schema to the current revision; makes the file if there is none."""
    # Imported here: Alembic costs 300 ms and only this function needs it.
    from alembic import command
    from alembic.config import Config

    refuse_unusable(url)
    path = database_path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            # Kept in the file, and only possible outside a transaction.
            connection.connection.cursor().execute("PRAGMA journal_mode=WAL")
        with engine.execution_options(write=True).begin() as connection:
            config = Config()
            config.set_main_option("script_location", str(scripts).replace("%", "%%"))
            config.set_main_option("path_separator", "os")
            config.attributes["connection"] = connection
            command.upgrade(config, to)
    except DBAPIError as error:
        raise DatabaseProblem(f"the database {path} was not migrated: {error.orig}") from error
    finally:
        engine.dispose()
