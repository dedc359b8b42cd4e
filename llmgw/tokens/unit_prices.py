"""What a model's tokens cost, and what a request's tokens come to.

All integers: prices are nano-USD per million tokens (1 USD per million is 1_000_000_000), costs
are nano-USD. A cost is rounded once, half to even, when all its classes are added up.

A class without a price of its own takes the price of the class it is a part of, which is dearer
or equal: cached input and cache writes that of input, reasoning that of output. Where tokens
have no price at all the cost is None: unknown is not free.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec

_MILLION = 1_000_000
_CLASSES = ("input", "cached_input", "cache_write", "output", "reasoning", "per_request")


class TokenCounts(Protocol):
    """Inclusive counts: input holds cached and cache write, output holds reasoning.

    searches: requests that one was billed as, 0 where it is billed by its tokens.
    """

    @property
    def input_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def cache_write_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def reasoning_tokens(self) -> int: ...
    @property
    def searches(self) -> int: ...


@dataclass(frozen=True, slots=True)
class UnitPrices:
    """Nano-USD per million tokens of each class; None where a class has no price of its own.

    per_request: nano-USD for the request itself.
    tiers: for prompts of more than so many input tokens, the prices of the whole request;
        thresholds ascending. A tier has no tiers.
    source: where they come from, "genai-prices 0.2.3 openai/gpt-4o" or "override azure-eu/gpt-4o".
    """

    input: int | None = None
    cached_input: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None
    per_request: int = 0
    tiers: tuple[tuple[int, UnitPrices], ...] = ()
    source: str = ""
    _text: str = field(init=False, repr=False, compare=False, default="")

    def __post_init__(self) -> None:
        if any((getattr(self, name) or 0) < 0 for name in _CLASSES):
            raise ValueError("a price cannot be negative")
        thresholds = [threshold for threshold, _ in self.tiers]
        if thresholds != sorted(set(thresholds)) or any(prices.tiers for _, prices in self.tiers):
            raise ValueError("the tiers of a price ascend and have no tiers of their own")
        object.__setattr__(self, "_text", msgspec.json.encode(self.as_dict()).decode())

    @property
    def is_by_request(self) -> bool:
        """Whether tokens add nothing to the price of the request itself."""
        by_token = (self.input, self.cached_input, self.cache_write, self.output, self.reasoning)
        return self.per_request > 0 and not self.tiers and not any(by_token)

    def as_dict(self) -> dict[str, object]:
        """The prices as plain values, without what is absent."""
        plain: dict[str, object] = {"source": self.source} if self.source else {}
        plain |= {name: value for name in _CLASSES if (value := getattr(self, name)) is not None}
        if not self.per_request:
            del plain["per_request"]
        if self.tiers:
            plain["tiers"] = [[threshold, prices.as_dict()] for threshold, prices in self.tiers]
        return plain

    def as_text(self) -> str:
        """The prices as compact JSON, to be kept with a record. `parse_unit_prices` reads it."""
        return self._text

    def for_input(self, input_tokens: int) -> UnitPrices:
        """The prices of a request with so many input tokens: its tier's, or these."""
        for threshold, prices in reversed(self.tiers):
            if input_tokens > threshold:
                return prices
        return self

    def named(self, source: str) -> UnitPrices:
        return replace(self, source=source)


class _Plain(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON of unit prices."""

    input: int | None = None
    cached_input: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None
    per_request: int = 0
    tiers: tuple[tuple[int, _Plain], ...] = ()
    source: str = ""

    def built(self) -> UnitPrices:
        return UnitPrices(
            input=self.input,
            cached_input=self.cached_input,
            cache_write=self.cache_write,
            output=self.output,
            reasoning=self.reasoning,
            per_request=self.per_request,
            tiers=tuple((threshold, prices.built()) for threshold, prices in self.tiers),
            source=self.source,
        )


def parse_unit_prices(text: str) -> UnitPrices:
    """Prices as `as_text` wrote them. Raises ValueError."""
    try:
        return msgspec.json.decode(text, type=_Plain).built()
    except msgspec.MsgspecError as error:
        raise ValueError(f"not the text of unit prices: {error}") from error


def cost_nano_usd(prices: UnitPrices, usage: TokenCounts) -> int | None:
    """What `usage` costs in nano-USD, rounded half to even; None when a class has no price.

    Counts that contradict each other (cached above input, negative ones) never credit: each part
    counts as reported, and what is left of the whole counts as at least nothing.
    """
    if prices.tiers:
        prices = prices.for_input(usage.input_tokens)
    if not (usage.cached_tokens or usage.cache_write_tokens or usage.reasoning_tokens or prices.per_request):
        if usage.searches:
            return None
        return _plain_cost(prices, usage.input_tokens, usage.output_tokens)
    cached = max(0, usage.cached_tokens)
    written = max(0, usage.cache_write_tokens)
    fresh = max(0, usage.input_tokens - cached - written)
    reasoning = max(0, usage.reasoning_tokens)
    answer = max(0, usage.output_tokens - reasoning)
    total = prices.per_request * max(1, usage.searches) * _MILLION
    for count, own, whole in (
        (fresh, prices.input, None),
        (cached, prices.cached_input, prices.input),
        (written, prices.cache_write, prices.input),
        (answer, prices.output, None),
        (reasoning, prices.reasoning, prices.output),
    ):
        if count:
            price = whole if own is None else own
            if price is None:
                return None
            total += count * price
    return _rounded(total)


def worst_cost_nano_usd(prices: UnitPrices, input_tokens: int, output_tokens: int) -> int | None:
    """The most that so many tokens can cost, whatever classes they turn out to be in."""
    prices = prices.for_input(input_tokens)
    worst = UnitPrices(
        input=_dearest(prices.input, prices.cache_write), output=_dearest(prices.output, prices.reasoning)
    )
    cost = _plain_cost(worst, input_tokens, output_tokens)
    return None if cost is None else cost + prices.per_request


def _dearest(whole: int | None, part: int | None) -> int | None:
    return whole if whole is None or part is None else max(whole, part)


def _plain_cost(prices: UnitPrices, input_tokens: int, output_tokens: int) -> int | None:
    """The common case: nothing but fresh input and an answer."""
    total = 0
    if input_tokens > 0:
        if prices.input is None:
            return None
        total = input_tokens * prices.input
    if output_tokens > 0:
        if prices.output is None:
            return None
        total += output_tokens * prices.output
    return _rounded(total)


def _rounded(total: int) -> int:
    """Millionths of nano-USD as nano-USD, half to even."""
    quotient, rest = divmod(total, _MILLION)
    if rest * 2 > _MILLION or (rest * 2 == _MILLION and quotient & 1):
        quotient += 1
    return quotient
