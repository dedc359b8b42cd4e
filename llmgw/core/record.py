"""What a dispatched request leaves behind: the journal's entries and the usage record.

Three entries tell a request's life, in this order in one journal: `Opened` before the first
dispatch, `Progress` about each second of a stream, `Settled` at the end. Whoever reads an
`Opened` without its `Settled` after the writer died makes the record from what there is, with
outcome `lost`. The record's key is the request's internal id, so reading twice is harmless.

Times are UTC nanoseconds since the epoch; durations are integer microseconds; money is integer
nano-USD; absent is None.
"""

from __future__ import annotations

from msgspec import Struct


class Opened(Struct, frozen=True, array_like=True, gc=False, tag=1):
    """About to be dispatched."""

    request_id: str
    at_ns: int
    tenant: str
    user: str | None
    key_id: str | None
    endpoint: str
    operation: str
    model: str
    provider: str
    upstream_model: str
    route: str | None
    streamed: bool
    generation: str
    input_tokens_estimate: int
    price: str | None = None
    client_request_id: str | None = None


class Progress(Struct, frozen=True, array_like=True, gc=False, tag=2):
    """A stream so far: an estimate of the output tokens delivered."""

    request_id: str
    output_tokens_estimate: int


class Settled(Struct, frozen=True, array_like=True, gc=False, tag=3):
    """The whole usage record.

    outcome: `ok`, `client_gone`, `upstream_error`, `upstream_truncated`, `refused` (the
        upstream answered with an error), `error` (ours), `lost` (the process died), `replay` and
        `cache` (an answer that was kept before: no provider was asked and nothing is charged).
    usage_source: `reported` or `estimated`.
    price: the unit prices used, as text; cost is None when they are not known.
    upstream_id: the id the upstream gave its answer, where others may refer to it.
    """

    request_id: str
    at_ns: int
    tenant: str
    user: str | None
    key_id: str | None
    endpoint: str
    operation: str
    model: str
    provider: str
    upstream_model: str
    route: str | None
    streamed: bool
    generation: str
    attempts: int
    status: int
    outcome: str
    code: str | None
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    usage_source: str
    cost_nano_usd: int | None
    price: str | None
    first_byte_us: int | None
    total_us: int
    client_request_id: str | None = None
    upstream_id: str | None = None


Entry = Opened | Progress | Settled
