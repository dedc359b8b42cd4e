from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmgw.core.program import python


def run(directory: Path, monkeypatch: pytest.MonkeyPatch) -> subprocess.CompletedProcess[str]:
    """A module that imports one whose name a file in the working directory has."""
    (directory / "secrets.py").write_text("print('from here')\n")
    place = directory / "elsewhere"
    place.mkdir()
    (place / "program_of_ours.py").write_text("import secrets\n")
    monkeypatch.chdir(directory)
    return subprocess.run(
        python("program_of_ours"),
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=True,
    )


def test_a_file_in_the_working_directory_hides_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])

    assert run(tmp_path, monkeypatch).stdout == ""


def test_it_finds_what_this_process_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a checkout, where the working directory holds the program itself."""
    monkeypatch.syspath_prepend(str(tmp_path))

    assert run(tmp_path, monkeypatch).stdout == "from here\n"


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert "-P" in python("program_of_ours")
