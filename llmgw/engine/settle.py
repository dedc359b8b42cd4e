"""The end of every request: tickets given back, usage known, the record in the journal.

The client already has its answer. Runs once on every exit, a vanished client included, and
leaves nothing to be raised.
"""

from __future__ import annotations

from collections.abc import Mapping

from llmgw.core.errors import ClientGone, GatewayError, UpstreamError
from llmgw.core.exchange import Exchange
from llmgw.core.operation import ON_TOKENS
from llmgw.core.record import Settled
from llmgw.core.usage import ESTIMATED, NO_USAGE
from llmgw.dialects.taps import Tap
from llmgw.engine.road import Road
from llmgw.ports.policy import Ticket
from llmgw.ports.telemetry import RequestReport
from llmgw.tokens.prices import UnitPrices, cost_nano_usd

_UNBILLED = frozenset({"refused", "upstream_error", "error"})
"""Outcomes that cost nothing where the provider reports no usage."""


def is_uncounted(ex: Exchange, delivered: Tap | None) -> bool:
    """Whether the provider did work that it reported no usage for, so that we count it."""
    return (
        ex.usage is None
        and ex.dispatched is not None
        and ex.endpoint.operation in ON_TOKENS
        and (delivered is not None or ex.outcome == "client_gone")
    )


def settle(ex: Exchange, tickets: list[Ticket], road: Road) -> None:
    """Record the request and settle `tickets` in reverse order.

    The record comes first: counters that outlive this process must not count what it loses.
    """
    price(ex)
    now = road.loop.time()
    if ex.opened:
        road.journal.settle(record(ex, now))
    while tickets:
        tickets.pop().settle(ex)
    tell(ex, road, now)


def tell(ex: Exchange, road: Road, now: float) -> None:
    """Count the request and log its line."""
    report = request_report(ex, now)
    road.meter.finished(report)
    road.log.write(report)


def blame(ex: Exchange, error: GatewayError) -> None:
    """Have the request end with `error`."""
    ex.error = error
    ex.outcome = outcome_of(error)
    ex.status = error.status


def price(ex: Exchange) -> None:
    """Fill in the cost, when the prices are known and it has not been done yet."""
    prices = ex.unit_prices
    if ex.cost_nano_usd is not None or not isinstance(prices, UnitPrices):
        return
    usage = ex.usage
    if usage is NO_USAGE or (usage is None and ex.outcome in _UNBILLED):
        ex.cost_nano_usd = 0
    elif usage is not None:
        ex.cost_nano_usd = cost_nano_usd(prices, usage)
    elif prices.is_by_request:
        ex.cost_nano_usd = prices.per_request
    # Else something was done that tokens do not measure: its cost is unknown, not nothing.


def record(ex: Exchange, now: float) -> Settled:
    """The usage record of a request that was opened in the journal."""
    principal = ex.principal
    target = ex.target
    assert principal is not None
    assert target is not None
    usage = ex.usage or NO_USAGE
    prices = ex.unit_prices
    return Settled(
        ex.request_id,
        ex.at_ns,
        principal.tenant,
        principal.user,
        principal.key_id,
        ex.endpoint.path,
        ex.endpoint.operation_name,
        ex.model or "",
        target.provider,
        target.model,
        ex.route,
        ex.streamed,
        ex.generation,
        ex.attempts,
        ex.status,
        ex.outcome,
        ex.error.code if ex.error is not None else None,
        usage.input_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.source if ex.usage is not None else ESTIMATED,
        ex.cost_nano_usd,
        prices.as_text() if isinstance(prices, UnitPrices) else None,
        None if ex.first_byte is None else int((ex.first_byte - ex.started) * 1e6),
        int((now - ex.started) * 1e6),
        ex.client_request_id,
        ex.upstream_id,
    )


def request_report(ex: Exchange, now: float) -> RequestReport:
    """What the log and the metrics are told."""
    principal = ex.principal
    target = ex.target
    usage = ex.usage
    error = ex.error
    return RequestReport(
        ex.request_id,
        principal.tenant if principal is not None else None,
        principal.user if principal is not None else None,
        principal.key_id if principal is not None else None,
        ex.endpoint.path,
        ex.endpoint.operation_name,
        ex.model,
        target.provider if target is not None else None,
        target.model if target is not None else None,
        ex.status,
        ex.outcome,
        error.code if error is not None else None,
        ex.attempts,
        ex.streamed,
        now - ex.started,
        None if ex.first_byte is None else ex.first_byte - ex.started,
        None if ex.dispatched is None else ex.dispatched - ex.body_read,
        usage.input_tokens if usage is not None else None,
        usage.output_tokens if usage is not None else None,
        usage.cached_tokens if usage is not None else None,
        usage.source if usage is not None else None,
        ex.cost_nano_usd,
        ex.generation,
        error.detail if error is not None else None,
        ex.limited,
        ex.route,
        () if ex.redactions is None else _redacted(ex.redactions),
    )


def _redacted(counts: Mapping[tuple[str, str], int]) -> tuple[tuple[str, str, int], ...]:
    return tuple((at, kind, count) for (at, kind), count in counts.items())


def outcome_of(error: GatewayError) -> str:
    """The outcome word of a request that ended with `error`."""
    if isinstance(error, ClientGone):
        return "client_gone"
    if isinstance(error, UpstreamError):
        return "upstream_error"
    return "refused" if error.status < 500 else "error"
