"""`idempotency`: what an `Idempotency-Key` means, for everybody, a tenant or a route.

What a route leaves unset is as its tenant says, then as the top level does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator

from llmgw.config.limits import Sparse
from llmgw.config.quantities import Duration, PositiveDuration, Size, render_duration
from llmgw.config.section import Section, inheriting

_LEAST_TTL_S = 60.0
_MOST_TTL_S = 31 * 86_400.0
_MOST_WAIT_S = 120.0
_MOST_BODY = 64 * 1024 * 1024


def _ttl(seconds: float) -> float:
    if not _LEAST_TTL_S <= seconds <= _MOST_TTL_S:
        raise ValueError(f"{render_duration(seconds)} is not between 1m and 31d")
    return seconds


def _wait(seconds: float) -> float:
    if seconds > _MOST_WAIT_S:
        raise ValueError(f"{render_duration(seconds)} is more than 2m")
    return seconds


def _body(size: int) -> int:
    if not 1 <= size <= _MOST_BODY:
        raise ValueError("must be between 1B and 64MiB")
    return size


Mode = Literal["off", "optional", "required"]
Format = Literal["uuid4", "opaque"]
Ttl = Annotated[PositiveDuration, AfterValidator(_ttl)]
Wait = Annotated[Duration, AfterValidator(_wait)]
MaxBody = Annotated[Size, AfterValidator(_body)]


class IdempotencySettings(Section):
    """For everybody, unless a tenant or route says otherwise."""

    mode: Mode = "optional"
    """`required`: a request without a key is refused. `off`: keys mean nothing."""
    format: Format = "uuid4"
    """`opaque`: any 1 to 255 visible ASCII characters."""
    ttl: Ttl = 86_400.0
    """How long an answer is kept under its key."""
    wait: Wait = 0.0
    """How long a duplicate waits for the first request's answer before it is refused with 409."""
    max_body: MaxBody = 1024 * 1024
    """A longer answer is not kept; a duplicate of its request is refused, not run again."""


class IdempotencyOverride(Sparse):
    """For one route or tenant; what is unset is as the wider one says."""

    mode: Mode | None = None
    format: Format | None = None
    ttl: Ttl | None = None
    wait: Wait | None = None
    max_body: MaxBody | None = None


@dataclass(frozen=True, slots=True)
class IdempotencyTerms:
    """What holds for some requests."""

    mode: str
    format: str
    ttl_s: float
    wait_s: float
    max_body: int


def idempotency_terms(
    shared: IdempotencySettings, overrides: Iterable[IdempotencyOverride]
) -> IdempotencyTerms:
    """What holds. overrides: the narrowest first."""
    terms = inheriting(shared, overrides)
    return IdempotencyTerms(terms.mode, terms.format, terms.ttl, terms.wait, terms.max_body)
