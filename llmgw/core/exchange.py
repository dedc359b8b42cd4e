"""One request on its way: what was asked, who asked, and what has become of it so far.

The one mutable thing on the road. Times are seconds of the event loop's clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from llmgw.core.errors import GatewayError
from llmgw.core.operation import Endpoint
from llmgw.core.principal import Principal
from llmgw.core.target import Target
from llmgw.core.usage import Usage
from llmgw.wire.envelope import Envelope
from llmgw.wire.multipart import Form


class Exchange:
    """fields: the request's headers by lower-case name.

    generation: the configuration this request lives in.
    body_read: when the last byte of the request came; dispatched: when the first byte of the
        first attempt left; first_byte: when the first byte of the answer went to the client.
    at_ns: UTC, when it was admitted; 0 before.
    read_body: fetches the body, of a client that waits to be asked for it (`Expect: 100-continue`).
    error_dialect: the shape of errors, None for the flat one.
    limit_head: header lines about the limits that were applied, for whatever answer it gets.
    limited: name and mode (`enforce`, `shadow`, `warn`) of each policy that refused it or would have.
    need: the tokens it asks for, a `tokens.need.Need`, once somebody asked.
    clamp: output tokens to ask for where the caller names no limit; None to leave it open.
    opened: it is in the journal, so it leaves a record.
    recording: what is told to the client is kept in it, an `engine.recording.Recording`; None as a rule.
    redactions: how often something was redacted, by where (`request`, `response`) and kind; None: nothing.
    unit_prices: what the cost is made with, a `tokens.unit_prices.UnitPrices`.
    outcome: as in `core.record.Settled`.
    """

    __slots__ = (
        "at_ns",
        "attempts",
        "body",
        "body_read",
        "clamp",
        "client_request_id",
        "cost_nano_usd",
        "dispatched",
        "endpoint",
        "envelope",
        "error",
        "error_dialect",
        "fields",
        "first_byte",
        "form",
        "generation",
        "hide_usage",
        "limit_head",
        "limited",
        "model",
        "need",
        "opened",
        "outcome",
        "peer",
        "principal",
        "read_body",
        "recording",
        "redactions",
        "request_id",
        "route",
        "started",
        "status",
        "streamed",
        "target",
        "unit_prices",
        "upstream_id",
        "usage",
    )

    def __init__(
        self,
        request_id: str,
        endpoint: Endpoint,
        fields: dict[bytes, bytes],
        body: bytes,
        peer: str | None,
        started: float,
        body_read: float,
        generation: str,
    ) -> None:
        self.request_id = request_id
        self.endpoint = endpoint
        self.fields = fields
        self.body = body
        self.peer = peer
        self.started = started
        self.body_read = body_read
        self.generation = generation
        self.read_body: Callable[[], Awaitable[bytes]] | None = None
        self.error_dialect: str | None = endpoint.dialect
        self.client_request_id: str | None = None
        self.envelope: Envelope | None = None
        self.form: Form | None = None
        self.principal: Principal | None = None
        self.model: str | None = None
        self.streamed = False
        self.hide_usage = False
        self.route: str | None = None
        self.target: Target | None = None
        self.attempts = 0
        self.at_ns = 0
        self.opened = False
        self.recording: Any = None  # Any: of a higher floor
        self.redactions: Counter[tuple[str, str]] | None = None
        self.limit_head = b""
        self.limited: tuple[tuple[str, str], ...] = ()
        self.need: object = None
        self.clamp: int | None = None
        self.dispatched: float | None = None
        self.first_byte: float | None = None
        self.status = 0
        self.outcome = "ok"
        self.error: GatewayError | None = None
        self.usage: Usage | None = None
        self.cost_nano_usd: int | None = None
        self.unit_prices: object = None
        self.upstream_id: str | None = None
