"""The configuration a command works with."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmgw.cli.problems import CliError
from llmgw.cli.session import load, load_unresolved

TEXT = "version: 1\nproviders: {x: {kind: openai, api_key: '${env:LLMGW_TEST_KEY}'}}\n"


def test_secrets_are_read_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report needs no credential."""
    file = tmp_path / "llmgw.yaml"
    file.write_text(TEXT)
    monkeypatch.delenv("LLMGW_TEST_KEY", raising=False)

    assert load_unresolved(file).providers
    with pytest.raises(CliError, match="environment variable LLMGW_TEST_KEY is not set"):
        load(file)

    monkeypatch.setenv("LLMGW_TEST_KEY", "sk-1")
    assert load(file).providers["x"].api_key.get_secret_value() == "sk-1"  # type: ignore[union-attr]


def test_file_secrets_start_at_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "llmgw.yaml").write_text(TEXT.replace("${env:LLMGW_TEST_KEY}", "${file:x.key}"))
    (tmp_path / "x.key").write_text("sk-2\n")

    document = load(tmp_path / "llmgw.yaml")

    assert document.providers["x"].api_key.get_secret_value() == "sk-2"  # type: ignore[union-attr]


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="cannot be read: Is a directory"):
        load_unresolved(tmp_path)


def test_several_problems(tmp_path: Path) -> None:
    """One error, a line for each problem."""
    file = tmp_path / "llmgw.yaml"
    file.write_text("version: 2\nproviders: {x: {kind: ech}}\n")

    with pytest.raises(CliError) as caught:
        load_unresolved(file)

    lines = str(caught.value).splitlines()
    assert lines[0] == f"{file} has 2 problems:"
    assert lines[1].endswith("llmgw.yaml:1 version: must be 1")
    assert 'did you mean "echo"?' in lines[2]
