"""`llmgw reload` and `llmgw config diff` without a gateway; with one: the journeys."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmgw.config.load import load_document
from llmgw.runtime.lastgood import LastGood

TEXT = "version: 1\nproviders: {e: {kind: echo}}\n"


def test_no_gateway_runs(llmgw: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "llmgw.yaml").write_text(TEXT)

    outcome = llmgw("reload")

    assert outcome.code == 1
    assert "no gateway runs on" in outcome.err


def test_a_broken_file_is_told_with_its_place(llmgw: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "llmgw.yaml").write_text(TEXT + "tenant: {}\n")

    outcome = llmgw("reload")

    assert outcome.code == 1
    assert 'llmgw.yaml:3 tenant: unknown key; did you mean "tenants"?' in outcome.err


def test_diff_with_the_last_good(llmgw: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "llmgw.yaml").write_text(TEXT)
    assert llmgw("config", "diff").code == 1

    (tmp_path / ".llmgw").mkdir()
    LastGood(tmp_path / ".llmgw").write(load_document(tmp_path / "llmgw.yaml", {}))
    assert "nothing changes" in llmgw("config", "diff").out
    assert json.loads(llmgw("config", "diff", "--format", "json").out) == []

    (tmp_path / "llmgw.yaml").write_text(TEXT + "tenants: {default: {}, acme: {}}\n")
    (change,) = json.loads(llmgw("config", "diff", "--format", "json").out)
    assert (change["change"], change["path"], change["affects"]) == ("added", "tenants.acme", "tenant acme")
    assert "tenants.acme" in llmgw("config", "diff").out
