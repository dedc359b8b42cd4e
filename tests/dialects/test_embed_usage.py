from __future__ import annotations

import msgspec
import pytest

from llmgw.core.usage import Usage
from llmgw.dialects.embed_usage import (
    Meta,
    PromptCount,
    parse_prompt_count,
    parse_prompt_eval_count,
    parse_tokens,
    parse_units,
)
from llmgw.dialects.usage_taps import WireUsage


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        ({"prompt_tokens": 7, "total_tokens": 7}, Usage(7)),
        ({"total_tokens": 15}, Usage(15)),
        ({"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}, Usage(3, 1)),
        ({}, None),
        ({"total_tokens": -1}, None),
        ({"total_tokens": "many"}, None),
    ],
)
def test_tokens(wire: object, usage: Usage | None) -> None:
    assert parse_tokens(msgspec.convert(wire, WireUsage)) == usage


@pytest.mark.parametrize(
    ("units", "usage"),
    [
        ({"input_tokens": 7}, Usage(7)),
        ({"input_tokens": 7.0}, Usage(7)),
        ({"search_units": 2}, Usage(searches=2)),
        ({"images": 1}, None),
        ({"input_tokens": True}, None),
    ],
)
def test_units(units: object, usage: Usage | None) -> None:
    assert parse_units(msgspec.convert({"billed_units": units}, Meta)) == usage


def test_nothing_is_told() -> None:
    assert parse_tokens(None) is None
    assert parse_units(None) is None
    assert parse_units(Meta()) is None
    assert parse_prompt_count(None) is None
    assert parse_prompt_count(PromptCount()) is None
    assert parse_prompt_eval_count(None) is None


def test_counts_of_prompts() -> None:
    assert parse_prompt_count(PromptCount(0, 9)) == Usage(0)
    assert parse_prompt_count(PromptCount(None, 9)) == Usage(9)
    assert parse_prompt_eval_count(4) == Usage(4)
