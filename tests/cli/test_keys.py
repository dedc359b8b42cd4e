from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from llmgw.cli.keys import app
from llmgw.cli.problems import CliError
from llmgw.core.api_key import digest, public_id, render_digest
from llmgw.stores.keys import SqlKeyStore

CONFIG = """
version: 1
providers: {demo: {kind: echo}}
models: {echo: {targets: [{provider: demo, model: echo}]}}
tenants:
  acme: {keys: [{id: ci, hash: "sha256:%s"}]}
  other: {}
""" % ("ab" * 32)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "llmgw.yaml"
    path.write_text(CONFIG)
    return path


class Keys:
    def __init__(self, config: Path) -> None:
        self.config = config

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "-c", str(self.config)], prog_name="keys")

    def json(self, *arguments: str) -> Any:
        result = self.run(*arguments, "--format", "json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def error(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert isinstance(result.exception, CliError), result.output
        assert result.stdout == ""
        return str(result.exception)


@pytest.fixture
def keys(config: Path) -> Keys:
    return Keys(config)


async def test_a_fresh_installation_issues_a_key_that_works(keys: Keys, tmp_path: Path) -> None:
    """No database yet: it is made. The key is known by its public id and hash."""
    made = keys.json(
        "create", "--tenant", "acme", "--user", "alice", "--model", "gpt-*", "--model", "echo",
        "--expires", "30d", "--label", "team=a=b",
    )  # fmt: skip

    assert public_id(made["key"]) == made["id"]
    assert made["hash"] == render_digest(digest(made["key"]))
    store = SqlKeyStore(f"sqlite:///{tmp_path}/llmgw.db")
    seq, (entry,) = await store.load()
    await store.close()
    assert seq == 1
    assert entry.digest == digest(made["key"])
    assert (entry.tenant, entry.user, entry.allow_models) == ("acme", "alice", ("gpt-*", "echo"))
    assert entry.labels == {"team": "a=b"}
    assert entry.expires_at is not None


def test_a_key_is_shown_once(keys: Keys) -> None:
    made = keys.json("create", "--tenant", "acme")
    secret = made["key"].rpartition("_")[2]

    for arguments in (("list",), ("show", made["id"]), ("revoke", made["id"])):
        for form in ("table", "json", "csv"):
            assert secret not in keys.run(*arguments, "--format", form).output


def test_a_person_reads_the_key_and_a_warning(keys: Keys) -> None:
    result = keys.run("create", "--tenant", "acme")

    assert "llmgw_" in result.stdout
    assert "not shown again" in result.stderr


def test_list_and_show(keys: Keys) -> None:
    one = keys.json("create", "--tenant", "acme")
    two = keys.json("create", "--tenant", "other")

    assert [row["id"] for row in keys.json("list")] == [one["id"], two["id"]]
    assert [row["id"] for row in keys.json("list", "--tenant", "other")] == [two["id"]]
    assert keys.json("show", one["id"])["state"] == "active"
    assert one["id"] in keys.run("list").stdout
    assert one["id"] in keys.run("show", one["id"]).stdout
    (row,) = csv.DictReader(io.StringIO(keys.run("show", one["id"], "--format", "csv").stdout))
    assert row["tenant"] == "acme"


def test_rotate_and_revoke(keys: Keys) -> None:
    old = keys.json("create", "--tenant", "acme")
    new = keys.json("rotate", old["id"], "--overlap", "1h")
    assert public_id(new["key"]) == new["id"]
    assert new["rotated_from"] == old["id"]
    assert keys.json("show", old["id"])["state"] == "rotated"

    assert keys.json("revoke", new["id"])["state"] == "revoked"
    assert "is revoked" in keys.error("rotate", new["id"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create", "--tenant", "acne"), 'no tenant "acne"'),
        (("create", "--tenant", "acme", "--expires", "soon"), "--expires soon: write 30d"),
        (("create", "--tenant", "acme", "--expires", "2020-01-01"), "passed already"),
        (("create", "--tenant", "acme", "--expires", "99999999d"), "--expires 99999999d: write 30d"),
        (("create", "--tenant", "acme", "--user", "a\nb"), "--user: write 1 to 256"),
        (("create", "--tenant", "acme", "--user", "x" * 257), "--user: write 1 to 256"),
        (("create", "--tenant", "acme", "--label", "x"), "write NAME=VALUE"),
        (("show", "nobody"), "no key has the id"),
        (("revoke", "ci"), "declared in the configuration file"),
        (("rotate", "nobody", "--overlap", "long"), "--overlap"),
        (("rotate", "nobody", "--overlap", "99999999d"), "--overlap 99999999d: is longer"),
        (("show", "'; DROP TABLE keys; --"), "no key has the id"),
    ],
)
def test_refusals_say_what_to_do(keys: Keys, arguments: tuple[str, ...], words: str) -> None:
    assert words in keys.error(*arguments)


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"

    message = Keys(missing).error("list")

    assert str(missing) in message
    assert "llmgw init" in message


def test_help_teaches_with_an_example(keys: Keys) -> None:
    for command in ("create", "rotate"):
        assert "Example:" in CliRunner().invoke(app, [command, "--help"]).stdout
