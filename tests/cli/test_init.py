"""`llmgw init` writes a configuration that works."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmgw.config.load import load_document
from llmgw.config.resolve import secrets_of
from llmgw.config.vendors import VENDORS

NAMES = ["openai", "echo", *VENDORS]


@pytest.mark.parametrize("name", NAMES)
def test_one_provider(name: str, llmgw: Callable[..., Any]) -> None:
    """Valid as written, its credentials named and not held."""
    assert llmgw("init", "--provider", name).code == 0

    document = load_document(Path("llmgw.yaml"), {})

    assert list(document.providers) == [name]
    assert document.passthrough("default") == name
    assert all(secret.references for _, secret in secrets_of(document))


@pytest.mark.parametrize("pair", [*itertools.pairwise(NAMES), ("openai", "groq"), ("echo", "echo")])
def test_several_providers(pair: tuple[str, str], llmgw: Callable[..., Any]) -> None:
    assert llmgw("init", "--provider", pair[0], "--provider", pair[1]).code == 0

    document = load_document(Path("llmgw.yaml"), {})

    assert list(document.providers) == list(dict.fromkeys(pair))


def test_default_and_next_steps(llmgw: Callable[..., Any]) -> None:
    """It asks nothing, and says what to do next."""
    outcome = llmgw("init")

    assert list(load_document(Path("llmgw.yaml"), {}).providers) == ["openai"]
    for step in ("export OPENAI_API_KEY=", "llmgw config check", "llmgw serve", "llmgw keys create"):
        assert step in outcome.out


def test_what_exists_is_kept(llmgw: Callable[..., Any]) -> None:
    Path("llmgw.yaml").write_text("mine")

    outcome = llmgw("init")

    assert outcome.code == 1
    assert "--force" in outcome.err
    assert Path("llmgw.yaml").read_text() == "mine"
    assert llmgw("init", "--force").code == 0
    assert load_document(Path("llmgw.yaml"), {})


def test_another_file(llmgw: Callable[..., Any]) -> None:
    outcome = llmgw("init", "-c", "other.yaml", "--provider", "vllm")

    assert load_document(Path("other.yaml"), {}).providers
    assert "llmgw serve -c other.yaml" in outcome.out
    assert "export" not in outcome.out


def test_unknown_provider(llmgw: Callable[..., Any]) -> None:
    outcome = llmgw("init", "--provider", "grok")

    assert outcome.code == 1
    assert 'no provider is known as "grok"' in outcome.err
    assert not Path("llmgw.yaml").exists()
