"""The record of a request whose process died under it, from what the journal holds."""

from __future__ import annotations

import time

from llmgw.core.record import Opened, Settled
from llmgw.core.usage import ESTIMATED, Usage
from llmgw.tokens.unit_prices import cost_nano_usd, parse_unit_prices

LOST = "lost"


def recover(opened: Opened, output_tokens: int) -> Settled:
    """What the request most likely used, marked `lost` and `estimated`, at the price it began with.

    output_tokens: the last progress, 0 when none was written.
    """
    usage = Usage(opened.input_tokens_estimate, output_tokens, source=ESTIMATED)
    return Settled(
        request_id=opened.request_id,
        at_ns=opened.at_ns,
        tenant=opened.tenant,
        user=opened.user,
        key_id=opened.key_id,
        endpoint=opened.endpoint,
        operation=opened.operation,
        model=opened.model,
        provider=opened.provider,
        upstream_model=opened.upstream_model,
        route=opened.route,
        streamed=opened.streamed,
        generation=opened.generation,
        attempts=1,
        status=0,
        outcome=LOST,
        code=None,
        input_tokens=usage.input_tokens,
        cached_tokens=0,
        cache_write_tokens=0,
        output_tokens=usage.output_tokens,
        reasoning_tokens=0,
        usage_source=ESTIMATED,
        cost_nano_usd=_cost(opened.price, usage),
        price=opened.price,
        first_byte_us=None,
        total_us=max(0, time.time_ns() - opened.at_ns) // 1000,
        client_request_id=opened.client_request_id,
    )


def _cost(price: str | None, usage: Usage) -> int | None:
    if price is None:
        return None
    try:
        return cost_nano_usd(parse_unit_prices(price), usage)
    except ValueError:
        # Written by another version: an unknown price is not free.
        return None
