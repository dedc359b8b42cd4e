"""One call to one target, from the journal entry to the last byte."""

from __future__ import annotations

from math import ceil

from llmgw.core.errors import (
    ClientGone,
    GatewayError,
    NotFound,
    Unavailable,
    UnsupportedOperation,
    UpstreamError,
    UpstreamMalformed,
)
from llmgw.core.exchange import Exchange
from llmgw.core.record import Opened
from llmgw.core.reply import Reply
from llmgw.core.usage import NO_USAGE
from llmgw.dialects.base import CONTENT_FILTER, OVERLOADED, RATE_LIMIT, UpstreamFailure
from llmgw.dialects.registry import reads_otherwise, target_failure
from llmgw.dialects.taps import Tap, WholeTap
from llmgw.engine.convert import upstream_body
from llmgw.engine.crossing import (
    Crossing,
    WholeCrossing,
    carried,
    error_of,
    is_alike,
    is_crossed,
    own_endpoint,
)
from llmgw.engine.plan import Lane, Plan
from llmgw.engine.relay import Relay
from llmgw.engine.road import Road
from llmgw.engine.settle import price
from llmgw.engine.strand import Pause, sheltered
from llmgw.engine.whole_answer import read_body
from llmgw.policies.redact import OFF_LOOP_BYTES
from llmgw.ports.client import Client
from llmgw.ports.transport import Timeouts, UpstreamRequest
from llmgw.tokens.need import input_tokens
from llmgw.tokens.unit_prices import UnitPrices

_NO_STATUS = 500
"""Of an error that came as the first event of a stream, when its code says nothing."""
_TRANSLATED_OFF_LOOP_BYTES = 256 * 1024
"""A body above this, of a request or an answer, is translated in a thread: other requests go on."""
_CREDENTIAL_REFUSED = frozenset({401, 403})


class TurnedDown(Exception):
    """An upstream's own refusal, of which the client has heard nothing yet.

    failure: as the dialect reads it. wait_s: how long the upstream asks to be spared, if it does.
    told: what the client gets if this is the end: an error of ours, or the upstream's own words.
    """

    def __init__(self, failure: UpstreamFailure, wait_s: float | None, told: GatewayError | Reply) -> None:
        super().__init__(failure.code)
        self.failure = failure
        self.wait_s = wait_s
        self.told = told


async def attempt(
    ex: Exchange, plan: Plan, lane: Lane, client: Client, road: Road, timeouts: Timeouts
) -> Tap | None:
    """Send the request to `lane` and the answer to the client.

    Returns what the answer carried. Raises GatewayError and TurnedDown when nothing has reached
    the client.
    """
    endpoint = ex.endpoint
    ex.hide_usage = False
    head = (
        lane.head(endpoint)
        if ex.form is None
        else lane.provider.head(endpoint, lane.target.model, ex.fields.get(b"content-type", b""))
    )
    across: Crossing | WholeCrossing | None = None
    own = endpoint if head is not None else own_endpoint(ex, lane)
    if own is not None and head is None:
        head = lane.head(own)
    if own is None or head is None or not (own is endpoint or is_crossed(endpoint, own)):
        raise NotFound(f"model '{ex.model}' does not serve {endpoint.path}")
    alike = own is endpoint or is_alike(endpoint, own)
    if alike and ex.streamed:
        alike = not reads_otherwise(endpoint, lane.target, ex.fields.get(b"user-agent", b""))
    if alike:
        body = upstream_body(ex, lane, own)
        for name in lane.provider.forwards:
            if name in ex.fields:
                head += b"%b: %b\r\n" % (name, ex.fields[name])
    else:
        way, body = (
            carried(ex, own, lane)
            if len(ex.body) <= _TRANSLATED_OFF_LOOP_BYTES
            else await road.loop.run_in_executor(None, carried, ex, own, lane)
        )
        across = way
        if way.dropped and plan.refuses_loss:
            raise UnsupportedOperation(
                f"the target of model '{plan.model}' cannot be told {', '.join(way.dropped)}",
                param=way.dropped[0],
            )
    ex.target = lane.target
    _take_prices(ex, lane, road)
    signer = lane.provider.signer
    if signer is not None:
        pending = signer.pending()
        if pending is not None:
            await pending
        head = signer.sign(head, body)
    if not ex.opened:
        unwritten = await _open_in_journal(ex, plan, lane, road)
        if unwritten is not None:
            ex.opened = False
            raise Unavailable("the usage journal cannot be written", detail=str(unwritten), retry_after_s=5)
    elif ex.attempts:
        # Should the process die, its record is of the target that is asked now. Nobody waits for it.
        _open_in_journal(ex, plan, lane, road)
    relay = Relay(ex, lane, client, road, timeouts.idle_s, across, plan.keep_alive_s, plan.redaction)
    try:
        ex.attempts += 1
        if ex.dispatched is None:
            ex.dispatched = road.loop.time()
        request = UpstreamRequest(lane.provider.origin, head, body, timeouts, ex.streamed)
        await relay.begin(lane.transport.send(request, relay))
    except UpstreamError:
        raise
    except ClientGone:
        relay.cancel()
        tap = relay.tap
        if tap is not None:
            _take(ex, tap, whole=tap.done)
        elif not relay.dispatched:
            # Nobody has read it.
            ex.usage = NO_USAGE
        if tap is None or not tap.done:
            ex.outcome = "client_gone"
            ex.status = ex.status or 499
        return tap
    except GatewayError as error:
        # The process stops. What was delivered is billed; the client hears why.
        relay.cut(error)
    answer: WholeTap | None = None
    size = len(relay.body)
    if relay.status < 400 and (
        (relay.across is not None and size > _TRANSLATED_OFF_LOOP_BYTES)
        or (relay.redaction is not None and size > OFF_LOOP_BYTES)
    ):
        # The provider has done its work: it is read and billed whole, should the client leave now.
        answer = await sheltered(road.loop.run_in_executor(None, read_body, relay))
    return _finish(ex, lane, relay, client, road, answer)


