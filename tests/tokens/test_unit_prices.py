"""Costs are exact integers, rounded once, never negative and never free by ignorance."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.usage import Usage
from llmgw.tokens.unit_prices import UnitPrices, cost_nano_usd, parse_unit_prices

USD = 1_000_000_000
GPT_4O = UnitPrices(input=2_500_000_000, cached_input=1_250_000_000, output=10 * USD, source="test")
TIERED = UnitPrices(
    input=USD, output=5 * USD, tiers=((200_000, UnitPrices(input=2 * USD, output=10 * USD)),), source="test"
)

prices = st.none() | st.integers(0, 10**13)
counts = st.integers(0, 10**9)


def test_classes_are_parts_of_the_whole() -> None:
    """Cached tokens are taken out of the input, reasoning is inside the output."""
    usage = Usage(input_tokens=1000, cached_tokens=400, output_tokens=100, reasoning_tokens=60)

    assert cost_nano_usd(GPT_4O, usage) == 600 * 2500 + 400 * 1250 + 100 * 10_000


def test_classes_without_a_price_of_their_own() -> None:
    """Cached and written tokens cost what input costs; own prices win, zero included."""
    usage = Usage(
        input_tokens=100, cached_tokens=30, cache_write_tokens=20, output_tokens=10, reasoning_tokens=4
    )
    plain = UnitPrices(input=USD, output=2 * USD)

    assert cost_nano_usd(plain, usage) == 100 * 1000 + 10 * 2000
    full = replace(plain, cached_input=0, cache_write=3 * USD, reasoning=USD)
    assert cost_nano_usd(full, usage) == 50 * 1000 + 0 + 20 * 3000 + 6 * 2000 + 4 * 1000


def test_unknown_is_not_free() -> None:
    """Tokens without any price make the cost unknown; no such tokens, no harm."""
    embedding = UnitPrices(input=20_000_000)

    assert cost_nano_usd(embedding, Usage(input_tokens=10)) == 200
    assert cost_nano_usd(embedding, Usage(input_tokens=10, output_tokens=1)) is None
    assert cost_nano_usd(UnitPrices(), Usage(input_tokens=1)) is None
    assert cost_nano_usd(UnitPrices(), Usage()) == 0


def test_per_request() -> None:
    """A fee for the request comes on top, once."""
    assert cost_nano_usd(UnitPrices(input=USD, per_request=12_000_000), Usage(input_tokens=1)) == 12_001_000


def test_what_is_priced_by_the_request_alone() -> None:
    """Tokens that are free, or have no price, add nothing to it."""
    assert UnitPrices(per_request=5).is_by_request
    assert UnitPrices(input=0, output=0, per_request=5).is_by_request
    assert not UnitPrices(input=0, output=0).is_by_request
    assert not UnitPrices(input=1, per_request=5).is_by_request
    assert not UnitPrices(per_request=5, tiers=((10, UnitPrices(input=1)),)).is_by_request


def test_searches_are_requests() -> None:
    """A rerank that is billed as three searches costs three requests; without their price, who knows."""
    assert cost_nano_usd(UnitPrices(per_request=2_000_000), Usage(searches=3)) == 6_000_000
    assert cost_nano_usd(UnitPrices(input=USD), Usage(searches=1)) is None
    assert cost_nano_usd(UnitPrices(input=USD), Usage(5)) == 5000


def test_tier_prices_the_whole_request() -> None:
    """Above the threshold, not at it, every token costs the tier's price."""
    assert cost_nano_usd(TIERED, Usage(input_tokens=200_000, output_tokens=1)) == 200_000 * 1000 + 5000
    assert cost_nano_usd(TIERED, Usage(input_tokens=200_001, output_tokens=1)) == 200_001 * 2000 + 10_000


@pytest.mark.parametrize(("tokens", "cost"), [(1, 0), (2, 1), (3, 2), (5, 2), (7, 4)])
def test_g26_half_to_even(tokens: int, cost: int) -> None:
    """Half a nano-USD goes to the even neighbour: 0.5, 1, 1.5, 2.5, 3.5."""
    assert cost_nano_usd(UnitPrices(input=500_000), Usage(input_tokens=tokens)) == cost


def test_g26_rounded_once() -> None:
    """Two halves of different classes are one, not two roundings."""
    half = UnitPrices(input=500_000, output=500_000)

    assert cost_nano_usd(half, Usage(input_tokens=1, output_tokens=1)) == 1


@given(prices, prices, prices, prices, prices, st.integers(0, 10**9), counts, counts, counts, counts, counts)
def test_g26_exact(
    input: int | None,
    cached_input: int | None,
    cache_write: int | None,
    output: int | None,
    reasoning: int | None,
    fee: int,
    fresh: int,
    cached: int,
    written: int,
    answer: int,
    thought: int,
) -> None:
    """The cost is the sum of the classes as a fraction, rounded by Python's own half to even."""
    row = UnitPrices(input, cached_input, cache_write, output, reasoning, fee)
    usage = Usage(
        input_tokens=fresh + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=answer + thought,
        reasoning_tokens=thought,
    )
    total: Fraction | None = Fraction(fee)
    for count, own, whole in (
        (fresh, input, input),
        (cached, cached_input, input),
        (written, cache_write, input),
        (answer, output, output),
        (thought, reasoning, output),
    ):
        price = whole if own is None else own
        if count:
            total = None if price is None or total is None else total + Fraction(count * price, 10**6)

    assert cost_nano_usd(row, usage) == (None if total is None else round(total))


@given(*[st.integers(-(10**12), 10**12)] * 5)
def test_g19_absurd_counts_never_credit(a: int, b: int, c: int, d: int, e: int) -> None:
    """Negative counts and parts larger than the whole cost something or nothing, never less."""
    usage = Usage(input_tokens=a, cached_tokens=b, cache_write_tokens=c, output_tokens=d, reasoning_tokens=e)
    cost = cost_nano_usd(GPT_4O, usage)

    assert cost is not None
    assert cost >= 0


@pytest.mark.parametrize(
    "row", [GPT_4O, TIERED, UnitPrices(), UnitPrices(input=0, per_request=5, source='a"b')]
)
def test_g17_text_reads_back(row: UnitPrices) -> None:
    """The text kept with a record gives the same prices again, so its cost can be computed anew."""
    assert parse_unit_prices(row.as_text()) == row


def test_text() -> None:
    """Compact JSON without what is absent."""
    assert GPT_4O.as_text() == (
        '{"source":"test","input":2500000000,"cached_input":1250000000,"output":10000000000}'
    )
    assert '"tiers":[[200000,{"input":2000000000,' in TIERED.as_text()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"input":"x"}', '{"input":-1}', '{"inptu":1}'])
def test_text_that_is_not_prices(text: str) -> None:
    """What is not the text of prices is refused."""
    with pytest.raises(ValueError, match="price"):
        parse_unit_prices(text)


def test_impossible_prices() -> None:
    """Prices are not negative and tiers ascend, one deep."""
    with pytest.raises(ValueError, match="negative"):
        UnitPrices(input=-1)
    with pytest.raises(ValueError, match="ascend"):
        UnitPrices(tiers=((2, UnitPrices()), (1, UnitPrices())))
    with pytest.raises(ValueError, match="ascend"):
        UnitPrices(tiers=((1, TIERED),))
