from __future__ import annotations

import pytest

from llmgw.core.usage import Usage
from llmgw.dialects.openai_chat_usage import parse_usage, render_usage


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}, Usage(10, 4)),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 4,
                "total_tokens": 14,
                "prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            Usage(10, 4, 6, 3, 2),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": None}, Usage(10, 4)),
        (
            {"input_tokens": 3, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}},
            Usage(3, 2, 1),
        ),
        ({"prompt_tokens": 5}, Usage(5, 0)),
        ({"prompt_tokens": 5.0, "completion_tokens": 1}, Usage(5, 1)),
    ],
)
def test_openai(wire: object, expected: Usage) -> None:
    assert parse_usage(wire) == expected


def test_deepseek_and_moonshot_count_the_cached_beside() -> None:
    assert parse_usage({"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 8}) == Usage(
        9, 1, 8
    )
    assert parse_usage({"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 7}) == Usage(9, 1, 7)


def test_g22_reasoning_on_top_of_the_output_is_told_by_the_total() -> None:
    """xAI's total is the sum of all three; OpenAI's leaves reasoning within the output."""
    details = {"completion_tokens_details": {"reasoning_tokens": 320}}

    assert parse_usage(
        {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 334, **details}
    ) == Usage(12, 322, 0, 0, 320)
    assert parse_usage(
        {"prompt_tokens": 12, "completion_tokens": 400, "total_tokens": 412, **details}
    ) == Usage(12, 400, 0, 0, 320)


def test_g23_parts_are_clamped_to_their_whole() -> None:
    wire = {
        "prompt_tokens": 24,
        "completion_tokens": 10,
        "total_tokens": 34,
        "prompt_tokens_details": {"cached_tokens": 161, "cache_write_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 11},
    }

    assert parse_usage(wire) == Usage(24, 10, 24, 0, 10)


@pytest.mark.parametrize(
    "wire",
    [
        None,
        [],
        "usage",
        {},
        {"prompt_tokens": None},
        {"prompt_tokens": "5", "completion_tokens": True},
        {"prompt_tokens": 5, "completion_tokens": "7"},
        {"prompt_tokens": [], "completion_tokens": 7},
        {"prompt_tokens": -5, "completion_tokens": 3},
        {"prompt_tokens": 5, "completion_tokens": 10**12},
        {"prompt_tokens": 1e300},
    ],
)
def test_g19_counts_that_cannot_be_tell_nothing(wire: object) -> None:
    assert parse_usage(wire) is None


@pytest.mark.parametrize("usage", [Usage(), Usage(10, 4, 6, 3, 2), Usage(10, 4, 10, 0, 4)])
def test_what_a_client_reads_is_what_was_counted(usage: Usage) -> None:
    assert parse_usage(render_usage(usage)) == usage