def _take(ex: Exchange, tap: Tap, *, whole: bool) -> None:
    """whole: the answer came to its end. Otherwise what was reported is of its beginning only."""
    ex.usage = tap.usage if whole else None
    ex.upstream_id = tap.upstream_id


def _finish(
    ex: Exchange, lane: Lane, relay: Relay, client: Client, road: Road, answer: WholeTap | None
) -> Tap | None:
    """answer: the whole one, where it has been read already."""
    if relay.refusal is not None:
        relay.refusal = relay.redacted(relay.refusal)
        failure = (
            relay.across.read_failure(_NO_STATUS, relay.refusal)
            if relay.across is not None
            else target_failure(ex.endpoint, lane.target, _NO_STATUS, relay.refusal)
        )
        raise TurnedDown(failure, None, error_of(failure))
    if relay.tap is not None:
        _take(ex, relay.tap, whole=relay.tap.done)
        ex.outcome = relay.outcome
        return relay.tap
    if relay.started:
        ex.outcome = relay.outcome
        return None
    if relay.status >= 400:
        relay.body = relay.redacted(relay.body)
        raise _turned_down(ex, lane, relay)
    ex.status = relay.status
    body = answer or read_body(relay)
    _take(ex, body, whole=True)
    if ex.usage is not None:
        price(ex)
    answer_head = relay.head()
    if ex.cost_nano_usd is not None:
        answer_head += b"x-llmgw-cost: %b\r\n" % usd(ex.cost_nano_usd)
    ex.first_byte = road.loop.time()
    client.send(relay.status, answer_head, body.body)
    return body


def _turned_down(ex: Exchange, lane: Lane, relay: Relay) -> TurnedDown:
    """The upstream's refusal: passed on as it came, unless it is about us rather than about the caller."""
    status = relay.status
    if relay.across is not None:
        failure = relay.across.read_failure(status, relay.body)
        error = error_of(failure)
        if relay.wait_s is not None and failure.code in (RATE_LIMIT, OVERLOADED):
            error.retry_after_s = ceil(relay.wait_s)
        return TurnedDown(failure, relay.wait_s, error)
    told: GatewayError | Reply
    failure = target_failure(ex.endpoint, lane.target, status, relay.body)
    if status in _CREDENTIAL_REFUSED and failure.code != CONTENT_FILTER:
        # Its body may show a part of the gateway's own credential.
        told = UpstreamError(
            "the provider refused the gateway's credential",
            phase="first byte",
            detail=f"status {status} from provider {lane.target.provider}",
        )
    elif status >= 500 and not relay.content_type.lower().startswith(b"application/json"):
        # A proxy's error page, not the provider's word.
        told = UpstreamMalformed(f"the provider answered with status {status}")
    else:
        head = relay.head()
        if relay.wait_s is not None:
            head += b"retry-after: %d\r\n" % ceil(relay.wait_s)
        told = Reply(status, head, relay.body)
    return TurnedDown(failure, relay.wait_s, told)


def _take_prices(ex: Exchange, lane: Lane, road: Road) -> None:
    """What the cost will be made with, should this target answer."""
    principal = ex.principal
    assert principal is not None
    target = lane.target
    ex.unit_prices = road.prices(principal.tenant).unit_prices(
        target.provider, target.kind, target.vendor, target.model, base_url=target.base_url
    )


def _open_in_journal(ex: Exchange, plan: Plan, lane: Lane, road: Road) -> Pause:
    """Put the request into the journal; the pause ends when it is the kernel's."""
    principal = ex.principal
    assert principal is not None
    target = lane.target
    prices = ex.unit_prices
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
            prices.as_text() if isinstance(prices, UnitPrices) else None,
            ex.client_request_id,
        ),
        written.wake,
    )
    return written


def usd(nano: int) -> bytes:
    """Nano-USD as a decimal number of USD."""
    return b"%d.%09d" % divmod(nano, 1_000_000_000)
