from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmgw import __version__
from llmgw.cli.app import COMMANDS
from tests.fakes.process import llmgw


def test_help_lists_every_command_and_imports_none(tmp_path: Path) -> None:
    """`llmgw --help` is answered from a table."""
    code = (
        "import sys; sys.argv = ['llmgw', '--help']\n"
        "from llmgw.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "heavy = {'pydantic', 'sqlalchemy', 'uvicorn', 'starlette', 'yaml', 'tiktoken'}\n"
        "heavy &= set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout
    assert "HEAVY []" in done.stdout


@pytest.mark.parametrize("command", list(COMMANDS))
def test_each_command_has_help(tmp_path: Path, command: str) -> None:
    done = llmgw(command, "--help", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


@pytest.mark.parametrize(
    "words", [["nope"], ["serve", "--nope"], ["keys", "show"], ["usage", "report", "--format", "x"]]
)
def test_misuse_is_2(tmp_path: Path, words: list[str]) -> None:
    assert llmgw(*words, cwd=tmp_path).returncode == 2


def test_version(tmp_path: Path) -> None:
    assert llmgw("version", cwd=tmp_path).stdout.startswith(f"llmgw {__version__} ")
    assert json.loads(llmgw("version", "--format", "json", cwd=tmp_path).stdout)[0]["version"] == __version__


@pytest.mark.parametrize(
    "words", [["serve"], ["config", "check"], ["keys", "list"], ["usage", "report"], ["db", "status"]]
)
def test_without_a_configuration_it_says_what_to_do(tmp_path: Path, words: list[str]) -> None:
    done = llmgw(*words, cwd=tmp_path)

    assert done.returncode == 1
    assert done.stdout == ""
    assert "llmgw init" in done.stderr
    assert "Traceback" not in done.stderr
