"""Which requests run once for each `Idempotency-Key`, and where that is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from llmgw.config.document import Document
from llmgw.config.idempotency import IdempotencyTerms, idempotency_terms
from llmgw.core.clock import Clock
from llmgw.core.errors import GatewayError
from llmgw.core.exchange import Exchange
from llmgw.engine.plan import Plan
from llmgw.policies.client_address import ClientAddress
from llmgw.policies.idempotency import Idempotency, Names, Tell
from llmgw.policies.rate_limit import RateLimit
from llmgw.policies.shared_limits import SharedRateLimit
from llmgw.ports.policy import Policy

if TYPE_CHECKING:
    from llmgw.ports.idempotency import IdempotencyStore
    from llmgw.stores.redis_link import Link

OFF = "off"
REQUIRED = "required"


class Once:
    """What a document says of idempotency keys."""

    def __init__(self, document: Document, names: Names) -> None:
        self._document = document
        self._names = names
        self._address = ClientAddress(document.server.trusted_proxies, ())

    def terms(self, tenant: str, route: str | None) -> IdempotencyTerms:
        """What holds for a tenant's requests on a route."""
        document = self._document
        settings = document.tenants.get(tenant)
        said = [one.idempotency for one in (document.route(route), settings) if one is not None]
        return idempotency_terms(document.idempotency, said)

    def onto(self, plan: Plan, tenant: str) -> Plan:
        """The plan with what its keys mean, right behind the rate limits; a replay spends nothing else."""
        terms = self.terms(tenant, plan.route)
        if terms.mode == OFF:
            return plan
        policy = Idempotency(
            self._names,
            required=terms.mode == REQUIRED,
            form=terms.format,
            ttl_s=terms.ttl_s,
            wait_s=terms.wait_s,
            max_body=terms.max_body,
            address=self._address,
        )
        policies: list[Policy] = []
        for one in plan.policies:
            policies.append(one)
            if isinstance(one, RateLimit):
                policies.append(policy)
            if isinstance(one, SharedRateLimit) and terms.mode == REQUIRED:
                # Who sends no key is refused between the two, so they are not taken in one trip.
                one.quota = None
        return replace(plan, policies=tuple(policies))


class Refusal:
    """The policy that lets nobody on."""

    def __init__(self, error: GatewayError) -> None:
        self._error = error

    def admit(self, ex: Exchange) -> None:
        raise self._error


def open_names(document: Document, clock: Clock, link: Callable[[], Link | None] | None, tell: Tell) -> Names:
    """The names of this process, in Redis where hosts share one, else in a file of this host.

    link: gives the connection to Redis, if there is one.
    """
    storage = document.storage
    store: IdempotencyStore
    if storage.redis is not None and link is not None:
        from llmgw.stores.idempotency_redis import RedisIdempotency

        store = RedisIdempotency(link, storage.redis.url.budget_s)
    else:
        from llmgw.stores.idempotency_host import HostIdempotency

        loop = asyncio.get_running_loop()
        store = HostIdempotency(storage.data_dir, clock.utc_ns, loop, durable=storage.durability == "full")
    return Names(store, tell)
