from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql

from llmgw.stores.database import SqliteDatabase, open_database
from llmgw.stores.migrate import SCRIPTS, migrate, pending, refuse_unusable
from llmgw.stores.schema import metadata, usage_hours
from llmgw.stores.schema_version import (
    HEAD,
    REVISIONS,
    USABLE_FROM,
    SchemaState,
    create_schema,
    schema_revision,
    schema_state,
)
from llmgw.stores.sqlite import DatabaseProblem
from tests.fakes.postgres import PostgresServer

_NEXT = """
revision = "next"
down_revision = "{head}"
branch_labels = None
depends_on = None

def upgrade():
    from alembic import op
    op.execute("ALTER TABLE keys ADD COLUMN note TEXT")
    op.execute("{last}")
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/u.db"


def shape(url: str) -> dict[str, object]:
    """Tables, columns, indexes and first rows, without the spelling of the DDL."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    found: dict[str, object] = {}
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        found[table] = connection.execute(f"PRAGMA table_info({table})").fetchall()
        for index in connection.execute(f"PRAGMA index_list({table})").fetchall():
            columns = connection.execute(f"PRAGMA index_info({index[1]})").fetchall()
            found[f"{table}: {index[1]}"] = (index[2:], columns)
    found["meta rows"] = connection.execute("SELECT * FROM meta").fetchall()
    found["version"] = connection.execute("SELECT * FROM alembic_version").fetchall()
    found["mode"] = connection.execute("PRAGMA journal_mode").fetchall()
    connection.close()
    return found


def test_migrating_an_empty_file_gives_what_a_first_start_makes(url: str, tmp_path: Path) -> None:
    """The quick way and Alembic's way are one schema."""
    migrate(url)
    quick = f"sqlite:///{tmp_path}/quick.db"
    create_schema(quick)

    assert shape(url) == shape(quick)


def test_the_scripts_build_the_tables_of_the_program(url: str) -> None:
    migrate(url)
    engine = SqliteDatabase(url).engine
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_migrating_twice_changes_nothing(url: str) -> None:
    migrate(url)
    before = shape(url)
    migrate(url)

    assert shape(url) == before


def test_an_older_schema_is_brought_up_and_keeps_its_rows(url: str, tmp_path: Path) -> None:
    """What the first release made becomes what a first start makes now."""
    migrate(url, to="0001")
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    with connection:
        connection.execute("UPDATE meta SET value = 7")
    connection.close()
    assert schema_state(url) is SchemaState.BEHIND

    migrate(url)

    quick = f"sqlite:///{tmp_path}/quick.db"
    create_schema(quick)
    assert shape(url) == {**shape(quick), "meta rows": [("keys_changed_seq", 7)]}


def test_two_at_once_both_succeed(url: str) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            migrate(url)
        except BaseException as error:
            failures.append(error)

    # Alembic's context is one to a process, so the second is a waiting first start.
    threads = [threading.Thread(target=run), threading.Thread(target=create_schema, args=(url,))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert schema_state(url) is SchemaState.CURRENT


def newer_scripts(tmp_path: Path, last: str) -> Path:
    scripts = tmp_path / "scripts"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "next.py").write_text(_NEXT.format(head=HEAD, last=last))
    return scripts


def test_m16_a_migration_that_fails_halfway_leaves_the_old_schema(url: str, tmp_path: Path) -> None:
    create_schema(url)
    before = shape(url)

    with pytest.raises(DatabaseProblem, match="was not migrated"):
        migrate(url, newer_scripts(tmp_path, "ALTER TABLE nothing ADD COLUMN x TEXT"), "next")

    assert shape(url) == before


def test_m16_a_database_of_a_newer_program_is_refused(url: str, tmp_path: Path) -> None:
    create_schema(url)
    migrate(url, newer_scripts(tmp_path, "SELECT 1"), "next")
    assert schema_revision(url) == "next"

    with pytest.raises(DatabaseProblem, match="newer llmgw"):
        migrate(url)


def test_foreign_tables_are_refused(url: str) -> None:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.execute("CREATE TABLE customers (id INTEGER)")
    connection.close()

    with pytest.raises(DatabaseProblem, match="not llmgw's"):
        refuse_unusable(url)


# -- PostgreSQL -----------------------------------------------------------------------------------


