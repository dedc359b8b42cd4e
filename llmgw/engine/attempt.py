"""One call to one target, from the journal entry to the last byte."""

from __future__ import annotations

from llmgw.core.errors import (
    ClientGone,
    GatewayError,
    NotFound,
    Unavailable,
    UpstreamError,
    UpstreamMalformed,
)
from llmgw.core.exchange import Exchange
from llmgw.core.record import Opened
from llmgw.dialects.taps import Tap
from llmgw.engine.convert import upstream_body
from llmgw.engine.crossing import Crossing, crossing
from llmgw.engine.plan import Lane, Plan
from llmgw.engine.relay import Relay, read_body
from llmgw.engine.road import Road
from llmgw.engine.settle import price
from llmgw.engine.strand import Pause
from llmgw.ports.client import Client
from llmgw.ports.transport import UpstreamRequest
from llmgw.tokens.need import input_tokens

_CREDENTIAL_REFUSED = frozenset({401, 403})


async def attempt(ex: Exchange, plan: Plan, lane: Lane, client: Client, road: Road) -> Tap | None:
    """Send the request to `lane` and the answer to the client.

    Returns what the answer carried. Raises GatewayError when nothing has reached the client.
    """
    endpoint = ex.endpoint
    head = (
        lane.head(endpoint)
        if ex.form is None
        else lane.provider.head(endpoint, lane.target.model, ex.fields.get(b"content-type", b""))
    )
    across: Crossing | None = None
    if head is not None:
        body = upstream_body(ex, lane)
        for name in lane.provider.forwards:
            if name in ex.fields:
                head += b"%b: %b\r\n" % (name, ex.fields[name])
    else:
        across = crossing(ex, lane)
        head = lane.head(across.endpoint) if across is not None else None
        if head is None or across is None:
            raise NotFound(f"model '{ex.model}' does not serve {endpoint.path}")
        body = across.body(ex, lane)
    ex.target = lane.target
    if not ex.opened:
        unwritten = await _open_in_journal(ex, plan, lane, road)
        if unwritten is not None:
            ex.opened = False
            raise Unavailable("the usage journal cannot be written", detail=str(unwritten), retry_after_s=5)
    relay = Relay(ex, lane, client, road, plan.timeouts.idle_s, across)
    try:
        ex.attempts += 1
        ex.dispatched = road.loop.time()
        request = UpstreamRequest(lane.provider.origin, head, body, plan.timeouts, ex.streamed)
        await relay.begin(lane.transport.send(request, relay))
    except UpstreamError:
        raise
    except ClientGone:
        relay.cancel()
        tap = relay.tap
        if tap is not None:
            _take(ex, tap, whole=tap.done)
        if tap is None or not tap.done:
            ex.outcome = "client_gone"
            ex.status = ex.status or 499
        return tap
    except GatewayError as error:
        # The process stops. What was delivered is billed; the client hears why.
        relay.cut(error)
    return _finish(ex, lane, relay, client, road)


def _take(ex: Exchange, tap: Tap, *, whole: bool) -> None:
    """whole: the answer came to its end. Otherwise what was reported is of its beginning only."""
    ex.usage = tap.usage if whole else None
    ex.upstream_id = tap.upstream_id


def _finish(ex: Exchange, lane: Lane, relay: Relay, client: Client, road: Road) -> Tap | None:
    if relay.tap is not None:
        _take(ex, relay.tap, whole=relay.tap.done)
        ex.outcome = relay.outcome
        return relay.tap
    if relay.started:
        ex.outcome = relay.outcome
        return None
    ex.status = relay.status
    if relay.status >= 400:
        _refuse(ex, lane, relay, client)
        return None
    body = read_body(relay)
    _take(ex, body, whole=True)
    if ex.usage is not None:
        price(ex)
    answer_head = relay.head()
    if ex.cost_nano_usd is not None:
        answer_head += b"x-llmgw-cost: %b\r\n" % usd(ex.cost_nano_usd)
    ex.first_byte = road.loop.time()
    client.send(relay.status, answer_head, body.body)
    return body


def _refuse(ex: Exchange, lane: Lane, relay: Relay, client: Client) -> None:
    """Pass on the upstream's own refusal, unless it is about us rather than about the caller."""
    if relay.across is not None:
        raise relay.across.failure(relay.status, relay.body)
    if relay.status in _CREDENTIAL_REFUSED:
        # Its body may show a part of the gateway's own credential.
        raise UpstreamError(
            "the provider refused the gateway's credential",
            phase="first byte",
            detail=f"status {relay.status} from provider {lane.target.provider}",
        )
    if relay.status >= 500 and not relay.content_type.lower().startswith(b"application/json"):
        # A proxy's error page, not the provider's word.
        raise UpstreamMalformed(f"the provider answered with status {relay.status}")
    ex.outcome = "refused" if relay.status < 500 else "upstream_error"
    client.send(relay.status, relay.head(), relay.body)


def _open_in_journal(ex: Exchange, plan: Plan, lane: Lane, road: Road) -> Pause:
    """Put the request into the journal; the pause ends when it is the kernel's."""
    principal = ex.principal
    assert principal is not None
    target = lane.target
    prices = road.prices(principal.tenant).unit_prices(
        target.provider, target.kind, target.vendor, target.model, base_url=target.base_url
    )
    ex.unit_prices = prices
    if not ex.at_ns:
        ex.at_ns = road.clock.utc_ns()
    ex.opened = True
    written = Pause()
    road.journal.open(
        Opened(
            ex.request_id,
            ex.at_ns,
            principal.tenant,
            principal.user,
            principal.key_id,
            ex.endpoint.path,
            ex.endpoint.operation_name,
            plan.model,
            target.provider,
            target.model,
            plan.route,
            ex.streamed,
            ex.generation,
            input_tokens(ex),
            prices.as_text() if prices is not None else None,
            ex.client_request_id,
        ),
        written.wake,
    )
    return written


def usd(nano: int) -> bytes:
    """Nano-USD as a decimal number of USD."""
    return b"%d.%09d" % divmod(nano, 1_000_000_000)
