from __future__ import annotations

import pytest

from llmgw.dialects.bedrock_families import CLAUDE, GPT_OSS, NOVA, OTHERS, Family, family_of


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", CLAUDE),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", CLAUDE),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-4-1-20250805-v1:0", CLAUDE),
        ("us.amazon.nova-2-lite-v1:0", NOVA),
        ("openai.gpt-oss-120b-1:0", GPT_OSS),
        ("meta.llama3-70b-instruct-v1:0", OTHERS),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", OTHERS),
    ],
)
def test_a_model_is_known_by_its_name(model: str, family: Family) -> None:
    assert family_of(model) is family
