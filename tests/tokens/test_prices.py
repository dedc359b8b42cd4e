"""Overrides come before the table, and answers are remembered only while they hold."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from llmgw.tokens.prices import MAX_REMEMBERED, PriceTable, UnitPrices

CHEAP = UnitPrices(input=1, output=2)


def table(**overrides: UnitPrices) -> PriceTable:
    return PriceTable({key.replace("__", "/"): value for key, value in overrides.items()})


def test_from_the_table() -> None:
    """Without an override, the shipped price; asked twice, the same object."""
    prices = table()
    found = prices.unit_prices("main", "openai", None, "gpt-4o")

    assert found is not None
    assert found.source.endswith("openai/gpt-4o")
    assert prices.unit_prices("main", "openai", None, "gpt-4o") is found


def test_override_by_exact_key() -> None:
    """An override is for one provider by its configured name, and replaces the whole row."""
    prices = PriceTable({"azure-eu/gpt-4o": CHEAP})
    found = prices.unit_prices("azure-eu", "azure_openai", None, "gpt-4o")

    assert found is not None
    assert found == CHEAP.named("override azure-eu/gpt-4o")
    assert found.cached_input is None
    other = prices.unit_prices("azure-us", "azure_openai", None, "gpt-4o")
    assert other is not None
    assert other.source.startswith("genai-prices")


def test_override_by_pattern() -> None:
    """The exact key wins, then the pattern that says most."""
    prices = PriceTable(
        {
            "*/*": UnitPrices(input=1),
            "azure-eu/gpt-4*": UnitPrices(input=2),
            "azure-eu/gpt-4o*": UnitPrices(input=3),
            "azure-eu/gpt-4o": UnitPrices(input=4),
            "router/meta/llama-?": UnitPrices(input=5),
            "router/[x]*": UnitPrices(input=6),
        }
    )

    def input_of(provider: str, model: str) -> int | None:
        found = prices.unit_prices(provider, "echo", None, model)
        return found.input if found else None

    assert input_of("azure-eu", "gpt-4o") == 4
    assert input_of("azure-eu", "gpt-4o-mini") == 3
    assert input_of("azure-eu", "gpt-4.1") == 2
    assert input_of("demo", "echo") == 1
    assert input_of("router", "meta/llama-3") == 5
    assert input_of("router", "meta/llama-33") == 1
    assert input_of("router", "[x]y") == 6


def test_unknown_stays_unknown() -> None:
    """An unknown price is None each time it is asked for, never zero."""
    prices = table()

    assert prices.unit_prices("demo", "echo", None, "echo") is None
    assert prices.unit_prices("demo", "echo", None, "echo") is None


def test_key_without_a_slash() -> None:
    """An override must say provider and model."""
    with pytest.raises(ValueError, match="provider/model"):
        PriceTable({"gpt-4o": CHEAP})


def test_remembered_only_while_it_holds() -> None:
    """A price for the night is looked up again in the morning, and back."""
    prices = table()
    inputs = []
    for hour in (12, 13, 20, 21, 12):
        moment = datetime(2026, 6, 15, hour, tzinfo=UTC).timestamp()
        found = prices.unit_prices("ds", "openai_compatible", "deepseek", "deepseek-chat", at_s=moment)
        assert found is not None
        inputs.append(found.input)

    assert inputs[0] == inputs[1] == inputs[4] != inputs[2] == inputs[3]


def test_memory_is_bounded() -> None:
    """Names that callers invent do not grow the memory without end."""
    prices = PriceTable({"demo/*": CHEAP})
    for number in range(MAX_REMEMBERED + 10):
        prices.unit_prices("demo", "echo", None, f"m{number}")

    assert len(prices._remembered) <= MAX_REMEMBERED
