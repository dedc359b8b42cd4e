"""One attempt, and what it tells of the target."""

from __future__ import annotations

from llmgw.core.errors import NotFound, UnsupportedOperation, UpstreamError, UpstreamOverloaded
from llmgw.core.exchange import Exchange
from llmgw.dialects.base import AUTH, OVERLOADED, PERMISSION, QUOTA, RATE_LIMIT, SERVER
from llmgw.dialects.taps import Tap
from llmgw.engine.attempt import TurnedDown, attempt
from llmgw.engine.health import Health
from llmgw.engine.plan import Lane, Plan
from llmgw.engine.road import Road
from llmgw.ports.client import Client
from llmgw.ports.transport import Timeouts

_CREDENTIAL_COOLS_S = 30.0
_COOLS_AT_MOST_S = 60.0
_QUOTA_COOLS_S = 60.0
_QUOTA_COOLS_AT_MOST_S = 3600.0
"""What an account has spent does not come back within seconds."""
_NOT_THE_TARGETS = frozenset({"client_gone", "error"})
"""Outcomes that say nothing of the target: the client left, or the fault is ours."""
BROKEN = frozenset({OVERLOADED, SERVER})
"""Failures that speak against the target."""

Failure = TurnedDown | UpstreamError | NotFound | UnsupportedOperation
FAILURES = (TurnedDown, UpstreamError, NotFound, UnsupportedOperation)
"""After which something else may still answer."""


async def call(
    ex: Exchange, plan: Plan, lane: Lane, client: Client, road: Road, timeouts: Timeouts, began: float
) -> Tap | None:
    """Send the request to `lane` and the answer to the client, as `attempt` does; keep its health up to date.

    began: now, by the loop's clock.
    """
    health = lane.health
    breaker = health.breaker
    undecided = breaker is not None
    probe = breaker is not None and not breaker.closed
    health.in_flight += 1
    try:
        tap = await attempt(ex, plan, lane, client, road, timeouts)
        now = road.loop.time()
        if ex.first_byte is not None:
            health.measured(ex.first_byte - began, now)
        if breaker is not None:
            if ex.outcome == "ok":
                undecided = False
                breaker.succeeded(now, probe=probe)
            elif ex.outcome not in _NOT_THE_TARGETS:
                undecided = False
                breaker.failed(now, probe=probe)
        return tap
    except UpstreamOverloaded:
        # Our own pool is full, which says nothing of the target.
        raise
    except UpstreamError:
        if breaker is not None:
            undecided = False
            breaker.failed(road.loop.time(), probe=probe)
        raise
    except TurnedDown as refusal:
        now = road.loop.time()
        if breaker is not None:
            undecided = False
            if refusal.failure.code in BROKEN:
                breaker.failed(now, probe=probe)
            else:
                breaker.answered(now, probe=probe)
        _cool(health, refusal, now)
        raise
    finally:
        health.in_flight -= 1
        if undecided and breaker is not None:
            breaker.undecided(probe=probe)


def _cool(health: Health, refusal: TurnedDown, now: float) -> None:
    """Leave alone what asked for it: the target for its own time, the account for ours."""
    code = refusal.failure.code
    if code in (AUTH, PERMISSION):
        health.credential.cooled_until = now + _CREDENTIAL_COOLS_S
    elif code == QUOTA:
        wait_s = refusal.wait_s or _QUOTA_COOLS_S
        health.state.cooled_until = now + min(wait_s, _QUOTA_COOLS_AT_MOST_S)
    elif refusal.wait_s is not None and code in (RATE_LIMIT, OVERLOADED):
        health.state.cooled_until = now + min(refusal.wait_s, _COOLS_AT_MOST_S)
