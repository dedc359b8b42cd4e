from __future__ import annotations

import pytest

from llmgw.core.usage import Usage
from llmgw.dialects.anthropic_usage import UsageCount, WireUsage, parse_usage, render_usage


def test_cache_is_a_part_of_the_input() -> None:
    """G23: the wire leaves it out of `input_tokens`; ours holds it."""
    wire = WireUsage(2292, 12032, 7, 150, {"thinking_tokens": 40})

    assert parse_usage(wire) == Usage(14331, 150, 7, 12032, 40)


def test_later_counts_replace_and_never_add_up() -> None:
    """G20: the start has the input and a first token or two, a later event only what it has to say."""
    count = UsageCount()
    count.take(WireUsage(416, 0, 9, 3))
    count.take(WireUsage(output_tokens=50))
    count.take(WireUsage(output_tokens=109))

    assert count.usage == Usage(425, 109, 9)


@pytest.mark.parametrize("value", [-1, 10**9 + 1, 10**30, True, "12", 1.5, None, {}])
def test_count_that_cannot_be_tells_nothing(value: object) -> None:
    assert parse_usage(WireUsage(input_tokens=value, output_tokens=value)) is None
    assert parse_usage(WireUsage(10, value, value, 5, {"thinking_tokens": value})) == Usage(10, 5)


@pytest.mark.parametrize("value", [-1, 10**9 + 1, True, "12", 1.5])
def test_g19_one_count_that_cannot_be_makes_the_rest_unbelieved(value: object) -> None:
    """Else an answer would be billed as if it had no output."""
    streamed = UsageCount()
    streamed.take(WireUsage(10, output_tokens=1))
    streamed.take(WireUsage(output_tokens=value))

    assert parse_usage(WireUsage(10, output_tokens=value)) is None
    assert parse_usage(WireUsage(value, output_tokens=10)) is None
    assert streamed.usage is None


@pytest.mark.parametrize("details", [None, 7, "x", [], {"thinking_tokens": "9"}, {}])
def test_details_of_no_known_shape_do_no_harm(details: object) -> None:
    assert parse_usage(WireUsage(1, None, None, 2, details)) == Usage(1, 2)


def test_thinking_is_never_more_than_the_output() -> None:
    assert parse_usage(WireUsage(1, 0, 0, 5, {"thinking_tokens": 9})) == Usage(1, 5, reasoning_tokens=5)


def test_nothing_said_is_no_usage() -> None:
    assert parse_usage(None) is None
    assert parse_usage(WireUsage(cache_read_input_tokens=5)) is None


def test_written_apart_again() -> None:
    usage = Usage(14331, 150, 7, 12032, 40)

    assert render_usage(usage) == {
        "input_tokens": 2292,
        "cache_creation_input_tokens": 12032,
        "cache_read_input_tokens": 7,
        "output_tokens": 150,
        "output_tokens_details": {"thinking_tokens": 40},
    }
    assert render_usage(Usage(5, 1, 9, 9))["input_tokens"] == 0
    assert render_usage(None) == {"input_tokens": 0, "output_tokens": 0}
