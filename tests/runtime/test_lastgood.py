from __future__ import annotations

import stat
from pathlib import Path

from llmgw.config.load import load_document
from llmgw.runtime.lastgood import LastGood

TEXT = """version: 1
providers:
  b: {kind: openai, api_key: "${env:B}"}
  c: {kind: openai, api_key: sk-canary-key}
models: {m: {targets: [{provider: c, model: x}]}}
alerts: {webhook: "https://hooks.example.com/canary-path"}
tenants: {t: {providers: {d: {kind: openai, api_key: sk-canary-own}}}}
"""


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    """Nobody else can read it, and nothing else is left beside it."""
    path = tmp_path / "llmgw.yaml"
    path.write_text(TEXT)
    document = load_document(path, {})
    kept = LastGood(tmp_path)
    assert kept.unwritten

    kept.write(document)

    assert not kept.unwritten
    assert stat.S_IMODE((tmp_path / "lastgood").stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir() if "lastgood" in one.name] == ["lastgood"]
    again = LastGood(tmp_path).read()
    assert again is not None
    assert again.generation == document.generation
    assert again.document["providers"]["b"]["api_key"] == "${env:B}"


def test_n02_a_secret_in_plain_text_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "llmgw.yaml"
    path.write_text(TEXT)

    LastGood(tmp_path).write(load_document(path, {}))

    assert "canary" not in (tmp_path / "lastgood").read_text()


def test_nothing_or_something_else_is_nothing(tmp_path: Path) -> None:
    kept = LastGood(tmp_path)
    assert kept.read() is None
    for text in ("", "{", "[]", '{"generation": "x"}'):
        (tmp_path / "lastgood").write_text(text)
        assert kept.read() is None
