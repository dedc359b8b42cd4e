"""Secrets from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmgw.ports.secrets import SecretUnavailable
from llmgw.secrets.file import MAX_SIZE, FileSource


def test_relative_to_the_base(tmp_path: Path) -> None:
    """A line break at the end is the editor's, not the secret's."""
    (tmp_path / "key").write_text("sk-1\r\n")

    found = FileSource(tmp_path).read("key")

    assert (found.value, found.warning) == ("sk-1", None)


def test_absolute(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-1")

    assert FileSource(Path("/nowhere")).read(str(tmp_path / "key")).value == "sk-1"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"x" * (MAX_SIZE + 1), "is larger than"),
    ],
)
def test_m13_unusable(content: bytes | None, reason: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)

    with pytest.raises(SecretUnavailable, match=reason):
        FileSource(tmp_path).read("key")


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(SecretUnavailable, match="Is a directory"):
        FileSource(tmp_path).read(".")
