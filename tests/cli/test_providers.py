"""`llmgw providers`: list and test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEXT = """\
version: 1
providers:
  demo: {kind: echo}
  dead: {kind: openai_compatible, base_url: "http://127.0.0.1:9/v1", allow_private: true}
  idle: {kind: echo}
models:
  echo: {targets: [{provider: demo, model: echo}]}
  gone: {targets: [{provider: demo, model: other}, {provider: dead, model: x}]}
tenants:
  acme: {providers: {demo: {kind: echo}}}
  rival: {}
"""


@pytest.fixture(autouse=True)
def config(tmp_path: Path) -> Path:
    file = tmp_path / "llmgw.yaml"
    file.write_text(TEXT)
    return file


def test_list_says_what_goes_where(llmgw: Callable[..., Any]) -> None:
    outcome = llmgw("providers", "list", "--format", "json")

    rows = {(row["tenant"], row["provider"]): row for row in json.loads(outcome.out)}
    assert outcome.code == 0
    assert rows[None, "demo"]["models"] == ["echo", "gone"]
    assert rows["acme", "demo"]["models"] == ["echo", "gone"]
    assert rows[None, "dead"]["base_url"] == "http://127.0.0.1:9/v1"
    assert rows[None, "idle"]["models"] == []


def test_a_target_that_answers(llmgw: Callable[..., Any]) -> None:
    outcome = llmgw("providers", "test", "demo", "--model", "echo", "--format", "json")

    shared, own = json.loads(outcome.out)
    assert outcome.code == 0
    assert (shared["tenant"], shared["ok"], shared["verdict"]) == (None, True, "answers")
    assert shared["input_tokens"] > 0
    assert own["tenant"] == "acme"


def test_a_target_that_cannot_be_reached_is_exit_code_1(llmgw: Callable[..., Any]) -> None:
    outcome = llmgw("providers", "test", "dead", "--format", "json")

    (row,) = json.loads(outcome.out)
    assert outcome.code == 1
    assert (row["ok"], row["verdict"]) == (False, "the upstream could not be reached; see the base_url")


def test_what_cannot_be_asked_is_said(llmgw: Callable[..., Any]) -> None:
    unknown = llmgw("providers", "test", "nobody")
    idle = llmgw("providers", "test", "idle")

    assert (unknown.code, idle.code) == (1, 1)
    assert "there is no provider 'nobody'" in unknown.err
    assert "no model goes to idle; name one of its own with --model" in idle.err


MORE = """\
version: 1
providers:
  demo: {kind: echo}
  trial: {kind: echo}
  vip: {kind: echo}
  covered: {kind: echo}
  idle: {kind: echo}
models:
  echo: {targets: [{provider: demo, model: echo}], mirror: {target: {provider: trial, model: t}, share: 1%}}
  own: {targets: [{provider: covered, model: c}]}
routes:
  - {name: r, match: {tenant: acme}, targets: [{provider: vip, model: v}]}
tenants:
  acme: {providers: {covered: {kind: echo}, vip: {kind: echo}}}
  rival: {providers: {covered: {kind: echo}}}
"""


def test_every_target_is_called_those_of_routes_and_on_trial_too(
    llmgw: Callable[..., Any], config: Path
) -> None:
    """Providers that are never asked are left out, and do not keep the others from it."""
    config.write_text(MORE)

    outcome = llmgw("providers", "test", "--format", "json")

    assert (outcome.code, outcome.err) == (0, "")
    assert [(row["tenant"], row["provider"], row["model"]) for row in json.loads(outcome.out)] == [
        (None, "demo", "echo"),
        (None, "trial", "t"),
        ("acme", "covered", "c"),
        ("acme", "vip", "v"),
        ("rival", "covered", "c"),
    ]
    assert llmgw("providers", "test", "covered", "--format", "json").code == 0
