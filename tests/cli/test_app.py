"""The table of commands: quick to list, imported one at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from llmgw.cli.app import COMMANDS

HEAVY = ("pydantic", "sqlalchemy", "uvicorn", "starlette", "yaml", "rich", "msgspec", "tiktoken", "alembic")


def test_help_lists_every_command(llmgw: Callable[..., Any]) -> None:
    outcome = llmgw("--help")

    assert outcome.code == 0
    assert outcome.err == ""
    for name, entry in COMMANDS.items():
        assert any(line.split()[:1] == [name] and entry.help in line for line in outcome.out.splitlines())


def test_help_imports_no_command() -> None:
    """Listing the commands costs nothing of what they need."""
    code = (
        "import sys\nsys.argv = ['llmgw', '--help']\nfrom llmgw.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('loaded:', [name for name in {HEAVY} if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert "loaded: []" in ran.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists(name: str, llmgw: Callable[..., Any]) -> None:
    """Each has help of its own, and the table is right about groups."""
    module, _, attribute = COMMANDS[name].target.partition(":")
    assert hasattr(import_module(module), attribute)

    outcome = llmgw(name, "--help")

    assert outcome.code == 0
    assert f" {name} " in outcome.out.splitlines()[0] + outcome.out.splitlines()[1]
    assert ("COMMAND [ARGS]" in outcome.out) == COMMANDS[name].group


@pytest.mark.parametrize(
    "words", [["serve"], ["config", "check"], ["keys", "list"], ["usage", "report"], ["db", "status"]]
)
def test_without_a_configuration(words: list[str], llmgw: Callable[..., Any]) -> None:
    """Every command that needs one says what to do."""
    outcome = llmgw(*words)

    assert outcome.code == 1
    assert outcome.out == ""
    assert "llmgw init" in outcome.err


def test_misuse(llmgw: Callable[..., Any]) -> None:
    """Exit code 2, on stderr."""
    for arguments in (
        ("servee",),
        ("--nope",),
        ("version", "--nope"),
        ("version", "--format", "xml"),
        ("config", "x"),
        ("keys", "show"),
        ("usage", "report", "--format", "x"),
    ):
        outcome = llmgw(*arguments)

        assert outcome.code == 2
        assert outcome.out == ""
        assert "Usage: " in outcome.err


def test_refusal(llmgw: Callable[..., Any]) -> None:
    """Exit code 1, and one clear line on stderr that says what to do."""
    outcome = llmgw("config", "check")

    assert outcome.code == 1
    assert outcome.out == ""
    assert (
        outcome.err
        == "error: no configuration at llmgw.yaml; run `llmgw init` to write one, or name it with -c\n"
    )


def test_operating_system_refuses(llmgw: Callable[..., Any]) -> None:
    """A file that cannot be written is a refusal, not a crash."""
    outcome = llmgw("init", "-c", "missing/llmgw.yaml")

    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert "missing/llmgw.yaml" in outcome.err
