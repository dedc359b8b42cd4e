"""The prices that hold for a tenant's requests: its overrides, else the shipped table.

An override is keyed "provider/model" by the provider's name in the configuration, with `*` and
`?` as in file names ("azure-eu/gpt-4*"). It replaces the whole row: a class it leaves out is
priced as `llmgw.tokens.unit_prices` says, never from the table. The exact key wins, then the
pattern with the most literal characters, then the one that comes first.

Answers are remembered, because looking one up in the table takes a tenth of a millisecond, and
only as long as they hold: some models have a price for the night. Names may come from callers,
so what is remembered is bounded.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from fnmatch import translate

from llmgw.tokens.catalogue import Quote, load, quote
from llmgw.tokens.unit_prices import (
    TokenCounts,
    UnitPrices,
    cost_nano_usd,
    parse_unit_prices,
    worst_cost_nano_usd,
)

__all__ = [
    "PriceTable",
    "TokenCounts",
    "UnitPrices",
    "cost_nano_usd",
    "load",
    "parse_unit_prices",
    "worst_cost_nano_usd",
]

MAX_REMEMBERED = 4096
_FOREVER = (float("-inf"), float("inf"))


class PriceTable:
    """Unit prices by provider and upstream model."""

    __slots__ = ("_exact", "_patterns", "_remembered")

    def __init__(self, overrides: Mapping[str, UnitPrices]) -> None:
        """overrides: by "provider/model". Raises ValueError for a key without a slash."""
        self._exact: dict[str, UnitPrices] = {}
        patterns: list[tuple[int, re.Pattern[str], UnitPrices]] = []
        for key, prices in overrides.items():
            if "/" not in key:
                raise ValueError(f"a price override is keyed provider/model, not {key!r}")
            named = prices.named(f"override {key}")
            wild = key.count("*") + key.count("?")
            if wild:
                patterns.append((len(key) - wild, re.compile(translate(key.replace("[", "[[]"))), named))
            else:
                self._exact[key] = named
        patterns.sort(key=lambda entry: -entry[0])
        self._patterns = [(pattern, prices) for _, pattern, prices in patterns]
        self._remembered: dict[tuple[str, str, str | None, str | None, str], Quote] = {}

    def unit_prices(
        self,
        provider_name: str,
        provider_kind: str,
        vendor: str | None,
        model: str,
        *,
        base_url: str | None = None,
        at_s: float | None = None,
    ) -> UnitPrices | None:
        """The prices of an upstream model, or None when they are not known.

        provider_name: its name in the configuration.
        at_s: the moment, in Unix seconds; now when absent.
        """
        if at_s is None:
            at_s = time.time()
        key = (provider_name, provider_kind, vendor, base_url, model)
        known = self._remembered.get(key)
        if known is None or not known.since <= at_s < known.until:
            prices = self._override(f"{provider_name}/{model}")
            if prices is not None:
                known = Quote(prices, *_FOREVER)
            else:
                known = quote(provider_kind, vendor, base_url, model, at_s)
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = known
        return known.prices

    def _override(self, name: str) -> UnitPrices | None:
        exact = self._exact.get(name)
        if exact is not None:
            return exact
        return next((prices for pattern, prices in self._patterns if pattern.match(name)), None)
