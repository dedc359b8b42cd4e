"""uvicorn's HTTP protocol with a short way in for the hot paths.

A POST to one of the dialects' paths goes from the parser's callbacks straight to the gateway;
everything else goes uvicorn's way to the Starlette app. Both share the parser, the keep-alive
and the pipelining of uvicorn's class.

What uvicorn leaves open and this closes: heads and bodies have caps and deadlines, what
`server.front_door` refuses is refused alike on every path and under every parser, a parser error
after a response has begun cuts the connection instead of writing into it, fields behind a body
are not taken for the head's, and a client that stops reading is dropped.
"""

from __future__ import annotations

from typing import Any

import httptools

from llmgw.core.errors import (
    InvalidRequest,
    RequestTooLarge,
    Unavailable,
)
from llmgw.core.operation import Endpoint
from llmgw.dialects.endpoints import ENDPOINTS
from llmgw.server.bounded import BoundedProtocol
from llmgw.server.direct import DirectClient
from llmgw.server.front_door import (
    CERTIFICATE_FIELDS,
    IDENTITY_FIELDS,
    LARGE_BODY,
    PLAIN_CONNECTION,
    WATCHED_FIELDS,
    alias_problem,
    connection_problem,
    framing_problem,
    target_problem,
)
from llmgw.wire.headers import fields_of

_HOT: dict[bytes, Endpoint] = {path.encode(): endpoint for path, endpoint in ENDPOINTS.items()}
_MAX_PIPELINED = 100
_SMALL_PIECE = 1024
"""Smaller pieces of a body are kept as one: each by itself takes more than it holds."""


