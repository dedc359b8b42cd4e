"""The story of one request."""

from __future__ import annotations

from llmgw.core.errors import ClientGone, Fault, GatewayError
from llmgw.core.exchange import Exchange
from llmgw.dialects.failures import error_reply
from llmgw.dialects.usage_taps import BodyTap, StreamTap
from llmgw.engine.admit import admit
from llmgw.engine.attempt import attempt
from llmgw.engine.body import open_body
from llmgw.engine.convert import read_request
from llmgw.engine.generation import Generation
from llmgw.engine.road import Road
from llmgw.engine.settle import outcome_of, settle
from llmgw.ports.client import Client
from llmgw.ports.policy import Ticket


async def handle(ex: Exchange, generation: Generation, client: Client, road: Road) -> None:
    """Answer `ex` on `client`, and leave its record."""
    tickets: list[Ticket] = []
    delivered: StreamTap | BodyTap | None = None
    road.meter.started()
    try:
        reply = await admit(generation.front, ex, tickets)  # who is this
        if reply is None:
            await open_body(ex, road.loop)  # what is asked
            read_request(ex)
            plan = generation.match(ex)  # where would it go
            ex.route = plan.route
            reply = await admit(plan.policies, ex, tickets)  # may you, how much, seen before
        if reply is None:
            delivered = await attempt(ex, plan, plan.lanes[0], client, road)
        else:
            ex.status = reply.status
            client.send(reply.status, reply.head, reply.body)
    except Exception as error:
        fail(ex, client, error)
    finally:
        await settle(ex, tickets, road, delivered)


def fail(ex: Exchange, client: Client, error: Exception) -> None:
    """Tell the client of `error`, in its dialect, when nothing has been answered yet."""
    known = (
        error if isinstance(error, GatewayError) else Fault("something went wrong here", detail=repr(error))
    )
    ex.error = known
    ex.outcome = outcome_of(known)
    ex.status = known.status
    if isinstance(known, ClientGone):
        return
    reply = error_reply(known, ex.error_dialect, ex.client_request_id or ex.request_id)
    client.send(reply.status, reply.head, reply.body)
