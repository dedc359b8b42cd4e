"""`prices`: what tokens cost where the shipped table is wrong or silent."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from llmgw.config.quantities import Money, Price
from llmgw.config.section import Section


def _provider_and_model(name: str) -> str:
    provider, _, model = name.partition("/")
    if not provider or not model:
        raise ValueError("a price is for provider/model, such as openai/gpt-4o")
    return name


PricedModel = Annotated[str, AfterValidator(_provider_and_model)]
"""`provider/model`: a provider's name in this file and the upstream's name for the model."""


class PriceSettings(Section):
    """Prices of one model, in `USD/M` (per million tokens). What is absent costs as `input` or `output`."""

    input: Price
    output: Price
    cached: Price | None = None
    """Input read from the provider's prompt cache."""
    cache_write: Price | None = None
    """Input written to the provider's prompt cache."""
    reasoning: Price | None = None
    request: Money = 0
    """Of each request, in USD, beside its tokens; of each search where reranking is billed by searches."""


class PricesSettings(Section):
    overrides: dict[PricedModel, PriceSettings] = Field(default_factory=dict)
    """By `provider/model`. Replaces the shipped price of that model whole."""