class GatewayProtocol(BoundedProtocol):
    """One client connection."""

    def data_received(self, data: bytes) -> None:
        if self._refused_at is not None:
            return
        self._fed = len(data)
        body_of = self._body_of
        before = self.cycle
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data, upgrade)
        except httptools.HttpParserError:
            self._refuse_message(InvalidRequest("this is not valid HTTP/1.1"))
            return
        if self._head_since is not None:
            # Behind another request, nobody knows how much of this was its head's.
            self._check_head(len(data) if self.cycle is before else 0)
        elif body_of is not None and self._body_of is body_of:
            self._check_body(len(data))
        ready = self._ready
        if ready is not None:
            self._ready = None
            if self._refused_at is None:
                self.door.begin(ready)

    def _decline_upgrade(self, data: bytes, upgrade: Exception) -> None:
        """Go on in HTTP/1.1, as who does not want to upgrade may (RFC 9110, section 7.8).

        httptools leaves out the body of such a request, and would read it as the next one: Java's
        client asks for `h2c` with every first POST. So the request is read again without the wish.
        """
        while self._replay is not None and self._refused_at is None:
            data = self._replay + data[upgrade.args[0] :]
            self._replay = None
            self.parser = self._make_parser(self)
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as again:
                upgrade = again
            except httptools.HttpParserError:
                self._refuse_message(InvalidRequest("this is not valid HTTP/1.1"))

    def on_message_begin(self) -> None:
        # The scope, most of what uvicorn makes here, is not for the short way.
        self.url = b""
        self.headers = []
        self._head_since = self.loop.time()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._head_since = None
        self._receiving = None
        self._body_of = None
        headers = self.headers
        if self._refused_at is not None or self._is_too_large():
            return
        self.idle_since = None
        # What comes behind the body goes there, not among the head's.
        self.headers = []
        fields = dict(headers)
        if len(fields) != len(headers):
            fields = fields_of(headers)
        version = self.parser.get_http_version()
        host = fields.get(b"host")
        if host != self._host or version != "1.1" or b"transfer-encoding" in fields:
            problem = framing_problem(fields, version)
            if problem is not None:
                self._refuse_head(InvalidRequest(problem))
                return
            if host is not None:
                self._host = host
        if b"upgrade" in fields and self.parser.should_upgrade():
            self._replay = self._without_upgrade(headers, version)
            return
        connection = fields.get(b"connection")
        if connection is not None and connection not in PLAIN_CONNECTION:
            problem = connection_problem(connection)
            if problem is not None:
                self._refuse_head(InvalidRequest(problem))
                return
        if not WATCHED_FIELDS.isdisjoint(fields):
            problem = alias_problem(fields)
            if problem is not None:
                self._refuse_head(InvalidRequest(problem))
                return
            told = self._untold() if self._trusted else IDENTITY_FIELDS
            if not told.isdisjoint(fields):
                headers = [pair for pair in headers if pair[0] not in told]
                fields = fields_of(headers)
        certificate = self._certificate
        if certificate is not None:
            headers.append(certificate)
            fields[certificate[0]] = certificate[1]
        expects = b"expect" in fields and fields[b"expect"].lower() == b"100-continue" and version != "1.0"
        endpoint = _HOT.get(self.url)
        if endpoint is None or expects or self.parser.get_method() != b"POST":
            self._start_elsewhere(headers, host, expects)
            return
        client = DirectClient(
            self.transport,
            endpoint,
            fields,
            self.peer,
            version != "1.0"
            and not (self.door.draining or self.door.crowded)
            and self.parser.should_keep_alive(),
            version != "1.0",
            self.door.date,
            self.on_response_complete,
            self._event,
            self.loop.time(),
        )
        self._receiving = self._body_of = client
        self._body_fed = 0
        previous: Any = self.cycle
        self.cycle = client  # type: ignore[assignment]
        if previous is None or previous.response_complete:
            self._current = client
        else:
            self._queue(client)
        length = fields.get(b"content-length")
        if length is not None and int(length) > self.door.limits.max_body:
            self._refuse(
                client, RequestTooLarge(f"the body is larger than {self.door.limits.max_body} bytes")
            )

    def _untold(self) -> frozenset[bytes]:
        """What not even a trusted proxy tells of certificates, unless it was asked to."""
        asked = self.door.certificate_field
        return CERTIFICATE_FIELDS if asked is None else CERTIFICATE_FIELDS - {asked}

    def _queue(self, client: DirectClient) -> None:
        """A pipelined request waits for its turn."""
        self.flow.pause_reading()
        self._check_pipeline()
        self.pipeline.appendleft((client, self.app))  # type: ignore[arg-type]

    def _start_elsewhere(self, headers: list[tuple[bytes, bytes]], host: bytes | None, expects: bool) -> None:
        """A request that is not hot goes uvicorn's way."""
        problem = target_problem(self.parser.get_method(), self.url, host)
        if problem is not None:
            self._refuse_head(InvalidRequest(problem))
            return
        url = self.url
        super().on_message_begin()
        self.url = url
        self.expect_100_continue = expects
        self.headers.extend(headers)
        self._check_pipeline()
        super().on_headers_complete()
        self.headers = []
        self._body_of = self.cycle
        self._body_fed = self._body_size = 0

    def _check_pipeline(self) -> None:
        """Nobody sends so many at once who wants to hear the answers."""
        if len(self.pipeline) >= _MAX_PIPELINED:
            self._refused_at = self.loop.time()
            self.transport.abort()

    def _without_upgrade(self, headers: list[tuple[bytes, bytes]], version: str) -> bytes:
        """The head of the request, without its wish for another protocol."""
        lines = [b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version.encode())]
        lines += [b"%b: %b\r\n" % pair for pair in headers if pair[0] != b"upgrade"]
        return b"".join([*lines, b"\r\n"])

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip()))

    def on_body(self, body: bytes) -> None:
        client = self._receiving
        if client is None:
            if self._body_of is not None:
                self._body_size += len(body)
                super().on_body(body)
            return
        if client.response_complete:
            return
        client.size += len(body)
        if client.size > self.door.limits.max_body:
            self._refuse(
                client, RequestTooLarge(f"the body is larger than {self.door.limits.max_body} bytes")
            )
        elif client.size > LARGE_BODY and not self._has_room(client, len(body)):
            return
        elif client.pieces is not None:
            if len(body) >= _SMALL_PIECE:
                client.pieces.append(body)
            elif type(last := client.pieces[-1]) is bytearray:
                last += body
            else:
                client.pieces.append(bytearray(body))
        elif client.body:
            client.pieces = [client.body, body]
        else:
            client.body = body

    def _has_room(self, client: DirectClient, more: int) -> bool:
        """Whether a body that has become large may go on; it is refused if not."""
        try:
            size = more if client.size - more > LARGE_BODY else client.size
            self.door.bodies.take(size)
        except Unavailable as error:
            self._refuse(client, error)
            return False
        self._held += size
        return True

    def on_message_complete(self) -> None:
        if self._body_of is None:
            return
        if self.headers and self._has_large_trailers():
            return
        self._body_of = None
        client = self._receiving
        if client is None:
            super().on_message_complete()
            return
        self._receiving = None
        if client.response_complete:
            return
        if client.pieces is not None:
            client.body = b"".join(client.pieces)
            client.pieces = None
        if client is self._current:
            self._ready = client
        else:
            # Pipelined: whole, and waits for its turn.
            client.size = -1

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._held:
            self._give_back()
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._next()
            return
        self.flow.resume_reading()
        now = self.loop.time()
        self.idle_since = now
        if self._head_since is not None:
            # It could not be answered before this one, so its time begins here.
            self._head_since = now

    def _next(self) -> None:
        """Start what was pipelined behind the response that is complete."""
        waiting: Any
        waiting, app = self.pipeline.pop()
        self._current = waiting if type(waiting) is DirectClient else None
        if type(waiting) is not DirectClient:
            if not self.pipeline:
                self.flow.resume_reading()
            self._start_asgi_task(waiting, app)
        elif waiting.size == -1:
            # From the loop, so that a long pipeline does not nest.
            self.loop.call_soon(self._begin, waiting)
        else:
            waiting.started_at = self.loop.time()
            self.flow.resume_reading()

    def _begin(self, client: DirectClient) -> None:
        if not client.closed and not self.transport.is_closing():
            self.door.begin(client)
