from __future__ import annotations

from llmgw.config import vendors as places
from llmgw.dialects.openai_chat_vendors import VENDORS

AZURE = {"azure", "azure_older"}
"""Rows of a provider of its own kind."""


def test_every_row_is_of_a_vendor_that_can_be_configured() -> None:
    assert set(VENDORS) - AZURE <= set(places.VENDORS)


def test_streams_are_asked_for_usage_where_the_provider_says_so() -> None:
    for name, place in places.VENDORS.items():
        row = VENDORS.get(name)
        assert (row is None or row.stream_options) == place.stream_usage, name
