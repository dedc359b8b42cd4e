"""`llmgw config`: check, show, schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmgw.config.load import document_from_text

TEXT = """\
version: 1
providers:
  a: {kind: openai, api_key: "${env:LLMGW_TEST_KEY}"}
  b: {kind: openai, api_key: sk-live-literal}
models: {m: {targets: [{provider: a, model: x}]}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "llmgw.yaml"
    file.write_text(TEXT)
    return file


@pytest.mark.usefixtures("config")
def test_check(llmgw: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets belong to it; a warning is no failure."""
    monkeypatch.setenv("LLMGW_TEST_KEY", "sk-1\n")

    outcome = llmgw("config", "check")

    assert outcome.code == 0
    assert "llmgw.yaml is valid: 2 shared providers, 1 shared models, 1 tenants, generation" in outcome.out
    assert (
        "warning: llmgw.yaml:3 providers.a.api_key: environment variable LLMGW_TEST_KEY ends in"
        in outcome.err
    )


@pytest.mark.usefixtures("config")
def test_check_without_the_secret(llmgw: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMGW_TEST_KEY", raising=False)

    outcome = llmgw("config", "check")

    assert outcome.code == 1
    assert "llmgw.yaml:3 providers.a.api_key: environment variable LLMGW_TEST_KEY is not set" in outcome.err


def test_check_of_a_broken_file(llmgw: Callable[..., Any], config: Path) -> None:
    config.write_text("version: 1\nproviders: {a: {kind: echo}}\nlimts: 1\nadmin: 1\n")

    outcome = llmgw("config", "check", "-c", str(config))

    assert outcome.code == 1
    assert outcome.out == ""
    assert "llmgw.yaml:3 limts: unknown key" in outcome.err
    assert "llmgw.yaml:4 admin: not available in this version" in outcome.err


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("format", ["yaml", "json"])
def test_n01_show(format: str, llmgw: Callable[..., Any]) -> None:
    """What is shown has every default, no secret, and loads again as the same configuration."""
    outcome = llmgw("config", "show", "--format", format)

    shown = yaml.safe_load(outcome.out) if format == "yaml" else json.loads(outcome.out)
    assert shown["server"]["drain_timeout"] == "5m"
    assert shown["providers"]["a"]["api_key"] == "${env:LLMGW_TEST_KEY}"
    assert "sk-live-literal" not in outcome.out
    again = document_from_text(outcome.out)
    assert again.models == document_from_text(TEXT).models
    assert again.server == document_from_text(TEXT).server


def test_schema(llmgw: Callable[..., Any]) -> None:
    assert json.loads(llmgw("config", "schema").out)["title"] == "llmgw configuration"
