from __future__ import annotations

import pytest

from llmgw.stores.recover import recover
from tests.contracts.records import opened, settled


def test_a_lost_request_keeps_what_was_known() -> None:
    """Everything that was known at the start is in the record, and it says what it is."""
    entry = opened(1, user=None, route="r", streamed=True)

    record = recover(entry, 9)

    for name in set(entry.__struct_fields__) & set(settled(1).__struct_fields__):
        assert getattr(record, name) == getattr(entry, name), name
    assert (record.outcome, record.usage_source) == ("lost", "estimated")
    assert (record.input_tokens, record.output_tokens) == (200, 9)
    assert record.cost_nano_usd == 200 * 150 + 9 * 600


@pytest.mark.parametrize("price", [None, "", "no json", '{"unknown": 1}'])
def test_an_unknown_price_is_not_free(price: str | None) -> None:
    assert recover(opened(1, price=price), 9).cost_nano_usd is None
