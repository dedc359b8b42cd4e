"""Which requests have their answers kept, and where.

What a plan's answers are kept under changes with all that the configuration does to such requests,
and with the version of this program: after a reload that changes none of it they are still found,
and else they are not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from llmgw import __version__
from llmgw.config.cache import CacheTerms, cache_terms
from llmgw.config.document import Document
from llmgw.core.clock import steady_ns
from llmgw.engine.plan import Plan
from llmgw.policies.response_cache import ResponseCache, Shelf, Terms
from llmgw.ports.cache import CacheKey, CacheStore, Found
from llmgw.stores.cache_memory import MemoryCache

OFF = "off"
_NOT_OF_A_MODEL = {"timeouts", "retry", "breaker", "hedge", "mirror", "sticky", "cache", "idempotency"}
_NOT_OF_A_ROUTE = {"match", "limits", "timeouts", "cache", "idempotency"}
_NOT_OF_A_TENANT = {
    "name", "hosts", "allow_models", "deny_models", "providers", "models", "prices", "limits", "quotas",
    "users", "keys", "routes", "cache", "idempotency", "retention", "logging",
}  # fmt: skip
_NOT_OF_ALL = {
    "version", "server", "storage", "secrets", "providers", "models", "routes", "limits", "quotas", "alerts",
    "auth", "admin", "logging", "observability", "errors", "prices", "tenants", "include", "cache",
    "idempotency", "retention",
}  # fmt: skip
"""What changes no answer. Whatever else there comes to be is taken to change all of them."""


class NoCache:
    """Implements `ports.cache.CacheStore`: nothing is ever there."""

    def __init__(self) -> None:
        self.discarded = 0
        self.failed = 0
        self.size_bytes = 0
        self.secret: bytes | None = None

    def get(self, key: CacheKey, found: Found) -> None:
        found(None)

    def put(self, key: CacheKey, value: bytes, ttl_s: float) -> None:
        """It is gone."""

    def forget(self, tenants: frozenset[str]) -> None:
        """There is nothing of theirs."""

    def close(self) -> None:
        """Nothing is held."""


class Caching:
    """What a document says of caches. shelf: None where nobody is answered."""

    def __init__(self, document: Document, shelf: Shelf | None) -> None:
        self._document = document
        self._shelf = shelf
        self._for_all = _shown(document, _NOT_OF_ALL) if shelf is not None else None

    def terms(self, tenant: str, model: str, route: str | None) -> CacheTerms:
        """What holds for a tenant's requests for a model on a route."""
        document = self._document
        said = [one.cache for one in document.narrowest_first(tenant, model, route)]
        return cache_terms(document.cache, said)

    def onto(self, plan: Plan, tenant: str) -> Plan:
        """The plan with its cache, the last of its policies; or with none."""
        others = tuple(one for one in plan.policies if not isinstance(one, ResponseCache))
        terms = self.terms(tenant, plan.model, plan.route) if self._shelf is not None else None
        if self._shelf is None or terms is None or terms.mode == OFF:
            return plan if len(others) == len(plan.policies) else replace(plan, policies=others)
        cache = ResponseCache(
            self._shelf,
            Terms(terms.ttl_s, terms.max_entry, terms.scope, terms.tool_calls, terms.wait_s),
            self._fingerprint(plan, tenant),
            [lane.target for lane in plan.lanes],
            {name for lane in plan.lanes for name in lane.provider.forwards},
        )
        return replace(plan, policies=(*others, cache))

    def _fingerprint(self, plan: Plan, tenant: str) -> bytes:
        document = self._document
        settings = document.tenants[tenant]
        model = settings.models.get(plan.model) or document.models.get(plan.model)
        route = document.route(plan.route)
        providers = {lane.target.provider for lane in plan.lanes}
        said = [
            __version__,
            [[lane.target.provider, lane.target.base_url, lane.target.model] for lane in plan.lanes],
            _shown(model, _NOT_OF_A_MODEL),
            _shown(route, _NOT_OF_A_ROUTE),
            _shown(settings, _NOT_OF_A_TENANT),
            self._for_all,
            {name: _shown(document.provider(tenant, name), set()) for name in sorted(providers)},
        ]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()


class CacheRoom:
    """Where answers are kept, for as long as a process lives.

    make: opens a store of so many bytes; raises nothing. forget: nobody uses one any more.
    """

    def __init__(self, make: Callable[[int], CacheStore], forget: Callable[[], None]) -> None:
        self.shelf = Shelf(NoCache())
        self._make = make
        self._forget = forget
        self._memory: int | None = None
        self._tenants: frozenset[str] = frozenset()

    def prepare(self, document: Document) -> Shelf | None:
        """The shelf, if a document keeps anything. What is there stays, unless the size changes."""
        if not uses_cache(document):
            return None
        if document.cache.memory != self._memory:
            self.close()
            self._memory = document.cache.memory
            self.shelf.store = self._make(self._memory)
        return self.shelf

    def follow(self, document: Document) -> None:
        """Serve this document from now on: what it does not keep is let go, and tenants it has not."""
        if self.prepare(document) is None and self._memory is not None:
            self.close()
            self._forget()
        gone = self._tenants - document.tenants.keys()
        if gone:
            self.shelf.store.forget(gone)
        self._tenants = frozenset(document.tenants)

    def close(self) -> None:
        """What is kept goes on for other processes."""
        self.shelf.store.close()
        self.shelf.store = NoCache()
        self._memory = None


def room_of_one() -> CacheRoom:
    """For a process that shares with none."""
    return CacheRoom(lambda memory: MemoryCache(memory, steady_s), _nothing)


def uses_cache(document: Document) -> bool:
    """Whether any answer is kept."""
    said: list[str | None] = [document.cache.mode]
    said += [model.cache.mode for model in document.models.values()]
    said += [route.cache.mode for route in document.routes]
    for tenant in document.tenants.values():
        said.append(tenant.cache.mode)
        said += [model.cache.mode for model in tenant.models.values()]
    return any(mode not in (None, OFF) for mode in said)


def steady_s() -> float:
    """Seconds of a clock that nobody sets, the same for every process of the host."""
    return steady_ns() / 1e9


def _nothing() -> None:
    """There is nothing to forget but the memory."""


def _shown(section: Any, without: set[str]) -> Any:  # Any: sections of many types, and what they hold
    return None if section is None else section.model_dump(mode="json", exclude=without)
