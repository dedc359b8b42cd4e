from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from llmgw.cli.db import app
from llmgw.cli.problems import CliError
from llmgw.stores.schema_version import HEAD
from tests.fakes.postgres import ESCAPED, postgres_server


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "llmgw.yaml"
    path.write_text("version: 1\nproviders: {demo: {kind: echo}}\n")
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "-c", str(config)])


def status(config: Path) -> Any:
    result = run(config, "status", "--format", "json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    return row


def change(tmp_path: Path, statement: str) -> None:
    connection = sqlite3.connect(tmp_path / "llmgw.db")
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_from_nothing_to_current(config: Path, tmp_path: Path) -> None:
    before = status(config)
    assert (before["state"], before["revision"], before["head"]) == ("fresh", None, HEAD)
    assert "db migrate" in before["next"]
    assert not (tmp_path / "llmgw.db").exists()

    for _ in range(2):
        assert run(config, "migrate").exit_code == 0

    after = status(config)
    assert (after["state"], after["revision"], after["next"]) == ("current", HEAD, "")
    assert "current" in run(config, "status").stdout


def test_m16_a_newer_schema_is_refused(config: Path, tmp_path: Path) -> None:
    run(config, "migrate")
    change(tmp_path, "UPDATE alembic_version SET version_num = '9999'")

    assert status(config)["state"] == "ahead"
    result = run(config, "migrate")
    assert isinstance(result.exception, CliError)
    assert "newer llmgw" in str(result.exception)


def test_foreign_tables_are_refused(config: Path, tmp_path: Path) -> None:
    change(tmp_path, "CREATE TABLE customers (id INTEGER)")

    assert status(config)["state"] == "foreign"
    assert isinstance(run(config, "migrate").exception, CliError)


@pytest.mark.parametrize("command", ["migrate", "status"])
def test_m03_a_damaged_file_is_refused_with_a_hint(config: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "llmgw.db").write_bytes(b"not a database" * 500)

    result = run(config, command)

    assert isinstance(result.exception, CliError)
    assert "move the file away" in str(result.exception)


def test_a_trial_changes_nothing(config: Path, tmp_path: Path) -> None:
    result = run(config, "migrate", "--dry-run")
    assert "would get 0001" in result.stdout
    assert not (tmp_path / "llmgw.db").exists()
    run(config, "migrate")

    assert "needs nothing" in run(config, "migrate", "--dry-run").stdout


def test_m15_a_backup_is_a_database(config: Path, tmp_path: Path) -> None:
    run(config, "migrate")
    assert run(config, "backup", str(tmp_path / "copy.db")).exit_code == 0

    (tmp_path / "llmgw.db").unlink()
    (tmp_path / "copy.db").rename(tmp_path / "llmgw.db")
    assert status(config)["state"] == "current"


@pytest.fixture
def postgres_config(tmp_path: Path) -> Iterator[Path]:
    with postgres_server().database() as url:
        path = tmp_path / "postgres.yaml"
        path.write_text(f"version: 1\nproviders: {{demo: {{kind: echo}}}}\nstorage: {{url: '{url}'}}\n")
        yield path


def test_postgresql_from_nothing_to_current(postgres_config: Path) -> None:
    assert status(postgres_config)["state"] == "fresh"
    assert "would get 0001" in run(postgres_config, "migrate", "--dry-run").stdout
    assert status(postgres_config)["state"] == "fresh"
    for _ in range(2):
        assert run(postgres_config, "migrate").exit_code == 0
    found = status(postgres_config)
    assert (found["state"], found["revision"]) == ("current", HEAD)
    assert ESCAPED not in str(found)


def test_postgresql_backs_itself_up(postgres_config: Path, tmp_path: Path) -> None:
    problem = run(postgres_config, "backup", str(tmp_path / "x.dump")).exception

    assert isinstance(problem, CliError)
    assert "pg_dump --format=custom --file=" in str(problem)
    assert ESCAPED not in str(problem)


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("sqlite:///x.db", "--to must look like postgresql://"),
        ("postgresql://h", "--to must name one database"),
        ("postgresql://u:${env:NOT_THERE}@h/d", "--to environment variable NOT_THERE is not set"),
        ("postgresql://a:b@127.0.0.1:1/x", "cannot be used"),
    ],
)
def test_a_target_that_cannot_be_is_one_line(config: Path, to: str, said: str) -> None:
    run(config, "migrate")

    problem = run(config, "copy", "--to", to).exception

    assert isinstance(problem, CliError)
    assert said in str(problem)
