"""What the project shows as an example works as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmgw.config.load import document_from_text, load_document
from llmgw.config.resolve import resolve_secrets
from llmgw.secrets.env import EnvSource

ROOT = Path(__file__).parent.parent
ENVIRON = dict.fromkeys(
    ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GROQ_API_KEY", "ACME_OPENAI_KEY"), "a"
)


def test_the_example_configuration_is_valid() -> None:
    document = resolve_secrets(load_document(ROOT / "config.example.yaml", {}), [EnvSource(ENVIRON)])

    assert set(document.providers) == {"openai", "claude", "google", "groq", "vllm", "demo"}
    assert document.warnings == ()


@pytest.mark.parametrize("section", ["server", "storage", "alerts"])
def test_the_example_shows_the_defaults(section: str) -> None:
    """Where the example does not say otherwise, its values are the defaults."""
    shown = load_document(ROOT / "config.example.yaml", {}).model_dump()[section]
    default = document_from_text(
        "version: 1\nproviders: {demo: {kind: echo}}", path=ROOT / "config.example.yaml"
    ).model_dump()[section]

    assert shown == default


def test_the_example_limits_somebody_at_every_place() -> None:
    """A tenant, a user and a key each have a rule of their own."""
    document = load_document(ROOT / "config.example.yaml", {})

    limits = {rule.scope for rule in document.limit_rules("acme", "alice@acme.test", None)}
    assert limits == {"", "tenant:acme", "user:acme/alice@acme.test"}
    assert "key:acme/ci" in {rule.scope for rule in document.limit_rules("acme", "ci-bot", "ci")}
    assert {rule.scope for rule in document.all_quota_rules()} == {
        "",
        "tenant:acme",
        "user:acme/alice@acme.test",
        "key:acme/ci",
    }
