"""The data plane's door: makes an exchange of a request and runs it down the road."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import partial
from typing import Protocol

from llmgw.core.errors import ClientGone, GatewayError, Unavailable
from llmgw.core.exchange import Exchange
from llmgw.core.ids import request_ids
from llmgw.core.operation import Endpoint, Operation
from llmgw.core.record import Progress
from llmgw.dialects.endpoints import OPENAI, STREAM_ARRAY, STREAM_GENERATE, dialect_of
from llmgw.dialects.failures import error_reply
from llmgw.engine.generation import Generation
from llmgw.engine.handle import fail, handle
from llmgw.engine.road import Road
from llmgw.engine.settle import blame, tell
from llmgw.engine.strand import Strand
from llmgw.ports.client import Client
from llmgw.ports.peers import Peers
from llmgw.server.direct import STATUS_LINES
from llmgw.server.front_door import LARGE_BODY, Bodies, FrontDoor
from llmgw.tokens.estimate import estimate_tokens

UNREAD = Endpoint("unread", OPENAI, Operation.CHAT, "")
"""Stands for the path of a request whose head was refused."""
_CALLER_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}").fullmatch


class Arrival(Client, Protocol):
    """A client whose request is whole."""

    endpoint: Endpoint
    fields: dict[bytes, bytes]
    body: bytes
    peer: str | None
    started_at: float
    model: str | None
    gone: Callable[[], None] | None


class Passage(Strand):
    """A request going down the road."""

    __slots__ = ("_client", "_ex", "_gateway", "_held")

    def __init__(self, ex: Exchange, client: Arrival, gateway: Gateway) -> None:
        super().__init__(handle(ex, gateway.generation, client, gateway.road))
        self._ex = ex
        self._client = client
        self._gateway = gateway
        self._held = 0

    def leave(self) -> None:
        """The client is gone."""
        recording = self._ex.recording
        end = partial(self.interrupt, ClientGone("the client left"))
        if recording is None or not recording.left(self._gateway.road.loop, end):
            end()
            return
        # With its connection went what its body was counted by, but the body stays.
        size = len(self._ex.body)
        if size > LARGE_BODY:
            self._gateway.bodies.stay(size)
            self._held = size

    def ended(self, error: BaseException | None) -> None:
        if self._held:
            self._gateway.bodies.give(self._held)
        self._gateway.under_way.discard(self)
        self._client.gone = None


class Gateway:
    """Holds the current generation and every request under way.

    generation: swapped by one assignment; a request keeps the one it began in.
    draining, crowded: answers say `connection: close`. full: no request begins.
    """

    def __init__(
        self,
        road: Road,
        generation: Generation,
        limits: FrontDoor,
        peers: Peers,
    ) -> None:
        self.road = road
        self.generation = generation
        self.limits = limits
        self.bodies = Bodies(limits.max_bodies)
        self._peers = peers
        self.draining = False
        self.crowded = False
        self.full = False
        self.under_way: set[Strand] = set()
        self._next_id = request_ids()
        self._date = b""
        self.tick()

    @property
    def certificate_field(self) -> bytes | None:
        """The header in which trusted proxies may tell of certificates."""
        return self.generation.certificate_field

    def begin(self, client: Arrival, read_body: Callable[[], Awaitable[bytes]] | None = None) -> None:
        """Answer a request. Returns at its first wait.

        read_body: where the client waits to be asked for the body, which it is once it is let in.
        """
        if self.full:
            self.refuse(client, Unavailable("memory is short", code="overloaded", retry_after_s=1))
            return
        ex = self.exchange(client.endpoint, client.fields, client.body, client.peer, client.started_at)
        if client.model is not None:
            ex.model = client.model
            ex.streamed = client.endpoint in (STREAM_GENERATE, STREAM_ARRAY)
        ex.read_body = read_body
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
        tell(ex, road, road.loop.time())

    def refuse_head(self, path: str, error: GatewayError) -> bytes:
        """The whole response to a head that is not read to its end."""
        ex = self.exchange(UNREAD, {}, b"", None, self.road.loop.time())
        blame(ex, error)
        self.road.meter.started()
        tell(ex, self.road, self.road.loop.time())
        dialect = None if self.generation.flat_errors else dialect_of(path)
        reply = error_reply(error, dialect, ex.request_id)
        return b"%b%b%bconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (
            STATUS_LINES[reply.status],
            self._date,
            reply.head,
            len(reply.body),
            reply.body,
        )

    def admits(self, peer: str | None) -> bool:
        """Whether one more connection from `peer` is taken. Loopback is exempt."""
        if peer is None or _is_loopback(peer):
            return True
        return self._peers.come(peer, self.limits.connections_per_ip)

    def gone(self, peer: str | None) -> None:
        """A connection that was admitted has ended."""
        if peer is not None and not _is_loopback(peer):
            self._peers.go(peer)

    def date(self) -> bytes:
        return self._date

    def tick(self) -> None:
        """Called each second: the date, and the progress of every stream into the journal."""
        self._date = b"date: " + formatdate(time.time(), usegmt=True).encode() + b"\r\n"
        road = self.road
        for tap, request_id in list(road.streams.items()):
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


def _is_loopback(peer: str) -> bool:
    return peer == "::1" or peer.startswith("127.")
