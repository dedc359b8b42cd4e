from __future__ import annotations

from pathlib import Path

import pytest

from llmgw.config.load import load_document
from llmgw.config.vendors import VENDORS
from tests.fakes.process import llmgw


@pytest.mark.parametrize("providers", [[], ["echo"], ["openai", "groq", "vllm"], list(VENDORS)])
def test_what_it_writes_is_valid(tmp_path: Path, providers: list[str]) -> None:
    options = [word for name in providers for word in ("--provider", name)]

    done = llmgw("init", *options, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "llmgw serve" in done.stdout
    document = load_document(tmp_path / "llmgw.yaml", {})
    assert list(document.providers) == (providers or ["openai"])


def test_it_does_not_overwrite(tmp_path: Path) -> None:
    (tmp_path / "llmgw.yaml").write_text("mine")

    refused = llmgw("init", cwd=tmp_path)

    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert (tmp_path / "llmgw.yaml").read_text() == "mine"
    assert llmgw("init", "--force", cwd=tmp_path).returncode == 0


def test_an_unknown_provider_is_named(tmp_path: Path) -> None:
    refused = llmgw("init", "--provider", "grok", cwd=tmp_path)

    assert refused.returncode == 1
    assert '"grok"' in refused.stderr
    assert not (tmp_path / "llmgw.yaml").exists()
