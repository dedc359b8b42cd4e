from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmgw.cli import workers as module
from llmgw.cli.problems import CliError
from llmgw.cli.workers import app

ROWS = [
    {
        "index": index,
        "pid": 41000 + index,
        "state": state,
        "age_s": age,
        "in_flight": 2,
        "generation": "abc",
    }
    for index, (state, age) in enumerate([("serving", 3725), ("leaving", 7)])
]


class Gateway:
    """Answers as a running one does, step by step."""

    def __init__(self) -> None:
        self.rolling: Iterator[dict[str, Any]] = iter(())
        self.asked: list[str] = []

    def ask(self, document: object, command: str) -> object:
        self.asked.append(command)
        if command == "restart_workers":
            return {"workers": 2}
        return {
            "workers": [dict(row) for row in ROWS],
            "restarts": 0,
            "rolling": next(self.rolling, None),
        }


def rolling(replaced: int, *, done: bool = False, failure: str | None = None) -> dict[str, Any]:
    return {"workers": 2, "replaced": replaced, "done": done, "failure": failure}


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    (tmp_path / "llmgw.yaml").write_text("version: 1\nproviders: {e: {kind: echo}}\n")
    monkeypatch.chdir(tmp_path)
    made = Gateway()
    monkeypatch.setattr(module, "ask", made.ask)
    monkeypatch.setattr(module, "_LOOK_S", 0.0)
    return made


def test_list_for_people_and_for_machines(gateway: Gateway) -> None:
    """A process id has no thousands."""
    table = CliRunner().invoke(app, ["list"]).stdout
    plain = json.loads(CliRunner().invoke(app, ["list", "--format", "json"]).stdout)

    assert "41001" in table
    assert "1h 2m" in table
    assert "7s" in table
    assert plain == ROWS


def test_restart_says_how_far_it_is(gateway: Gateway) -> None:
    gateway.rolling = iter([rolling(0), rolling(1), rolling(1), rolling(2, done=True)])

    done = CliRunner().invoke(app, ["restart"])

    assert (done.exit_code, done.stdout) == (0, "1 of 2 replaced\n2 of 2 replaced\n")


def test_restart_without_waiting(gateway: Gateway) -> None:
    done = CliRunner().invoke(app, ["restart", "--no-wait"])

    assert done.exit_code == 0
    assert "llmgw workers list" in done.stdout
    assert gateway.asked == ["restart_workers"]


def test_restart_that_fails_says_who_serves(gateway: Gateway) -> None:
    gateway.rolling = iter([rolling(1, done=True, failure="the disk is on fire")])

    done = CliRunner().invoke(app, ["restart"])

    assert isinstance(done.exception, CliError)
    assert str(done.exception) == "1 of 2 replaced, the others serve on: the disk is on fire"