def test_the_scripts_build_the_tables_on_postgresql(postgres: PostgresServer) -> None:
    """Columns, types and nullability; keys there hold the day's column besides."""
    with postgres.database() as url:
        migrate(url)
        database = open_database(url)
        try:
            found = database.read(_columns)
        finally:
            database.dispose()

    kinds = {"BIGINT": "bigint", "TEXT": "text", "BOOLEAN": "boolean", "NUMERIC": "numeric"}
    for table in (*metadata.tables.values(), usage_hours):
        wanted = {
            (column.name, kinds[column.type.compile(postgresql.dialect())], not column.nullable)
            for column in table.columns
        }
        assert found[table.name] == wanted


def _columns(connection: Connection) -> dict[str, set[tuple[str, str, bool]]]:
    rows = connection.exec_driver_sql(
        "SELECT table_name, column_name, data_type, is_nullable = 'NO' FROM information_schema.columns "
        "WHERE table_schema = current_schema()"
    )
    found: dict[str, set[tuple[str, str, bool]]] = {}
    for table, name, kind, required in rows:
        found.setdefault(table, set()).add((name, kind, required))
    return found


def test_l15_hosts_that_start_at_once_make_one_schema(postgres: PostgresServer) -> None:
    """Each waits for the advisory lock and finds the work done."""
    code = "import sys; from llmgw.stores.schema_version import create_schema; create_schema(sys.argv[1])"
    with postgres.database() as url:
        hosts = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(3)]
        assert [host.wait(60) for host in hosts] == [0, 0, 0]

        assert schema_state(url) is SchemaState.CURRENT


def test_m16_a_migration_that_fails_on_postgresql_leaves_the_schema_that_was(
    postgres: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    script = tmp_path / "scripts" / "versions" / "next.py"
    script.write_text(_NEXT.format(head=HEAD, last="SELECT nothing FROM nowhere"))

    with pytest.raises(DatabaseProblem, match=r"was not migrated.*nowhere"):
        migrate(postgres_url, tmp_path / "scripts", "next")

    assert schema_state(postgres_url) is SchemaState.CURRENT
    script.write_text(_NEXT.format(head=HEAD, last="SELECT 1"))
    migrate(postgres_url, tmp_path / "scripts", "next", dry_run=True)
    assert schema_state(postgres_url) is SchemaState.CURRENT
    migrate(postgres_url, tmp_path / "scripts", "next")
    assert schema_state(postgres_url) is SchemaState.AHEAD


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_l15_a_newer_schema_that_says_so_goes_on_being_used(kind: str, url: str, postgres_url: str) -> None:
    """And `migrate` of the older program leaves it alone."""
    if kind == "postgresql":
        url = postgres_url
    else:
        create_schema(url)
    database = open_database(url)
    database.write(
        lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9'"))
    )
    assert schema_state(url) is SchemaState.AHEAD
    insert = text("INSERT INTO meta VALUES (:name, :value)")
    database.write(lambda c: c.execute(insert, {"name": USABLE_FROM, "value": int(HEAD) + 1}))
    assert schema_state(url) is SchemaState.AHEAD
    change = text("UPDATE meta SET value = :value WHERE name = :name")
    database.write(lambda c: c.execute(change, {"name": USABLE_FROM, "value": int(HEAD)}))
    database.dispose()

    assert schema_state(url) is SchemaState.NEWER
    migrate(url)
    assert pending(url) == ()
    assert schema_revision(url) == "9"


def test_foreign_tables_on_postgresql_are_refused(postgres: PostgresServer) -> None:
    """Another program's Alembic too."""
    with postgres.database() as url:
        postgres.execute(url.rpartition("/")[2], "CREATE TABLE alembic_version (version_num text)")
        with pytest.raises(DatabaseProblem, match="not llmgw's; name another database"):
            refuse_unusable(url)


def test_what_is_missing_is_listed(url: str, postgres: PostgresServer) -> None:
    assert pending(url) == REVISIONS
    migrate(url, dry_run=True)
    assert not Path(url.removeprefix("sqlite:///")).exists()
    migrate(url, to="0001")
    assert pending(url) == REVISIONS[1:]
    migrate(url, dry_run=True)
    assert pending(url) == REVISIONS[1:]
    migrate(url)
    assert pending(url) == ()
