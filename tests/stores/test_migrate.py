from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from llmgw.stores.migrate import SCRIPTS, migrate, refuse_unusable
from llmgw.stores.schema import metadata
from llmgw.stores.schema_version import HEAD, SchemaState, create_schema, schema_revision, schema_state
from llmgw.stores.sql import open_engine
from llmgw.stores.sqlite import DatabaseProblem

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
    engine = open_engine(url)
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
