"""The data plane's door: makes an exchange of a request and runs it down the road."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Protocol

from llmgw.core.errors import ClientGone, GatewayError
from llmgw.core.exchange import Exchange
from llmgw.core.ids import request_ids
from llmgw.core.operation import Endpoint
from llmgw.core.record import Progress
from llmgw.engine.generation import Generation
from llmgw.engine.handle import fail, handle
from llmgw.engine.road import Road
from llmgw.engine.settle import request_report
from llmgw.engine.strand import Strand
from llmgw.ports.client import Client
from llmgw.tokens.estimate import estimate_tokens

_CALLER_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}").fullmatch


class Arrival(Client, Protocol):
    """A client whose request is whole."""

    endpoint: Endpoint
    fields: dict[bytes, bytes]
    body: bytes
    peer: str | None
    started_at: float
    gone: Callable[[], None] | None


class Passage(Strand):
    """A request going down the road."""

    __slots__ = ("_client", "_gateway")

    def __init__(self, ex: Exchange, client: Arrival, gateway: Gateway) -> None:
        super().__init__(handle(ex, gateway.generation, client, gateway.road))
        self._client = client
        self._gateway = gateway

    def leave(self) -> None:
        """The client is gone."""
        self.interrupt(ClientGone("the client left"))

    def ended(self, error: BaseException | None) -> None:
        self._gateway.under_way.discard(self)
        self._client.gone = None


class Gateway:
    """Holds the current generation and every request under way.

    generation: swapped by one assignment; a request keeps the one it began in.
    draining: answers say `connection: close`.
    """

    def __init__(
        self,
        road: Road,
        generation: Generation,
        *,
        max_body: int,
        body_timeout_s: float,
        write_idle_s: float,
        keep_alive_s: float = 75.0,
    ) -> None:
        self.road = road
        self.generation = generation
        self.max_body = max_body
        self.body_timeout_s = body_timeout_s
        self.write_idle_s = write_idle_s
        self.keep_alive_s = keep_alive_s
        self.draining = False
        self.under_way: set[Strand] = set()
        self._next_id = request_ids()
        self._date = b""
        self.tick()

    def begin(self, client: Arrival) -> None:
        """Answer a request. Returns at its first wait."""
        ex = self.exchange(client.endpoint, client.fields, client.body, client.peer, client.started_at)
        passage = Passage(ex, client, self)
        self.under_way.add(passage)
        client.gone = passage.leave
        passage.start()

    def refuse(self, client: Arrival, error: GatewayError) -> None:
        """Answer a request that could not be read to its end."""
        ex = self.exchange(client.endpoint, client.fields, b"", client.peer, client.started_at)
        road = self.road
        road.meter.started()
        fail(ex, client, error)
        report = request_report(ex, road.loop.time())
        road.meter.finished(report)
        road.log.write(report)

    def date(self) -> bytes:
        return self._date

    def tick(self) -> None:
        """Called each second: the date, and the progress of every stream into the journal."""
        self._date = b"date: " + formatdate(time.time(), usegmt=True).encode() + b"\r\n"
        road = self.road
        for request_id, tap in list(road.streams.items()):
            if tap.moved():
                road.journal.progress(
                    Progress(request_id, estimate_tokens(tap.delivered_bytes(), ascii=True))
                )

    def exchange(
        self, endpoint: Endpoint, fields: dict[bytes, bytes], body: bytes, peer: str | None, started_at: float
    ) -> Exchange:
        """What begins in the current generation."""
        ex = Exchange(
            self._next_id(),
            endpoint,
            fields,
            body,
            peer,
            started_at,
            self.road.loop.time(),
            self.generation.name,
        )
        if self.generation.flat_errors:
            ex.error_dialect = None
        caller_id = fields.get(b"x-request-id")
        if caller_id is not None and _CALLER_ID(caller_id):
            ex.client_request_id = caller_id.decode()
        return ex
