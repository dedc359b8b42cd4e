"""Price overrides are exact."""

from __future__ import annotations

from llmgw.config.load import document_from_text

TEXT = """\
version: 1
providers: {e: {kind: echo}}
prices:
  overrides:
    e/some/model: {input: 2.50 USD/M, output: 0.01 USD/k, cached: 0 USD/M, cache_write: 3 USD/M}
"""


def test_overrides() -> None:
    """A price is whole nano-USD per million tokens; free and unknown are different."""
    price = document_from_text(TEXT).prices.overrides["e/some/model"]

    assert (price.input, price.output, price.cached) == (2_500_000_000, 10_000_000_000, 0)
    assert price.cache_write == 3_000_000_000
    assert price.reasoning is None


def test_a_price_of_requests() -> None:
    text = TEXT.replace("cached: 0 USD/M", "request: 0.002 USD")
    price = document_from_text(text).prices.overrides["e/some/model"]

    assert price.request == 2_000_000
    assert document_from_text(TEXT).prices.overrides["e/some/model"].request == 0


def test_shown_as_written() -> None:
    shown = document_from_text(TEXT).prices.model_dump(mode="json", exclude_none=True)

    assert shown["overrides"]["e/some/model"]["input"] == "2.5 USD/M"
