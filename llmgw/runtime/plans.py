"""Compiles a configuration into plans: for a tenant and a model, where a request goes.

Names are resolved in the tenant first, then among the shared. Plans are made at the first use
of a name and kept; a name that no configuration lists (where every name is passed on) can be
anything a caller writes, so what is kept is bounded.
"""

from __future__ import annotations

import re
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
from llmgw.config.tenants import TenantSettings
from llmgw.core.errors import ModelNotFound, NotFound, PermissionDenied
from llmgw.core.exchange import Exchange
from llmgw.core.facts import UNKNOWN, ModelFacts
from llmgw.core.principal import Principal
from llmgw.core.target import Target
from llmgw.engine.breaker import BreakerRules
from llmgw.engine.health import Health, Healths
from llmgw.engine.match import PREFIX, asked_of
from llmgw.engine.plan import Fallback, Lane, Mirror, Plan, RetryRules, lane
from llmgw.engine.sticky import by_conversation, by_header, by_user
from llmgw.policies.access import Access, allows
from llmgw.policies.capabilities import Capabilities
from llmgw.policies.idempotency import KEY, Idempotency, Names
from llmgw.policies.rate_limit import RateLimit
from llmgw.policies.shared_limits import together
from llmgw.policies.upstream_state import KnownResponses, UpstreamState
from llmgw.ports.policy import Policy
from llmgw.ports.provider import Provider
from llmgw.ports.transport import Origin, Timeouts, Transport
from llmgw.runtime.caching import Caching
from llmgw.runtime.limits import Limits
from llmgw.runtime.once import Once, Refusal
from llmgw.runtime.redacting import Redacting
from llmgw.runtime.routes import build_routes
from llmgw.stores.idempotency_memory import MemoryIdempotency
from llmgw.stores.targets import MemoryTarget
from llmgw.tokens.facts import facts_of
from llmgw.tokens.prices import PriceTable, UnitPrices
from llmgw.tokens.unit_prices import worst_cost_nano_usd

_KEPT = 8192
_is_name = re.compile(r"[^\s\x00-\x1f\x7f]{1,256}").fullmatch
"""What a configured name can be. Others, which only callers make up, are nobody's."""
PPM = 1_000_000
_LINKING = "gemini"
"""The kind whose accounts keep files that links lead to."""


