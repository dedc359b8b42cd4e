"""Quantities are read exactly, or refused with an example."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from llmgw.config.quantities import (
    MAX_AMOUNT,
    Amount,
    Budget,
    Money,
    Percent,
    parse_count,
    parse_duration,
    parse_money,
    parse_percent,
    parse_price,
    parse_size,
    render_duration,
    render_percent,
    render_size,
    render_usd,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("1d", 86400),
        ("1w", 604800),
        ("1.5s", 1.5),
        (0, 0),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("512B", 512), ("32KiB", 32768), ("32MiB", 33554432), ("1MB", 1000000), ("1.5GiB", 1610612736)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "count"), [(100, 100), ("100", 100), ("10k", 10000), ("2M", 2000000), ("1.5k", 1500)]
)
def test_counts(text: object, count: int) -> None:
    assert parse_count(text) == count


def test_shares_are_parts_per_million() -> None:
    assert [parse_percent(text) for text in ("20%", "0.5%", "100 %")] == [200_000, 5_000, 1_000_000]


def test_money_is_whole_nano_usd() -> None:
    assert parse_money("50 USD") == 50_000_000_000
    assert parse_money("0.000000001 USD") == 1


def test_prices_are_nano_usd_per_million_tokens() -> None:
    """A price per thousand tokens is the same price as a thousand times it per million."""
    assert parse_price("2.50 USD/M") == 2_500_000_000
    assert parse_price("0.0025 USD/k") == parse_price("2.5USD / M")


@pytest.mark.parametrize(
    ("parse", "value", "reason"),
    [
        (parse_duration, 30, "needs a unit"),
        (parse_duration, "30", "needs a unit"),
        (parse_duration, "30 sec", "unknown unit"),
        (parse_duration, "0.0001ms", "more decimals"),
        (parse_duration, "-1s", "not a duration"),
        (parse_duration, "off", "not a duration"),
        (parse_duration, True, "true is not a duration"),
        (parse_duration, None, "null is not a duration"),
        (parse_size, 32, "needs a unit"),
        (parse_size, "32mb", "unknown unit"),
        (parse_count, "1.5", "more decimals"),
        (parse_count, [], "not a count"),
        (parse_percent, "120%", "more than 100%"),
        (parse_percent, 0.5, "not a share"),
        (parse_money, 50, "write it like 50 USD"),
        (parse_money, "50 EUR", "not an amount"),
        (parse_money, "0.0000000001 USD", "more decimals"),
        (parse_price, "2.5", "per million tokens"),
        (parse_price, 2.5, "not a price"),
    ],
)
def test_what_is_refused(parse: object, value: object, reason: str) -> None:
    """The reason names the value and shows the right form."""
    assert callable(parse)
    with pytest.raises(ValueError, match=reason):
        parse(value)


@given(st.integers(0, 10**12))
def test_durations_survive_rendering(milliseconds: int) -> None:
    assert parse_duration(render_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.integers(0, 2**40))
def test_sizes_survive_rendering(size: int) -> None:
    assert parse_size(render_size(size)) == size


@given(st.integers(0, 10**15))
def test_prices_survive_rendering(price: int) -> None:
    assert parse_price(f"{render_usd(price)} USD/M") == price


@given(st.integers(0, 10**6))
def test_shares_survive_rendering(ppm: int) -> None:
    assert parse_percent(render_percent(ppm)) == ppm


@pytest.mark.parametrize(("kind", "text"), [(Money, "0.5 USD"), (Budget, "1000 USD"), (Percent, "12.5%")])
def test_money_and_shares_are_shown_with_units(kind: object, text: str) -> None:
    adapter: TypeAdapter[int] = TypeAdapter(kind)

    assert adapter.dump_python(adapter.validate_python(text), mode="json") == text


@pytest.mark.parametrize(
    ("kind", "largest", "refused", "reason"),
    [
        (Amount, "1000G", "1001G", r"1001000000000 is more than 10\^12"),
        (Budget, "1000000000 USD", "1000000000.1 USD", r"1000000000.1 USD is more than 10\^9 USD"),
    ],
)
def test_absurd_amounts(kind: object, largest: str, refused: str, reason: str) -> None:
    """A slip of the unit is no limit."""
    adapter: TypeAdapter[int] = TypeAdapter(kind)

    assert adapter.validate_python(largest) >= MAX_AMOUNT
    with pytest.raises(ValueError, match=reason):
        adapter.validate_python(refused)


def test_negative_amounts_render() -> None:
    assert render_usd(-1_500_000_000) == "-1.5"
