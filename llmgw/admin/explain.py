"""Where a request would go, and why: the routes tried, the targets in order, limits, quotas, price.

It is asked of what the road itself asks: the same plans, the same order, the same refusals.
Nothing is sent and nothing is taken. Where the running gateway is not there to ask, what only it
knows is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, cast

from llmgw.admin.question import Question, exchange_of, principal_of
from llmgw.config.document import Document
from llmgw.core.clock import Clock
from llmgw.core.errors import GatewayError
from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.core.usage import Usage
from llmgw.engine.breaker import CLOSED, OPEN
from llmgw.engine.choose import choose
from llmgw.engine.health import Healths
from llmgw.engine.match import asked_of
from llmgw.engine.plan import Fallback, Lane, Plan
from llmgw.policies.access import Access, allows
from llmgw.policies.hosts import Hosts
from llmgw.policies.idempotency import Names
from llmgw.policies.upstream_state import KnownResponses
from llmgw.ports.alerts import NullAlerter
from llmgw.ports.counters import CounterStore
from llmgw.ports.provider import Provider
from llmgw.ports.stores import KeyEntry
from llmgw.ports.targets import TargetState, TargetStates
from llmgw.ports.transport import Origin, Transport
from llmgw.runtime.build import PriceTables
from llmgw.runtime.caching import OFF, Caching
from llmgw.runtime.limits import Limits
from llmgw.runtime.once import Once
from llmgw.runtime.plans import Plans
from llmgw.runtime.routes import build_routes
from llmgw.runtime.standing import Row, limit_rows, quota_rows
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.idempotency_memory import MemoryIdempotency
from llmgw.stores.targets import MemoryTarget, MemoryTargets
from llmgw.tokens.prices import cost_nano_usd
from llmgw.wire.urls import parse_base_url

INPUT_TOKENS = OUTPUT_TOKENS = 1000
"""Of the request whose price is estimated."""

_SETTLED = ("priority", "cost")
"""Strategies by which every request finds the same order."""
_NOWHERE = "https://nowhere.invalid"
_OF_THE_MOMENT = ("used", "held", "remaining", "resets_at")


@dataclass(frozen=True, slots=True)
class _Account:
    """What a plan asks of a provider to which nothing will be sent."""

    name: str
    kind: str
    vendor: str | None
    origin: Origin
    transport: None = None


class _Glimpse:
    """Implements `ports.targets.TargetStates`: what is known, to which asking adds nothing."""

    def __init__(self, states: TargetStates) -> None:
        self._known = dict(states.all())

    def of(self, name: str) -> TargetState:
        """The state under a name; for one that was never called, as new."""
        return self._known.get(name) or MemoryTarget()

    def all(self) -> list[tuple[str, TargetState]]:
        """Every name that was asked for since the gateway started."""
        return list(self._known.items())


class Explainer:
    """Of one document.

    counters, states: of the host that the gateway runs on; None when none runs.
    """

    def __init__(
        self,
        document: Document,
        clock: Clock,
        *,
        counters: CounterStore | None = None,
        states: TargetStates | None = None,
    ) -> None:
        self._document = document
        self._clock = clock
        self._is_live = counters is not None
        self._counters = counters or MemoryCounters(clock.steady_ns)
        self._limits = Limits(document, self._counters, clock, NullAlerter())
        self._prices = PriceTables(document)
        self._routes = build_routes(document)
        self._once = Once(document, Names(MemoryIdempotency()))
        self._caching = Caching(document, None)
        self._plans = Plans(
            document,
            self._account,
            cast("Transport", None),  # nothing is sent
            KnownResponses(),
            self._limits,
            self._prices,
            Healths(_Glimpse(states) if states is not None else MemoryTargets()),
        )
        self._hosts = Hosts({host: name for name, one in document.tenants.items() for host in one.hosts})

    def explain(self, question: Question, keys: Iterable[KeyEntry], now: float) -> dict[str, Any]:
        """All that can be said, as plain values. Any: they nest.

        keys: those that may be named. now: monotonic seconds, as breakers have them.
        Raises ValueError when the question cannot be understood.
        """
        told: dict[str, Any] = {
            "generation": self._document.generation,
            "live": self._is_live,
            "routes": [],
            "route": None,
            "model": question.model,
            "refused": None,
        }
        try:
            principal = principal_of(question, self._document, keys)
            told |= {"tenant": principal.tenant, "user": principal.user, "key": principal.key_id}
            ex = exchange_of(question, principal, self._document.generation, self._plans.prefixes)
            self._hosts.admit(ex)
            if self._routes is not None:
                told["routes"] = [
                    {"route": name, "taken": why_not is None, "why_not": why_not}
                    for name, why_not in self._routes.considered(asked_of(ex))
                ]
            plan = self._plans.match(ex)
            Access().admit(ex)
        except GatewayError as error:
            refusal = {"status": error.status, "code": error.code, "message": error.message}
            return told | {"refused": refusal}
        return told | self._of_plan(ex, principal, plan, now)

    def _of_plan(self, ex: Exchange, principal: Principal, plan: Plan, now: float) -> dict[str, Any]:
        timeouts = plan.timeouts
        targets = self._targets(ex, plan, now)
        fallbacks = [self._fallback(ex, principal, fallback, now) for fallback in plan.fallbacks]
        limits = self._limits_of(ex, principal, plan.route)
        quotas = self._quotas_of(ex, principal)
        every = [*targets, *(one for fallback in fallbacks for one in fallback["targets"])]
        return {
            "route": plan.route,
            "model": ex.model,
            "in_the_way": [*_spared(targets), *_unpriced(every, quotas), *_used_up(limits, quotas)],
            "strategy": plan.strategy,
            "sticky": plan.sticky is not None,
            "order_known": _is_certain(ex, plan),
            "attempts": plan.retry.attempts,
            "targets": targets,
            "fallbacks": fallbacks,
            "mirror": _mirror(plan),
            "timeouts": {
                "connect_s": timeouts.connect_s,
                "first_byte_s": timeouts.first_byte_s,
                "idle_s": timeouts.idle_s,
                "total_s": timeouts.total_s,
            },
            "idempotency": self._keys_of(principal, plan),
            "cache": self._cache_of(principal, plan),
            "redaction": _redaction(plan),
            "limits": limits,
            "quotas": quotas,
            "estimate": {
                "input_tokens": INPUT_TOKENS,
                "output_tokens": OUTPUT_TOKENS,
                "cost_nano_usd": next((one["cost_nano_usd"] for one in targets if not one["skipped"]), None),
            },
        }

    def _targets(self, ex: Exchange, plan: Plan, now: float) -> list[dict[str, Any]]:
        """In the order in which they would be asked, when chance is neither kind nor unkind."""
        lanes = choose(plan, ex, now, lambda: 0.5)
        whole = sum(lane.weight for lane in lanes)
        assert ex.principal is not None
        prices = self._prices(ex.principal.tenant)
        rows: list[dict[str, Any]] = []
        for lane in lanes:
            target = lane.target
            unit_prices = prices.unit_prices(
                target.provider, target.kind, target.vendor, target.model, base_url=target.base_url
            )
            usage = Usage(INPUT_TOKENS, OUTPUT_TOKENS)
            rows.append(
                {
                    "provider": target.provider,
                    "tenant": ex.principal.tenant if lane.owned else None,
                    "model": target.model,
                    "share": lane.weight / whole if plan.strategy == "weighted" and whole else None,
                    "breaker": self._breaker(lane, now),
                    "skipped": _skipped(lane, now) if self._is_live else None,
                    "cost_nano_usd": cost_nano_usd(unit_prices, usage) if unit_prices is not None else None,
                    "price": unit_prices.source if unit_prices is not None else None,
                }
            )
        return rows

    def _breaker(self, lane: Lane, now: float) -> str | None:
        if not self._is_live:
            return None
        breaker = lane.health.breaker
        return "off" if breaker is None else breaker.state(now)

    def _fallback(self, ex: Exchange, principal: Principal, fallback: Fallback, now: float) -> dict[str, Any]:
        plan = fallback.plan()
        skipped = None
        if plan is None:
            skipped = "this tenant may not use it"
        elif not allows(fallback.model, principal.allow_models):
            skipped = "this key may not use it"
        return {
            "model": fallback.model,
            "on": sorted(fallback.on),
            "skipped": skipped,
            "targets": self._targets(ex, plan, now) if plan is not None else [],
        }

    def _limits_of(self, ex: Exchange, principal: Principal, route: str | None) -> list[Row]:
        caller = (principal.tenant, principal.user, principal.key_id)
        rows = limit_rows(self._document, self._counters, self._clock, self._limits, caller, ex.model, route)
        return [self._known(row) for row in rows]

    def _quotas_of(self, ex: Exchange, principal: Principal) -> list[Row]:
        """Those that count requests for the model."""
        caller = (principal.tenant, principal.user, principal.key_id)
        rows = quota_rows(self._document, self._clock, self._counters.balance, [caller])
        return [
            self._known(row)
            for row in rows
            if row["model"] is None or fnmatchcase(ex.model or "", str(row["model"]))
        ]

    def _known(self, row: Row) -> Row:
        return row if self._is_live else row | {name: None for name in _OF_THE_MOMENT if name in row}

    def _keys_of(self, principal: Principal, plan: Plan) -> dict[str, Any]:
        terms = self._once.terms(principal.tenant, plan.route)
        if terms.mode == OFF:
            return {"mode": OFF}
        return {
            "mode": terms.mode,
            "format": terms.format,
            "ttl_s": terms.ttl_s,
            "wait_s": terms.wait_s,
            "max_body_bytes": terms.max_body,
        }

    def _cache_of(self, principal: Principal, plan: Plan) -> dict[str, Any]:
        terms = self._caching.terms(principal.tenant, plan.model, plan.route)
        if terms.mode == OFF:
            return {"mode": OFF}
        return {
            "mode": terms.mode,
            "ttl_s": terms.ttl_s,
            "scope": terms.scope,
            "max_entry_bytes": terms.max_entry,
            "tool_calls": terms.tool_calls,
            "wait_s": terms.wait_s,
        }

    def _account(self, tenant: str, name: str) -> Provider:
        settings: Any = self._document.provider(tenant, name)  # one of the kinds' models
        url = getattr(settings, "url", None)
        base = parse_base_url(url if isinstance(url, str) else _NOWHERE)
        origin = Origin(base.scheme, base.host, base.port)
        return cast("Provider", _Account(name, settings.kind, getattr(settings, "vendor", None), origin))


def _is_certain(ex: Exchange, plan: Plan) -> bool:
    """Whether each such request would ask the targets in the same order."""
    if plan.sticky is None:
        return plan.strategy in _SETTLED
    assert ex.principal is not None
    # Else it is the address, or the conversation, that keeps it at a target.
    is_told = ex.principal.user is not None or ex.principal.key_id is not None
    return is_told and plan.sticky(ex) is not None


def _mirror(plan: Plan) -> dict[str, Any] | None:
    if plan.mirror is None:
        return None
    target = plan.mirror.lane.target
    return {"provider": target.provider, "model": target.model, "share": plan.mirror.share}


def _spared(targets: list[dict[str, Any]]) -> Iterator[str]:
    if all(one["skipped"] for one in targets):
        yield "no target can be asked now"


def _unpriced(targets: list[dict[str, Any]], quotas: list[Row]) -> Iterator[str]:
    """A budget refuses what may cost anything."""
    if any(row["unit"] == "cost_nano_usd" and row["mode"] == "enforce" for row in quotas):
        for one in targets:
            if one["cost_nano_usd"] is None:
                name = f"{one['provider']}/{one['model']}"
                yield f"a budget applies and the price of {name} is not known; set it under prices.overrides"


def _redaction(plan: Plan) -> dict[str, Any] | None:
    redaction = plan.redaction
    if redaction is None:
        return None
    return {
        "requests": list(redaction.requests),
        "responses": list(redaction.responses),
        "on_error": "block" if redaction.blocks else "pass",
    }


def _used_up(limits: list[Row], quotas: list[Row]) -> Iterator[str]:
    for row in (*limits, *quotas):
        left = row["limit"] if row["remaining"] is None else row["remaining"]
        if row["mode"] == "enforce" and isinstance(left, int) and left <= 0:
            what = row.get("policy") or f"the quota of {row['unit']} per {row['per']} and {row['window']}"
            until = f" until {row['resets_at']}" if row["resets_at"] else ""
            yield f"nothing is left of {what}{until}"


def _skipped(lane: Lane, now: float) -> str | None:
    """Why a target would not be asked now."""
    health = lane.health
    if (wait_s := health.credential.cooled_until - now) > 0:
        return f"its credential was refused: left alone for {wait_s:.1f} s more"
    if (wait_s := health.state.cooled_until - now) > 0:
        return f"it asked to be spared: for {wait_s:.1f} s more"
    breaker = health.breaker
    if breaker is None or breaker.state(now) == CLOSED:
        return None
    if breaker.state(now) == OPEN:
        return f"its breaker is open: for {breaker.retry_in_s(now):.1f} s more"
    return "its breaker is half open: one request probes it" if breaker.retry_in_s(now) else None