class Plans:
    """The plans of one generation.

    provider: the provider that a name means to a tenant.
    transport: the shared upstream client.
    limits: what requests are counted by.
    prices: a tenant's price table.
    healths: what is known of targets from earlier generations too.
    once: what idempotency keys mean; None: nothing.
    caching: whose answers are kept; None keeps none.
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
        caching: Caching | None = None,
        once: Once | None = None,
    ) -> None:
        self._document = document
        self._once = once or Once(document, Names(MemoryIdempotency()))
        self._caching = caching or Caching(document, None)
        self._redacting = Redacting(document)
        self._provider = provider
        self._transport = transport
        self._access = Access()
        self._upstream_state = UpstreamState(known_responses)
        self._state_with_links = UpstreamState(known_responses, links=True)
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
        try:
            if self._routes is not None:
                name = self._routes.first(asked_of(ex))
                if name is not None:
                    return self._by_route(ex, principal.tenant, model, self._route_settings[name])
                if ex.fields.get(PREFIX):
                    raise NotFound("there is nothing at this path")
            return self._plans.get((principal.tenant, model)) or self._compiled(principal.tenant, model)
        except ModelNotFound as error:
            if KEY not in ex.fields:
                raise
            return self._answered_before(principal.tenant, model, error)

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

    def facts(self, principal: Principal, model: str) -> ModelFacts:
        """What the configuration and the first target tell of a model that a principal may use.

        Nothing of a name that only a route knows, or that only a route lets it use.
        """
        try:
            target = self._compiled(principal.tenant, model).lanes[0].target
        except (ModelNotFound, PermissionDenied):
            return UNKNOWN
        tenant = self._document.tenants[principal.tenant]
        settings = tenant.models.get(model) or self._document.models.get(model)
        return facts_of(target, settings.facts.said) if settings is not None else facts_of(target)

    def _answered_before(self, tenant: str, model: str, error: ModelNotFound) -> Plan:
        """For a model that is gone: what was answered while it was there is given again, else `error`."""
        limit = self._limits.rate_limit(None, None, None)
        plan = Plan(model, (self._access, limit), (), Timeouts())
        plan = self._once.onto(plan, tenant)
        return replace(plan, policies=(*plan.policies, Refusal(error)))

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
            if not _is_name(model):
                raise _no_model(model)
            plan = self._plan(tenant_name, model, self._aimed(tenant, model, route, route.targets))
        owner = tenant_name if tenant is not None and model in tenant.models else None
        limit = self._limits.rate_limit(model, owner, route.name)
        said = route.timeouts
        along = replace(
            plan,
            policies=together(
                [
                    limit if isinstance(one, RateLimit) else one
                    for one in plan.policies
                    if not isinstance(one, Idempotency)
                ]
            ),
            timeouts=Timeouts(
                said.connect or plan.timeouts.connect_s,
                said.first_byte or plan.timeouts.first_byte_s,
                said.idle or plan.timeouts.idle_s,
                said.total or plan.timeouts.total_s,
            ),
            route=route.name,
        )
        along = self._redacting.onto(self._once.onto(along, tenant_name), tenant_name)
        return self._caching.onto(along, tenant_name)

    def _aimed(
        self, tenant: TenantSettings, model: str, route: RouteSettings, targets: tuple[TargetSettings, ...]
    ) -> ModelSettings:
        """The model's settings, if there are any, for the route's targets and no others."""
        said: dict[str, object] = {
            "targets": targets,
            "strategy": route.strategy or "priority",
            "fallbacks": (),
            "mirror": None,
        }
        named = tenant.models.get(model) or self._document.models.get(model) or ModelSettings(targets=targets)
        return named.model_copy(update=said)

    def _compiled(self, tenant: str, model: str) -> Plan:
        """The plan, kept from then on."""
        plan = self._plans.get((tenant, model))
        if plan is None:
            plan = self._redacting.onto(self._once.onto(self._compile(tenant, model), tenant), tenant)
            plan = self._caching.onto(plan, tenant)
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
        if shared is None and (passthrough is None or not _is_name(model)):
            raise _no_model(model)
        if not allows(model, tenant.allow_models, tenant.deny_models):
            raise _not_allowed(model)
        if shared is not None:
            return self._plan(tenant_name, model, shared)
        assert passthrough is not None
        # Gemini's API takes both names for the same.
        if not allows(model.removeprefix("models/"), None, tenant.deny_models):
            raise _not_allowed(model)
        # The name is the caller's word, so what was learnt of it is not kept.
        lanes = (
            self._lane(
                tenant_name, model, TargetSettings(provider=passthrough, model=model), None, kept=False
            ),
        )
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
            facts=settings.facts.said,
        )
        return replace(
            plan,
            strategy=settings.strategy,
            sticky=_sticky(settings),
            retry=_retry_rules(settings.retry),
            fallbacks=tuple(self._fallback(tenant, fallback) for fallback in settings.fallbacks),
            refuses_loss=settings.on_loss == "reject",
            mirror=self._mirror(tenant, model, settings),
            keep_alive_s=settings.timeouts.keep_alive,
            hedge_after_s=settings.hedge.after if settings.hedge is not None else None,
        )

    def _mirror(self, tenant: str, model: str, settings: ModelSettings) -> Mirror | None:
        mirror = settings.mirror
        if mirror is None:
            return None
        trial = self._lane(tenant, model, mirror.target, None, kept=False)
        return Mirror(trial, mirror.share / PPM, None if trial.owned else self._state_at((trial,)))

    def _state_at(self, lanes: tuple[Lane, ...]) -> UpstreamState:
        links = any(one.target.kind == _LINKING and not one.owned for one in lanes)
        return self._state_with_links if links else self._upstream_state

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
        facts: ModelFacts = UNKNOWN,
    ) -> Plan:
        """The plan, with its policies in their one order."""
        policies: list[Policy] = [self._access]
        if False in (facts.images, facts.tools, facts.json_schema):
            policies.append(Capabilities(model, facts))
        if not all(one.owned for one in lanes):
            policies.append(self._state_at(lanes))
        policies.append(self._limits.rate_limit(model, owner, None))
        policies.append(self._limits.quota(model, lambda: self._lane_prices(tenant, lanes) + more_prices()))
        return Plan(
            model,
            together(policies),
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

    def _lane(
        self,
        tenant: str,
        model: str,
        target: TargetSettings,
        rules: BreakerRules | None,
        *,
        kept: bool = True,
    ) -> Lane:
        """rules: of its breaker, None for a target that has none. kept: what is learnt of it is."""
        provider = self._provider(tenant, target.provider)
        owned = self._document.owns_provider(tenant, target.provider)
        owner = tenant if owned else None
        return lane(
            Target(provider.name, provider.kind, provider.vendor, target.model, _base_url(provider.origin)),
            provider,
            _transport(provider, self._transport),
            model=model,
            generation=self._document.generation,
            owned=owned,
            health=self._healths.of(owner, provider.name, target.model, rules)
            if kept
            else Health(None, MemoryTarget(), self._healths.account(owner, provider.name)),
            weight=target.weight,
        )


def _transport(provider: Provider, shared: Transport) -> Transport:
    """How a provider is reached. Few have a way of their own, fewer one that leads over the shared client."""
    over: Callable[[Transport], Transport] | None = getattr(provider, "over", None)
    return over(shared) if over is not None else provider.transport or shared


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


def _no_model(model: str) -> ModelNotFound:
    return ModelNotFound(f"no model named '{model[:128]}'", param="model")


def _not_allowed(model: str) -> PermissionDenied:
    return PermissionDenied(f"this tenant may not use model '{model[:128]}'", param="model")
