from __future__ import annotations

import pytest

from llmgw.dialects.anthropic_models import facts_of


@pytest.mark.parametrize(
    ("model", "budget", "adaptive", "sampling"),
    [
        ("claude-v2:1", False, False, True),
        ("claude-instant-1.2", False, False, True),
        ("claude-3-opus-20240229", False, False, True),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", False, False, True),
        ("claude-3-7-sonnet-latest", True, False, True),
        ("claude-sonnet-4-20250514", True, False, True),
        ("claude-opus-4@20250514", True, False, True),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", True, False, True),
        ("claude-opus-4-6", True, True, True),
        ("anthropic/claude-4.7-opus", False, True, False),
        ("claude-opus-4-8", False, True, False),
        ("claude-fable-5", False, True, False),
        ("claude-mythos-preview", False, True, False),
        ("deepseek-chat", True, False, True),
    ],
)
def test_name_tells(model: str, budget: bool, adaptive: bool, sampling: bool) -> None:
    facts = facts_of(model)

    assert (facts.budget, facts.adaptive, facts.sampling) == (budget, adaptive, sampling)


def test_date_is_no_minor_version() -> None:
    assert not facts_of("claude-opus-4-20250514").one_sampler
    assert facts_of("claude-opus-4-1-20250805").one_sampler


def test_old_models_are_not_asked_for_more_than_they_give() -> None:
    limits = [
        facts_of(name).max_output for name in ("claude-3-haiku-20240307", "claude-3-5-haiku", "claude-opus-4")
    ]

    assert limits == [4096, 8192, 32_000]
