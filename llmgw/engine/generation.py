"""One validated configuration, compiled: what a request needs of it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmgw.core.exchange import Exchange
from llmgw.core.facts import UNKNOWN, ModelFacts
from llmgw.core.principal import Principal
from llmgw.engine.plan import Plan
from llmgw.ports.policy import Policy


def _nothing_known(principal: Principal, model: str) -> ModelFacts:
    return UNKNOWN


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """Immutable; a reload builds another and swaps one reference.

    name: a short hash of the contents, shown in `x-llmgw-config`.
    front: policies that ask who a request is from.
    match: the plan for a request whose principal and model are known. Raises ModelNotFound
        and PermissionDenied.
    flat_errors: errors have the flat shape on the dialects' paths too.
    models: the public names that a principal may use, sorted.
    unproved: counts a request that nobody is known to have sent. Raises LimitExceeded.
    elsewhere: the limits of a known caller's requests that are for no model.
    prefixes: what routes take off paths, the longest first.
    facts: what is known of one of the models that a principal may use.
    certificate_field: the header in which trusted proxies tell of certificates, where they may.
    """

    name: str
    front: tuple[Policy, ...]
    match: Callable[[Exchange], Plan]
    flat_errors: bool
    models: Callable[[Principal], list[str]]
    unproved: Callable[[Exchange], None]
    elsewhere: Policy
    prefixes: tuple[bytes, ...] = ()
    facts: Callable[[Principal, str], ModelFacts] = _nothing_known
    certificate_field: bytes | None = None
