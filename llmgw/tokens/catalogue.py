"""The shipped price table: the package `genai-prices`, read as integers.

Its import takes a quarter of a second and 20 MB (an HTTP client comes along, for updates that are
never started here), so it happens at the first price asked for, or in `load`. Nothing here opens
a connection or starts a thread.

Its own look-up keeps every model name it was ever asked for. Names may come from callers, so the
table is searched without it, and `llmgw.tokens.prices` keeps a bounded memory in its place.

Prices below a nano-USD per million tokens do not occur; the few that were binary fractions
(0.18000000000000002) are rounded to that, half to even.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING

from llmgw.tokens.unit_prices import UnitPrices

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

MAX_MODEL_NAME = 256
_NANO = Decimal(10**9)

# Kinds that are one seller; what `openai_compatible` talks to is named by its vendor or its URL.
_PROVIDER_OF_KIND = {
    "openai": "openai",
    "azure_openai": "azure",
    "anthropic": "anthropic",
    "mistral": "mistral",
    "gemini": "google",
    "vertex": "google",
    "bedrock": "aws",
    "cohere": "cohere",
}
_PROVIDER_OF_VENDOR = {"xai": "x-ai", "moonshot": "moonshotai", "voyage": "voyageai"}

_TOKEN_PRICES = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok", "output_reasoning_mtok")


@dataclass(frozen=True, slots=True)
class Quote:
    """Prices and how long they hold: Unix seconds, from `since` until just before `until`."""

    prices: UnitPrices | None
    since: float
    until: float


def load() -> None:
    """Import the table now. Takes a quarter of a second: for start-up, in a thread."""
    _providers()


def quote(provider_kind: str, vendor: str | None, base_url: str | None, model: str, at_s: float) -> Quote:
    """The table's prices for an upstream model at a moment.

    Their seller is known by the provider's kind, else by its vendor, else by its base URL.
    """
    now = datetime.fromtimestamp(at_s, UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    moments = [midnight, midnight + timedelta(days=1)]
    prices = None
    provider = _find_provider(provider_kind, vendor, base_url)
    if provider is not None and len(model) <= MAX_MODEL_NAME:
        info = provider.find_model(model, all_providers=_providers())
        if info is not None:
            moments += (datetime.combine(now.date(), change) for change in _changes_of_day(info))
            prices = _unit_prices(info.get_prices(now), f"{_table()} {provider.id}/{info.id}")
    since = max(moment for moment in moments if moment <= now)
    until = min(moment for moment in moments if moment > now)
    return Quote(prices, since.timestamp(), until.timestamp())


def context_window(provider_kind: str, vendor: str | None, base_url: str | None, model: str) -> int | None:
    """The tokens that fit into an upstream model, None where the table does not say."""
    provider = _find_provider(provider_kind, vendor, base_url)
    if provider is None or len(model) > MAX_MODEL_NAME:
        return None
    info = provider.find_model(model, all_providers=_providers())
    return info.context_window if info is not None else None


def _table() -> str:
    from genai_prices import __version__

    return f"genai-prices {__version__}"


def _providers() -> list[Provider]:
    from genai_prices.data import providers

    return providers


def _find_provider(kind: str, vendor: str | None, base_url: str | None) -> Provider | None:
    known = _PROVIDER_OF_KIND.get(kind)
    if known is None and vendor is not None:
        known = _PROVIDER_OF_VENDOR.get(vendor, vendor)
    if known is not None:
        return next((provider for provider in _providers() if provider.id == known), None)
    if base_url is None:
        return None
    return next((provider for provider in _providers() if re.match(provider.api_pattern, base_url)), None)


def _changes_of_day(info: ModelInfo) -> Iterator[time]:
    """The times of day, in UTC, at which a model's price may change."""
    from genai_prices.types import ModelPrice, TimeOfDateConstraint

    if isinstance(info.prices, ModelPrice):
        return
    for conditional in info.prices:
        if isinstance(conditional.constraint, TimeOfDateConstraint):
            for moment in (conditional.constraint.start_time, conditional.constraint.end_time):
                on_a_day = datetime.combine(datetime(2000, 1, 1), moment)
                aware = on_a_day if moment.tzinfo is not None else on_a_day.replace(tzinfo=UTC)
                yield aware.astimezone(UTC).timetz()


def _unit_prices(price: ModelPrice, source: str) -> UnitPrices | None:
    """A row of the table as ours; None when it sells nothing by the token."""
    from genai_prices.types import TieredPrices

    values = [getattr(price, key) for key in _TOKEN_PRICES]
    if all(value is None for value in values):
        return None
    starts = {tier.start for value in values if isinstance(value, TieredPrices) for tier in value.tiers}
    tiers = tuple((start, _prices_above(price, start)) for start in sorted(starts))
    return replace(_prices_above(price, -1), tiers=tiers, source=source)


def _prices_above(price: ModelPrice, start: int) -> UnitPrices:
    """The prices of a prompt of more than `start` tokens, up to the next step."""
    return UnitPrices(
        input=_nano(price.input_mtok, start),
        cached_input=_nano(price.cache_read_mtok, start),
        cache_write=_nano(price.cache_write_mtok, start),
        output=_nano(price.output_mtok, start),
        reasoning=_nano(price.output_reasoning_mtok, start),
        per_request=(_nano(price.requests_kcount, start) or 0) // 1000,
    )


def _nano(usd: Decimal | TieredPrices | None, start: int) -> int | None:
    """A price in nano-USD: the last step of it that begins at or before `start`."""
    if usd is None:
        return None
    if not isinstance(usd, Decimal):
        usd = next((tier.price for tier in reversed(usd.tiers) if tier.start <= start), usd.base)
    return int((usd * _NANO).to_integral_value(ROUND_HALF_EVEN))
