from __future__ import annotations

import pytest

from llmgw.core.facts import UNKNOWN, ModelFacts
from llmgw.core.target import Target
from llmgw.tokens.facts import facts_of


@pytest.mark.parametrize(
    ("kind", "vendor", "model", "context"),
    [
        ("openai", None, "gpt-4o", 128_000),
        ("anthropic", None, "claude-sonnet-4-5", 200_000),
        ("bedrock", None, "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", 200_000),
        ("openai", None, "a-model-that-nobody-sells", None),
        ("openai", None, "m" * 300, None),
        ("echo", None, "echo", None),
    ],
)
def test_the_shipped_data_knows_the_context(
    kind: str, vendor: str | None, model: str, context: int | None
) -> None:
    assert facts_of(Target("p", kind, vendor, model)) == ModelFacts(context=context)


def test_what_the_configuration_says_holds() -> None:
    """Also `false`, which is not the same as unknown."""
    said = ModelFacts(context=5000, images=False)

    assert facts_of(Target("p", "openai", None, "gpt-4o"), said) == said
    assert facts_of(Target("p", "echo", None, "echo"), UNKNOWN) == UNKNOWN
