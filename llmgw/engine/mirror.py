"""Sends a copy of some requests to a target on trial, whose answer nobody gets.

A copy begins once its request is on its way and never delays it. It takes no part in limits and
quotas; its record stands under a tenant of its own, so that what the trial costs is told apart.
"""

from __future__ import annotations

from collections.abc import Callable

from llmgw.core.errors import GatewayError
from llmgw.core.exchange import Exchange
from llmgw.core.operation import ON_TOKENS
from llmgw.core.principal import Principal
from llmgw.dialects.taps import Tap
from llmgw.engine.attempt import TurnedDown, attempt
from llmgw.engine.count import count
from llmgw.engine.plan import Mirror, Plan
from llmgw.engine.road import Road
from llmgw.engine.settle import blame, is_uncounted, price, record
from llmgw.engine.strand import Strand, sheltered
from llmgw.ports.client import Flow

TENANT = "_mirror"
"""Whom copies are recorded for. No configured tenant can have such a name."""
MOST = 16
"""Copies under way in one process; requests beyond go without one."""


class Nobody:
    """A client that wants nothing. Implements `ports.client.Client`."""

    closed = False

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """A whole response."""

    def start(self, status: int, head: bytes) -> None:
        """Begin a response."""

    def write(self, data: bytes) -> None:
        """Some body bytes."""

    def end(self) -> None:
        """The response is complete."""

    def abort(self) -> None:
        """Cut the connection."""

    def attach(self, flow: Flow | None) -> None:
        """Who to pause."""


def offer(ex: Exchange, plan: Plan, mirror: Mirror, road: Road, random: Callable[[], float]) -> None:
    """Copy `ex` or not, as the share and the room have it. Returns at once."""
    envelope = ex.envelope
    if ex.endpoint.operation not in ON_TOKENS or envelope is None or random() >= mirror.share:
        return
    mirrors = road.mirrors
    if (
        len(mirrors.under_way) >= MOST
        or "previous_response_id" in envelope.members
        or (mirror.state is not None and not mirror.state.lets(ex))
    ):
        mirrors.skipped += 1
        return
    mirrors.sent += 1
    strand = _Copy(_copied(ex, mirrors.next_id(), road.loop.time()), plan, mirror, road)
    mirrors.under_way.add(strand)
    road.loop.call_soon(strand.start)


class _Copy(Strand):
    __slots__ = ("_mirrors",)

    def __init__(self, ex: Exchange, plan: Plan, mirror: Mirror, road: Road) -> None:
        super().__init__(_run(ex, plan, mirror, road))
        self._mirrors = road.mirrors

    def ended(self, error: BaseException | None) -> None:
        self._mirrors.under_way.discard(self)


async def _run(ex: Exchange, plan: Plan, mirror: Mirror, road: Road) -> None:
    delivered: Tap | None = None
    try:
        delivered = await attempt(ex, plan, mirror.lane, Nobody(), road, plan.timeouts)
    except TurnedDown as refusal:
        ex.outcome = "upstream_error"
        ex.status = refusal.told.status
    except GatewayError as error:
        blame(ex, error)
    finally:
        road.mirrors.failed += ex.outcome != "ok"
        if is_uncounted(ex, delivered):
            ex.usage = await sheltered(road.loop.run_in_executor(None, count, ex, delivered))
        price(ex)
        if ex.opened:
            road.journal.settle(record(ex, road.loop.time()))


def _copied(ex: Exchange, request_id: str, now: float) -> Exchange:
    copy = Exchange(request_id, ex.endpoint, ex.fields, ex.body, ex.peer, now, now, ex.generation)
    copy.envelope = ex.envelope
    copy.model = ex.model
    copy.streamed = ex.streamed
    copy.route = ex.route
    copy.clamp = ex.clamp
    copy.client_request_id = ex.request_id
    copy.principal = Principal(TENANT)
    return copy
