"""`cache`: answers that are kept and given again to the same request.

Said for everybody under `cache`, and otherwise for a model, a tenant or a route. What one of them
leaves unset is as the wider one says: a route, then a tenant's own model, the tenant, the shared
model, `cache`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from llmgw.config.limits import Sparse
from llmgw.config.quantities import Duration, PositiveDuration, Size
from llmgw.config.section import Flag, Mistake, Section, inheriting

_MODES = ("off", "exact")
_LEAST_MEMORY = 1024 * 1024
_MOST_MEMORY = 4 * 1024**3


def _mode(mode: object) -> object:
    if mode == "semantic":
        raise Mistake("semantic is not available in this version; use exact, or off")
    return mode


def _entry(size: int) -> int:
    if size < 1:
        raise ValueError("must be at least 1B")
    return size


def _memory(size: int) -> int:
    if not _LEAST_MEMORY <= size <= _MOST_MEMORY:
        raise ValueError("must be between 1MiB and 4GiB")
    return size


Mode = Annotated[
    Literal["off", "exact"], BeforeValidator(_mode), Field(json_schema_extra={"enum": [*_MODES]})
]
Scope = Literal["tenant", "user", "key"]
EntrySize = Annotated[Size, AfterValidator(_entry)]


_TOP_ONLY = {"memory": "is for all kept answers together, so it belongs under the top-level cache"}


class CacheSettings(Section):
    """For everybody, unless a model, tenant or route says otherwise."""

    mode: Mode = "off"
    """`exact`: the same request gets the answer that was given before, at no cost."""
    ttl: PositiveDuration = 3600.0
    """How long an answer is kept."""
    max_entry: EntrySize = 1024 * 1024
    """A longer answer is not kept."""
    scope: Scope = "tenant"
    """Who shares answers: all of a tenant, or only the requests of one user or one key."""
    tool_calls: Flag = False
    """Keep answers that call tools, too."""
    wait: Duration = 30.0
    """How long a request waits for the same one that is under way; then it goes on its own."""
    memory: Annotated[Size, AfterValidator(_memory)] = 64 * 1024 * 1024
    """What all kept answers may take: on this host, or in the Redis of `storage.redis`."""

    @model_validator(mode="after")
    def _entries_fit(self) -> CacheSettings:
        if self.max_entry > self.memory:
            raise Mistake("is more than memory, so such an answer could not be kept", member="max_entry")
        return self


class CacheOverride(Sparse):
    """For one route, tenant or model; what is unset is as the wider one says."""

    elsewhere = _TOP_ONLY

    mode: Mode | None = None
    ttl: PositiveDuration | None = None
    max_entry: EntrySize | None = None
    scope: Scope | None = None
    tool_calls: Flag | None = None
    wait: Duration | None = None


@dataclass(frozen=True, slots=True)
class CacheTerms:
    """What holds for some requests."""

    mode: str
    ttl_s: float
    max_entry: int
    scope: str
    tool_calls: bool
    wait_s: float


def cache_terms(shared: CacheSettings, overrides: Iterable[CacheOverride]) -> CacheTerms:
    """What holds. overrides: the narrowest first."""
    terms = inheriting(shared, overrides)
    return CacheTerms(terms.mode, terms.ttl, terms.max_entry, terms.scope, terms.tool_calls, terms.wait)
