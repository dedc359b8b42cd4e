"""Answers with what was kept of an earlier answer."""

from __future__ import annotations

from llmgw.core.exchange import Exchange
from llmgw.core.stored_reply import Replay
from llmgw.core.target import Target
from llmgw.core.usage import NO_USAGE
from llmgw.engine.road import Road
from llmgw.engine.settle import record
from llmgw.ports.client import Client


def replay(ex: Exchange, reply: Replay, client: Client, road: Road) -> None:
    """Give the stored answer, and leave a record that nothing was used for it.

    Status, body and the answer's own header lines are as they were; what is about the request
    (its id, its limits, the configuration it lives in) is of this one.
    """
    stored = reply.stored
    now = road.loop.time()
    ex.status = stored.status
    ex.outcome = reply.outcome
    ex.first_byte = now
    ex.target = Target(stored.provider, "", None, stored.model)
    ex.usage = NO_USAGE
    ex.cost_nano_usd = 0
    if not ex.at_ns:
        ex.at_ns = road.clock.utc_ns()
    head = b"%b%b%bx-llmgw-config: %b\r\nx-request-id: %b\r\nx-llmgw-attempts: 0\r\n" % (
        stored.head,
        ex.limit_head,
        reply.head,
        ex.generation.encode(),
        (ex.client_request_id or ex.request_id).encode(),
    )
    if stored.streamed:
        client.start(stored.status, head)
        if stored.body:
            client.write(stored.body)
        client.end()
    else:
        client.send(stored.status, head, stored.body)
    # It was never dispatched, so quotas take it for nothing; that it came is recorded all the same.
    road.journal.settle(record(ex, now))
