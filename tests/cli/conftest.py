"""The program, run in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmgw.cli.app import main


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended: exit code, and what it wrote."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def llmgw(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs `llmgw` with arguments, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["llmgw", *arguments])
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        written = capsys.readouterr()
        assert "Traceback" not in written.err
        return Outcome(code if isinstance(code, int) else int(code is not None), written.out, written.err)

    return run
