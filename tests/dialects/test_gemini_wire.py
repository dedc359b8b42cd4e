"""What Gemini's answers count."""

from __future__ import annotations

import pytest

from llmgw.core.usage import Usage
from llmgw.dialects.gemini_wire import WireUsage, parse_usage


def test_thoughts_and_tools_are_counted_in() -> None:
    wire = WireUsage(
        prompt_token_count=10,
        tool_use_prompt_token_count=3,
        candidates_token_count=5,
        thoughts_token_count=4,
        cached_content_token_count=6,
    )

    assert parse_usage(wire) == Usage(13, 9, 6, 0, 4)


@pytest.mark.parametrize("value", [-1, 10**12, True, "5", []])
def test_g19_a_count_that_cannot_be_makes_the_others_unbelieved(value: object) -> None:
    assert parse_usage(WireUsage(prompt_token_count=10, candidates_token_count=value)) is None
    assert parse_usage(WireUsage(prompt_token_count=value, candidates_token_count=5)) is None
