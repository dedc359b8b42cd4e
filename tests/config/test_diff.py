"""Differences in meaning, and whom they concern."""

from __future__ import annotations

from typing import Any

from llmgw.config.diff import changes
from llmgw.config.load import document_from_text

BASE = """
version: 1
providers:
  a: {kind: echo}
  b: {kind: openai, api_key: "${env:B}"}
models:
  m: {targets: [{provider: a, model: x}]}
limits: {per_tenant: {requests: 100, window: 1m}}
tenants:
  acme: {users: {alice: {}}}
  bolt: {}
"""


def shown(text: str) -> dict[str, Any]:
    return document_from_text(text).model_dump(mode="json")


def found(text: str) -> dict[str, tuple[str, str]]:
    return {change.path: (change.kind, change.affects) for change in changes(shown(BASE), shown(text))}


def test_order_comments_and_defaults_are_no_difference() -> None:
    text = BASE.replace("  a: {kind: echo}\n", "").replace("models:", "  a: {kind: echo} # moved\nmodels:")

    assert found(text) == {}


def test_added_and_removed_things_are_told_whole() -> None:
    text = BASE.replace("  bolt: {}", "  core: {}").replace("models:\n", "models:\n  n: {targets: [a/y]}\n")
    text = text.replace("[a/y]", "[{provider: a, model: y}]")

    assert found(text) == {
        "models.n": ("added", "model n"),
        "tenants.core": ("added", "tenant core"),
        "tenants.bolt": ("removed", "tenant bolt"),
    }


def test_a_target_inside_a_model() -> None:
    assert found(BASE.replace("model: x", "model: z")) == {
        "models.m.targets[0].model": ("changed", "model m")
    }


def test_a_limit_that_is_for_everybody() -> None:
    changed = found(BASE.replace("requests: 100", "requests: 200"))

    assert list(changed.values()) == [("changed", "everybody")]
    assert next(iter(changed)).startswith("limits.per_tenant")


def test_a_limit_of_one_user() -> None:
    changed = found(BASE.replace("alice: {}", "alice: {limits: {per_user: {requests: 5, window: 1m}}}"))

    assert {who for _, who in changed.values()} == {"tenant acme, user alice"}


def test_another_reference_to_a_secret_but_never_a_secret() -> None:
    (change,) = changes(shown(BASE), shown(BASE.replace("env:B", "env:C")))

    assert (change.path, change.before, change.after) == ("providers.b.api_key", "${env:B}", "${env:C}")
    assert "sk-live" not in str(changes(shown(BASE), shown(BASE.replace("${env:B}", "sk-live"))))


def test_keys_are_known_by_their_id() -> None:
    digest = "sha256:" + "0" * 64

    def keys(*ids: str) -> dict[str, Any]:
        return {"tenants": {"t": {"keys": [{"id": one, "hash": digest} for one in ids]}}}

    (change,) = changes(keys("one", "two"), keys("three", "two", "one"))

    assert (change.kind, change.path) == ("added", "tenants.t.keys.three")
    assert change.affects == "tenant t, key three"
