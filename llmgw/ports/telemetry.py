"""What the road tells the outside about itself."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class RequestReport(Struct, gc=False):
    """One request at its end. Times are seconds; absent is None, never zero.

    limited: policies that refused it or would have, each with `enforce`, `shadow` or `warn`.
    redacted: what was taken out: of the `request` or `response`, of which kind, and how often.
    overhead_s: the gateway's own share, from the last byte of the request read to its dispatch.
    """

    request_id: str
    tenant: str | None
    user: str | None
    key: str | None
    endpoint: str
    operation: str
    model: str | None
    provider: str | None
    upstream_model: str | None
    status: int
    outcome: str
    code: str | None
    attempts: int
    streamed: bool
    total_s: float
    first_byte_s: float | None
    overhead_s: float | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    usage_source: str | None
    cost_nano_usd: int | None
    generation: str
    detail: str | None = None
    limited: tuple[tuple[str, str], ...] = ()
    route: str | None = None
    redacted: tuple[tuple[str, str, int], ...] = ()


class Meter(Protocol):
    """Counts. Called on the road, so an implementation does no I/O."""

    def started(self) -> None:
        """A request entered."""

    def finished(self, report: RequestReport) -> None:
        """A request left."""


class RequestLog(Protocol):
    """One line a request."""

    def write(self, report: RequestReport) -> None: ...
