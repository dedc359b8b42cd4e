"""Compiles a configuration into plans: for a tenant and a model, where a request goes.

Names are resolved in the tenant first, then among the shared. Plans are made at the first use
of a name and kept; a name that no configuration lists (where every name is passed on) can be
anything a caller writes, so what is kept is bounded.
"""

from __future__ import annotations

from collections.abc import Callable

from llmgw.config.document import Document
from llmgw.config.models import ModelSettings, TimeoutSettings
from llmgw.core.errors import ModelNotFound, PermissionDenied
from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.core.target import Target
from llmgw.engine.plan import Lane, Plan, lane
from llmgw.policies.access import Access, allows
from llmgw.policies.upstream_state import KnownResponses, UpstreamState
from llmgw.ports.policy import Policy
from llmgw.ports.provider import Provider
from llmgw.ports.transport import Origin, Timeouts, Transport
from llmgw.runtime.limits import Limits
from llmgw.tokens.prices import PriceTable, UnitPrices

_KEPT = 8192


class Plans:
    """The plans of one generation.

    provider: the provider that a name means to a tenant.
    transport: the shared upstream client.
    limits: what requests are counted by.
    prices: a tenant's price table.
    """

    def __init__(
        self,
        document: Document,
        provider: Callable[[str, str], Provider],
        transport: Transport,
        known_responses: KnownResponses,
        limits: Limits,
        prices: Callable[[str], PriceTable],
    ) -> None:
        self._document = document
        self._provider = provider
        self._transport = transport
        self._access = Access()
        self._upstream_state = UpstreamState(known_responses)
        self._limits = limits
        self._prices = prices
        self._plans: dict[tuple[str, str], Plan] = {}

    def match(self, ex: Exchange) -> Plan:
        """The plan for a request. Raises ModelNotFound and PermissionDenied."""
        principal = ex.principal
        model = ex.model
        assert principal is not None
        assert model is not None
        plan = self._plans.get((principal.tenant, model))
        if plan is None:
            plan = self._compile(principal.tenant, model)
            if len(self._plans) >= _KEPT:
                self._plans.clear()
            self._plans[principal.tenant, model] = plan
        return plan

    def models(self, principal: Principal) -> list[str]:
        """The names that a principal may use. Empty where every name is passed on."""
        tenant = self._document.tenants.get(principal.tenant)
        if tenant is None:
            return []
        names = {
            name for name in self._document.models if allows(name, tenant.allow_models, tenant.deny_models)
        }
        names.update(name for name in tenant.models if allows(name, None, tenant.deny_models))
        return sorted(name for name in names if allows(name, principal.allow_models))

    def _compile(self, tenant_name: str, model: str) -> Plan:
        tenant = self._document.tenants.get(tenant_name)
        if tenant is None:
            raise PermissionDenied("the tenant of this credential is not configured")
        own = tenant.models.get(model)
        if own is not None:
            if not allows(model, None, tenant.deny_models):
                raise _not_allowed(model)
            return self._plan(tenant_name, model, own, owner=tenant_name)
        shared = self._document.models.get(model)
        passthrough = self._document.passthrough(tenant_name)
        if shared is None and passthrough is None:
            raise ModelNotFound(f"no model named '{model[:128]}'", param="model")
        if not allows(model, tenant.allow_models, tenant.deny_models):
            raise _not_allowed(model)
        if shared is not None:
            return self._plan(tenant_name, model, shared)
        assert passthrough is not None
        lanes = (self._lane(tenant_name, model, passthrough, model),)
        return self._assembled(tenant_name, model, lanes, TimeoutSettings(), None)

    def _plan(self, tenant: str, model: str, settings: ModelSettings, owner: str | None = None) -> Plan:
        lanes = tuple(self._lane(tenant, model, target.provider, target.model) for target in settings.targets)
        return self._assembled(tenant, model, lanes, settings.timeouts, owner)

    def _assembled(
        self,
        tenant: str,
        model: str,
        lanes: tuple[Lane, ...],
        timeouts: TimeoutSettings,
        owner: str | None,
    ) -> Plan:
        """The plan, with its policies in their one order."""
        policies: list[Policy] = [self._access]
        if not all(one.owned for one in lanes):
            policies.append(self._upstream_state)
        policies.append(self._limits.rate_limit(model, owner, None))
        policies.append(self._limits.quota(model, lambda: self._lane_prices(tenant, lanes)))
        return Plan(
            model,
            tuple(policies),
            lanes,
            Timeouts(timeouts.connect, timeouts.first_byte, timeouts.idle, timeouts.total),
        )

    def _lane_prices(self, tenant: str, lanes: tuple[Lane, ...]) -> list[UnitPrices | None]:
        table = self._prices(tenant)
        return [
            table.unit_prices(
                one.target.provider,
                one.target.kind,
                one.target.vendor,
                one.target.model,
                base_url=one.target.base_url,
            )
            for one in lanes
        ]

    def _lane(self, tenant: str, model: str, provider_name: str, upstream_model: str) -> Lane:
        provider = self._provider(tenant, provider_name)
        return lane(
            Target(provider.name, provider.kind, provider.vendor, upstream_model, _base_url(provider.origin)),
            provider,
            provider.transport or self._transport,
            model=model,
            generation=self._document.generation,
            owned=self._document.owns_provider(tenant, provider_name),
        )


def _base_url(origin: Origin) -> str:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return f"{origin.scheme}://{host}:{origin.port}"


def _not_allowed(model: str) -> PermissionDenied:
    return PermissionDenied(f"this tenant may not use model '{model[:128]}'", param="model")
