"""The story of one request."""

from __future__ import annotations

from llmgw.core.errors import ClientGone, Fault, GatewayError
from llmgw.core.exchange import Exchange
from llmgw.core.reply import Reply
from llmgw.core.stored_reply import Replay
from llmgw.dialects.failures import error_reply
from llmgw.dialects.taps import Tap
from llmgw.engine.admit import admit
from llmgw.engine.body import OFF_LOOP_BYTES, open_body
from llmgw.engine.count import count
from llmgw.engine.forward import forward
from llmgw.engine.generation import Generation
from llmgw.engine.recording import Recording
from llmgw.engine.replay import replay
from llmgw.engine.road import Road
from llmgw.engine.settle import blame, is_uncounted, settle
from llmgw.engine.strand import sheltered
from llmgw.ports.client import Client
from llmgw.ports.policy import Ticket


async def handle(ex: Exchange, generation: Generation, client: Client, road: Road) -> None:
    """Answer `ex` on `client`, and leave its record."""
    tickets: list[Ticket] = []
    delivered: Tap | None = None
    recording: Recording | None = None
    road.meter.started()
    try:
        reply = admit(iter(generation.front), ex, tickets)  # who is this
        if reply is not None and not isinstance(reply, Reply):
            reply = await reply
        if reply is None:
            if ex.read_body is not None:
                ex.body = await ex.read_body()
                ex.body_read = road.loop.time()
            if len(ex.body) > OFF_LOOP_BYTES:
                await road.loop.run_in_executor(None, open_body, ex)  # what is asked
            else:
                open_body(ex)
            plan = generation.match(ex)  # where would it go
            ex.route = plan.route
            reply = admit(iter(plan.policies), ex, tickets)  # may you, how much, seen before
            if reply is not None and not isinstance(reply, Reply):
                reply = await reply
            recording = ex.recording
            if recording is not None:
                client = recording.before(client)
        if reply is None:
            delivered = await forward(ex, plan, client, road)
        elif isinstance(reply, Replay):
            replay(ex, reply, client, road)
        else:
            ex.status = reply.status
            client.send(reply.status, reply.head, reply.body)
    except Exception as error:
        if ex.recording is not None:
            recording = ex.recording
            client = recording.before(client)
        fail(ex, client, error)
    finally:
        if recording is not None:
            await recording.conclude(ex, road.loop)
        if is_uncounted(ex, delivered):
            ex.usage = await sheltered(road.loop.run_in_executor(None, count, ex, delivered))
        settle(ex, tickets, road)


def fail(ex: Exchange, client: Client, error: Exception) -> None:
    """Tell the client of `error`, in its dialect, when nothing has been answered yet."""
    known = (
        error if isinstance(error, GatewayError) else Fault("something went wrong here", detail=repr(error))
    )
    blame(ex, known)
    if isinstance(known, ClientGone):
        return
    if ex.first_byte is not None:
        client.abort()
        return
    reply = error_reply(known, ex.error_dialect, ex.client_request_id or ex.request_id, ex.limit_head)
    client.send(reply.status, reply.head, reply.body)
