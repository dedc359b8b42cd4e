"""Compiles a configuration into plans: for a tenant and a model, where a request goes.

Names are resolved in the tenant first, then among the shared. Plans are made at the first use
of a name and kept; a name that no configuration lists (where every name is passed on) can be
anything a caller writes, so what is kept is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from llmgw.config.document import Document
from llmgw.config.models import (
    BreakerSettings,
    FallbackSettings,
    ModelSettings,
    RetrySettings,
    StickyHeader,
    TargetSettings,
    TimeoutSettings,
)
from llmgw.config.routes import RouteSettings
from llmgw.core.errors import ModelNotFound, NotFound, PermissionDenied
from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.core.target import Target
from llmgw.engine.breaker import BreakerRules
from llmgw.engine.health import Healths
from llmgw.engine.match import PREFIX, asked_of
from llmgw.engine.plan import Fallback, Lane, Plan, RetryRules, lane
from llmgw.engine.sticky import by_conversation, by_header, by_user
from llmgw.policies.access import Access, allows
from llmgw.policies.rate_limit import RateLimit
from llmgw.policies.upstream_state import KnownResponses, UpstreamState
from llmgw.ports.policy import Policy
from llmgw.ports.provider import Provider
from llmgw.ports.transport import Origin, Timeouts, Transport
from llmgw.runtime.limits import Limits
from llmgw.runtime.routes import build_routes
from llmgw.tokens.prices import PriceTable, UnitPrices
from llmgw.tokens.unit_prices import worst_cost_nano_usd

_KEPT = 8192
PPM = 1_000_000


class Plans:
    """The plans of one generation.

    provider: the provider that a name means to a tenant.
    transport: the shared upstream client.
    limits: what requests are counted by.
    prices: a tenant's price table.
    healths: what is known of targets from earlier generations too.
    """

    def __init__(
        self,
        document: Document,
        provider: Callable[[str, str], Provider],
        transport: Transport,
        known_responses: KnownResponses,
        limits: Limits,
        prices: Callable[[str], PriceTable],
        healths: Healths,
    ) -> None:
        self._document = document
        self._provider = provider
        self._transport = transport
        self._access = Access()
        self._upstream_state = UpstreamState(known_responses)
        self._limits = limits
        self._prices = prices
        self._healths = healths
        self._plans: dict[tuple[str, str], Plan] = {}
        self._routes = build_routes(document)
        self._route_settings = {route.name: route for route in document.routes}
        self._routed: dict[tuple[str, str, str], Plan] = {}

    def match(self, ex: Exchange) -> Plan:
        """The plan for a request. Raises ModelNotFound and PermissionDenied."""
        principal = ex.principal
        model = ex.model
        assert principal is not None
        assert model is not None
        if self._routes is not None:
            name = self._routes.first(asked_of(ex))
            if name is not None:
                return self._by_route(ex, principal.tenant, model, self._route_settings[name])
            if ex.fields.get(PREFIX):
                raise NotFound("there is nothing at this path")
        return self._plans.get((principal.tenant, model)) or self._compiled(principal.tenant, model)

    @property
    def prefixes(self) -> tuple[bytes, ...]:
        """What routes take off paths, the longest first."""
        found = {route.strip_prefix for route in self._document.routes if route.strip_prefix is not None}
        return tuple(prefix.encode() for prefix in sorted(found, key=len, reverse=True))

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

    def _by_route(self, ex: Exchange, tenant: str, model: str, route: RouteSettings) -> Plan:
        """The plan of a request that takes a route; its model is what answers from then on."""
        if route.tenant is not None and route.tenant != tenant:
            raise PermissionDenied("this route belongs to another tenant than the credential")
        # The credential is held to the name that answers, as if it had been asked for.
        ex.model = model = route.model or model
        key = (tenant, model, route.name)
        plan = self._routed.get(key)
        if plan is None:
            plan = self._along(tenant, model, route)
            if len(self._routed) >= _KEPT:
                self._routed.clear()
            self._routed[key] = plan
        return plan

    def _along(self, tenant_name: str, model: str, route: RouteSettings) -> Plan:
        """The model's plan, or that of the route's own targets, with what the route says otherwise."""
        tenant = self._document.tenants.get(tenant_name)
        if route.targets is None or tenant is None:
            plan = self._compiled(tenant_name, model)
        else:
            if not allows(model, None if model in tenant.models else tenant.allow_models, tenant.deny_models):
                raise _not_allowed(model)
            own = ModelSettings(strategy=route.strategy or "priority", targets=route.targets)
            plan = self._plan(tenant_name, model, own)
        owner = tenant_name if tenant is not None and model in tenant.models else None
        limit = self._limits.rate_limit(model, owner, route.name)
        said = route.timeouts
        return replace(
            plan,
            policies=tuple(limit if isinstance(one, RateLimit) else one for one in plan.policies),
            timeouts=Timeouts(
                said.connect or plan.timeouts.connect_s,
                said.first_byte or plan.timeouts.first_byte_s,
                said.idle or plan.timeouts.idle_s,
                said.total or plan.timeouts.total_s,
            ),
            route=route.name,
        )

    def _compiled(self, tenant: str, model: str) -> Plan:
        """The plan, kept from then on."""
        plan = self._plans.get((tenant, model))
        if plan is None:
            plan = self._compile(tenant, model)
            if len(self._plans) >= _KEPT:
                self._plans.clear()
            self._plans[tenant, model] = plan
        return plan

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
        # The name is the caller's word, so what was learnt of it is not kept.
        lanes = (self._lane(tenant_name, model, TargetSettings(provider=passthrough, model=model), None),)
        return self._assembled(tenant_name, model, lanes, TimeoutSettings(), None)

    def _plan(self, tenant: str, model: str, settings: ModelSettings, owner: str | None = None) -> Plan:
        rules = _breaker_rules(settings.breaker)
        lanes = [self._lane(tenant, model, target, rules) for target in settings.targets]
        if settings.strategy == "cost":
            lanes = self._cheapest_first(tenant, lanes)
        plan = self._assembled(
            tenant,
            model,
            tuple(lanes),
            settings.timeouts,
            owner,
            more_prices=lambda: self._fallback_prices(tenant, settings, {model}),
        )
        return replace(
            plan,
            strategy=settings.strategy,
            sticky=_sticky(settings),
            retry=_retry_rules(settings.retry),
            fallbacks=tuple(self._fallback(tenant, fallback) for fallback in settings.fallbacks),
            refuses_loss=settings.on_loss == "reject",
        )

    def _fallback(self, tenant: str, settings: FallbackSettings) -> Fallback:
        def plan() -> Plan | None:
            try:
                return self._compiled(tenant, settings.model)
            except (ModelNotFound, PermissionDenied):
                return None

        return Fallback(settings.model, frozenset(settings.on), plan)

    def _fallback_prices(
        self, tenant: str, settings: ModelSettings, seen: set[str]
    ) -> list[UnitPrices | None]:
        """What the model's fallbacks may cost, so that a budget holds whichever answers."""
        found: list[UnitPrices | None] = []
        for fallback in settings.fallbacks:
            if fallback.model not in seen:
                plan = self._fallback(tenant, fallback).plan()
                found += self._lane_prices(tenant, plan.lanes) if plan is not None else []
        return found

    def _cheapest_first(self, tenant: str, lanes: list[Lane]) -> list[Lane]:
        """By what a million tokens in and as many out cost; those without a price come last."""
        costs = [
            worst_cost_nano_usd(prices, 1_000_000, 1_000_000) if prices is not None else None
            for prices in self._lane_prices(tenant, tuple(lanes))
        ]
        order = sorted(range(len(lanes)), key=lambda index: (costs[index] is None, costs[index] or 0))
        return [lanes[index] for index in order]

    def _assembled(
        self,
        tenant: str,
        model: str,
        lanes: tuple[Lane, ...],
        timeouts: TimeoutSettings,
        owner: str | None,
        more_prices: Callable[[], list[UnitPrices | None]] = list,
    ) -> Plan:
        """The plan, with its policies in their one order."""
        policies: list[Policy] = [self._access]
        if not all(one.owned for one in lanes):
            policies.append(self._upstream_state)
        policies.append(self._limits.rate_limit(model, owner, None))
        policies.append(self._limits.quota(model, lambda: self._lane_prices(tenant, lanes) + more_prices()))
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

    def _lane(self, tenant: str, model: str, target: TargetSettings, rules: BreakerRules | None) -> Lane:
        """rules: of its breaker, None for a target that is never left alone."""
        provider = self._provider(tenant, target.provider)
        owned = self._document.owns_provider(tenant, target.provider)
        owner = tenant if owned else None
        return lane(
            Target(provider.name, provider.kind, provider.vendor, target.model, _base_url(provider.origin)),
            provider,
            provider.transport or self._transport,
            model=model,
            generation=self._document.generation,
            owned=owned,
            health=self._healths.of(owner, provider.name, target.model, rules) if rules is not None else None,
            weight=target.weight,
        )


def _breaker_rules(settings: BreakerSettings | None) -> BreakerRules | None:
    if settings is None:
        return None
    return BreakerRules(settings.failure_ratio, settings.min_calls, settings.window, settings.open_for)


def _retry_rules(settings: RetrySettings) -> RetryRules:
    return RetryRules(settings.attempts, settings.base, settings.max, settings.budget / PPM)


def _sticky(settings: ModelSettings) -> Callable[[Exchange], str | None] | None:
    sticky = settings.sticky
    if isinstance(sticky, StickyHeader):
        return by_header(sticky.header)
    return {None: None, "user": by_user, "conversation": by_conversation}[sticky]


def _base_url(origin: Origin) -> str:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return f"{origin.scheme}://{host}:{origin.port}"


def _not_allowed(model: str) -> PermissionDenied:
    return PermissionDenied(f"this tenant may not use model '{model[:128]}'", param="model")
