from __future__ import annotations

import stat
from pathlib import Path

from llmgw.config.load import load_document
from llmgw.runtime.lastgood import LastGood

TEXT = "version: 1\nproviders: {b: {kind: openai, api_key: '${env:B}'}}\n"


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    """The texts as they were written, the document as it is shown; nobody else can read it."""
    path = tmp_path / "llmgw.yaml"
    path.write_text(TEXT)
    document = load_document(path, {})
    kept = LastGood(tmp_path)
    assert kept.unwritten

    kept.write(document, {str(path): TEXT.encode(), "gone.yaml": None})

    assert not kept.unwritten
    assert stat.S_IMODE((tmp_path / "lastgood").stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir() if "lastgood" in one.name] == ["lastgood"]
    again = LastGood(tmp_path).read()
    assert again is not None
    assert again.generation == document.generation
    assert again.files == {str(path): TEXT}
    assert again.document["providers"]["b"]["api_key"] == "${env:B}"


def test_nothing_or_something_else_is_nothing(tmp_path: Path) -> None:
    kept = LastGood(tmp_path)
    assert kept.read() is None
    for text in ("", "{", "[]", '{"generation": "x"}'):
        (tmp_path / "lastgood").write_text(text)
        assert kept.read() is None
