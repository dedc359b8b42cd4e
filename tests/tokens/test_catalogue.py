"""The shipped table, read as integers, agrees with the package's own arithmetic."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data import providers

from llmgw.core.usage import Usage
from llmgw.tokens.catalogue import load, quote
from llmgw.tokens.unit_prices import cost_nano_usd

# Token classes that a usage does not tell apart.
_OTHER_CLASSES = {"output_citation_mtok"}
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)


def at(hour: int, minute: int = 0) -> float:
    return datetime(2026, 6, 15, hour, minute, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("kind", "vendor", "base_url", "model", "source"),
    [
        ("openai", None, None, "gpt-4o", "openai/gpt-4o"),
        ("azure_openai", None, None, "gpt-4o", "azure/gpt-4o"),
        ("anthropic", None, None, "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"),
        ("gemini", None, None, "gemini-2.5-pro", "google/gemini-2.5-pro"),
        ("openai_compatible", "deepseek", None, "deepseek-chat", "deepseek/deepseek-chat"),
        ("openai_compatible", None, "https://api.deepseek.com/v1", "deepseek-chat", "deepseek/deepseek-chat"),
    ],
)
def test_seller(kind: str, vendor: str | None, base_url: str | None, model: str, source: str) -> None:
    """A seller is known by kind, by vendor or by base URL; the source names table and row."""
    prices = quote(kind, vendor, base_url, model, at(12)).prices

    assert prices is not None
    assert prices.source == f"genai-prices {genai_prices.__version__} {source}"
    assert prices.input


def test_xai_by_vendor() -> None:
    """A vendor that the table spells differently is found."""
    assert quote("openai_compatible", "xai", None, "grok-3", at(12)).prices is not None


@pytest.mark.parametrize(
    ("kind", "vendor", "base_url", "model"),
    [
        ("openai", None, None, "no-such-model"),
        ("openai", None, None, "gpt-4o" + "-x" * 200),
        ("openai", None, None, ""),
        ("openai", None, None, "whisper-1"),
        ("echo", None, None, "gpt-4o"),
        ("ollama", None, None, "llama3"),
        ("openai_compatible", "vllm", None, "gpt-4o"),
        ("openai_compatible", None, None, "gpt-4o"),
        ("openai_compatible", None, "http://10.0.0.7:8000/v1", "gpt-4o"),
    ],
)
def test_unknown_is_none(kind: str, vendor: str | None, base_url: str | None, model: str) -> None:
    """Unknown models, unknown sellers and what is not sold by the token have no price, not zero."""
    assert quote(kind, vendor, base_url, model, at(12)).prices is None


def test_gpt_4o_to_the_unit() -> None:
    """2.50, 1.25 and 10 USD per million, as integers."""
    prices = quote("openai", None, None, "gpt-4o", at(12)).prices

    assert prices is not None
    assert (prices.input, prices.cached_input, prices.output) == (
        2_500_000_000,
        1_250_000_000,
        10_000_000_000,
    )


def test_tiers_are_kept() -> None:
    """A long prompt has its own prices."""
    prices = quote("gemini", None, None, "gemini-2.5-pro", at(12)).prices

    assert prices is not None
    assert [(start, tier.input, tier.output) for start, tier in prices.tiers] == [
        (200_000, 2_500_000_000, 15_000_000_000)
    ]
    assert prices.for_input(200_000) is prices


def test_price_by_the_time_of_day() -> None:
    """A price for the night holds for the night, and the quote says until when."""
    night = quote("openai_compatible", "deepseek", None, "deepseek-chat", at(20))
    day = quote("openai_compatible", "deepseek", None, "deepseek-chat", at(12))

    assert night.prices is not None
    assert day.prices is not None
    assert night.prices.input is not None
    assert day.prices.input is not None
    assert night.prices.input < day.prices.input
    assert (day.since, day.until) == (at(0, 30), at(16, 30))
    assert (night.since, night.until) == (at(16, 30), at(24 - 24) + 86_400)


def test_agrees_with_the_package() -> None:
    """For every token-priced model, our integers are the package's decimals to the nano-USD."""
    load()
    seed = 20_260_615
    print(f"seed {seed}")
    dice = random.Random(seed)
    kinds = {
        "openai": "openai",
        "azure": "azure_openai",
        "anthropic": "anthropic",
        "google": "gemini",
        "aws": "bedrock",
    }
    compared = 0
    for provider in providers:
        kind = kinds.get(provider.id, "openai_compatible")
        for info in provider.models:
            prices = quote(kind, provider.id, None, info.id, NOON.timestamp()).prices
            found = provider.find_model(info.id, all_providers=providers)
            if prices is None or found is None or prices.input is None or prices.output is None:
                continue
            row = found.get_prices(NOON)
            values = [value for value in vars(row).values() if value is not None]
            if _OTHER_CLASSES & vars(row).keys() or any(
                (value if isinstance(value, Decimal) else value.base).as_tuple().exponent < -9
                for value in values
            ):
                continue
            cached, written = dice.randint(0, 999), dice.randint(0, 999)
            total = cached + written + dice.choice([0, 1000, 150_000, 250_000, 600_000])
            thought, answer = dice.randint(0, 99), dice.randint(0, 999)
            theirs = found.calc_price(
                genai_prices.Usage(
                    input_tokens=total,
                    cache_read_tokens=cached,
                    cache_write_tokens=written,
                    output_tokens=answer + thought,
                    output_reasoning_tokens=thought,
                ),
                provider,
                genai_request_timestamp=NOON,
            ).total_price
            ours = cost_nano_usd(
                prices,
                Usage(
                    input_tokens=total,
                    cached_tokens=cached,
                    cache_write_tokens=written,
                    output_tokens=answer + thought,
                    reasoning_tokens=thought,
                ),
            )

            assert ours == int((theirs * 10**9).to_integral_value("ROUND_HALF_EVEN")), info.id
            compared += 1
    assert compared > 1000
