from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from llmgw.stores.migrate import SCRIPTS
from llmgw.stores.schema_version import (
    HEAD,
    REVISIONS,
    SchemaState,
    create_schema,
    schema_revision,
    schema_state,
)
from llmgw.stores.sqlite import DatabaseProblem, connect


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/deep/u.db"


def change(url: str, *statements: str) -> None:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_the_known_revisions_are_the_scripts() -> None:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(SCRIPTS))

    assert scripts.get_heads() == [HEAD]
    assert [script.revision for script in scripts.walk_revisions()] == list(reversed(REVISIONS))


def test_looking_makes_no_file(url: str, tmp_path: Path) -> None:
    assert schema_state(url) is SchemaState.FRESH
    assert schema_revision(url) is None
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_fresh(tmp_path: Path) -> None:
    (tmp_path / "u.db").touch()

    assert schema_state(f"sqlite:///{tmp_path}/u.db") is SchemaState.FRESH


def test_a_made_schema_is_current(url: str) -> None:
    create_schema(url)

    assert schema_state(url) is SchemaState.CURRENT
    assert schema_revision(url) == HEAD


def test_making_it_twice_keeps_what_is_there(url: str) -> None:
    create_schema(url)
    change(url, "UPDATE meta SET value = 7")
    create_schema(url)

    connection = connect(Path(url.removeprefix("sqlite:///")), checkpoints=False)
    assert connection.execute("SELECT name, value FROM meta").fetchall() == [("keys_changed_seq", 7)]
    connection.close()


def test_m16_a_newer_schema_is_ahead(url: str) -> None:
    create_schema(url)
    change(url, "UPDATE alembic_version SET version_num = '9999'")

    assert schema_state(url) is SchemaState.AHEAD


def test_an_older_known_schema_is_behind(url: str) -> None:
    create_schema(url)
    change(url, "UPDATE alembic_version SET version_num = '0001'")

    assert schema_state(url) is SchemaState.BEHIND


def test_tables_of_somebody_else_are_foreign(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/other.db"
    change(url, "CREATE TABLE customers (id INTEGER)")

    assert schema_state(url) is SchemaState.FOREIGN


def test_a_file_that_is_no_database_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "u.db").write_bytes(b"x" * 5000)

    with pytest.raises(DatabaseProblem):
        schema_state(f"sqlite:///{tmp_path}/u.db")
    with pytest.raises(DatabaseProblem):
        create_schema(f"sqlite:///{tmp_path}/u.db")


def test_a_start_loads_neither_sqlalchemy_nor_alembic(url: str) -> None:
    """What `serve` needs of this package costs it milliseconds."""
    code = (
        "import sys; from llmgw.stores import alerts, drain, journal, keys, schema_version; "
        f"schema_version.create_schema({url!r}); schema_version.schema_state({url!r}); "
        "print(sorted({'sqlalchemy', 'alembic', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
