"""Compiles the limits and quotas of a document for a caller and a model.

Counters are named here, by what is counted and whose it is and never by how much is allowed, so
that they go on through a changed limit. A tenant's name is part of every counter that is its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from urllib.parse import quote
from zoneinfo import ZoneInfo

from llmgw.config.document import Document
from llmgw.config.limits import LimitRule
from llmgw.config.quotas import QuotaRule
from llmgw.core.claim import CONCURRENCY, Claim, Rule
from llmgw.core.clock import Clock
from llmgw.core.principal import Principal
from llmgw.policies.client_address import ClientAddress
from llmgw.policies.places import Places
from llmgw.policies.quota import Allowance, Quota
from llmgw.policies.rate_limit import Levels, RateLimit, UnprovedLimit, claim_of
from llmgw.policies.shared_limits import SharedQuota, SharedRateLimit
from llmgw.ports.alerts import Alerter
from llmgw.ports.counters import CounterStore, SharedCounters
from llmgw.tokens.prices import UnitPrices

_NAMES = {
    "per_key": "per-key",
    "per_user": "per-user",
    "per_model": "per-model",
    "per_route": "per-route",
    "per_tenant": "per-tenant",
    "per_ip": "per-ip",
    "global": "global",
}
"""The levels as `X-RateLimit-Policy` names them, in its order."""
_NS = 1_000_000_000


class Limits:
    """What a generation counts, on counters that outlive it.

    shared: counters of all hosts, for all but places and requests of nobody.
    """

    def __init__(
        self,
        document: Document,
        counters: CounterStore,
        clock: Clock,
        alerter: Alerter,
        shared: SharedCounters | None = None,
    ) -> None:
        self._document = document
        self._counters = counters
        self._shared = shared
        self._clock = clock
        self._alerter = alerter
        trusted = document.server.trusted_proxies
        self._address = ClientAddress(trusted, document.limits.ip_exempt)
        self._caller = ClientAddress(trusted, ())
        self._counts_proved = document.limits.ip_apply_to == "all"
        concurrency = document.limits.concurrency
        self._place = _place(document)
        self._places = (
            Places(concurrency.queue, concurrency.queue_wait) if concurrency is not None else Places(0, 0.0)
        )

    def rate_limit(self, model: str | None, owner: str | None, route: str | None) -> RateLimit:
        """The rate limits of requests for a model. owner: the tenant whose own model it is."""
        levels = partial(self.levels, model=model, owner=owner, route=route)
        address = self._address if self._counts_proved else None
        rest = (address, self._caller, self._places, self._clock.utc_offset_ns)
        if self._shared is None:
            return RateLimit(self._counters, levels, *rest)
        # What asks for no model is not on the road, but in a task.
        strands = model is not None or route is not None
        return SharedRateLimit(self._shared, self._counters, levels, *rest, strands=strands)

    def unproved(self) -> UnprovedLimit:
        """The limits of requests that nobody is known to have sent."""
        rules = _named(self._document.limit_rules("", None, None))
        levels = Levels(
            (),
            tuple(claim_of(rule, "") for level, _, rule in rules if level == "global"),
            tuple(rule for level, _, rule in rules if level == "per_ip" and rule.unit == "requests"),
            None,
        )
        return UnprovedLimit(self._counters, levels, self._address, self._clock.utc_offset_ns)

    def quota(self, model: str, prices: Callable[[], Sequence[UnitPrices | None]]) -> Quota:
        """The quotas of requests for a model."""

        def of(principal: Principal) -> list[Allowance]:
            return allowances(self._document, principal.tenant, principal.user, principal.key_id, model)

        if self._shared is None:
            return Quota(self._counters, of, prices, self._clock, self._alerter)
        return SharedQuota(self._shared, self._counters, of, prices, self._clock, self._alerter)

    def levels(self, principal: Principal, model: str | None, owner: str | None, route: str | None) -> Levels:
        """The limits of a caller."""
        near: list[Claim] = []
        far: list[Claim] = []
        by_address: list[Rule] = []
        by_caller: list[Rule] = []
        rules = self._document.limit_rules(principal.tenant, principal.user, principal.key_id, route)
        for level, scope, rule in _named(rules):
            if level == "per_ip":
                by_address.append(rule)
            elif level == "per_user" and principal.user is None and principal.key_id is None:
                by_caller.append(rule)
            else:
                subject = _subject(level, scope, principal, model, owner, route)
                if subject is not None:
                    (far if level == "global" else near).append(claim_of(rule, subject))
        return Levels(tuple(near), tuple(far), tuple(by_address), self._place, tuple(by_caller))


def allowances(
    document: Document, tenant: str, user: str | None, key_id: str | None, model: str | None
) -> list[Allowance]:
    """The quotas of a caller that count requests for a model; for None, all of them."""
    return [
        _allowance(rule, tenant, user, key_id)
        for rule in document.quota_rules(tenant, user, key_id)
        if model is None or rule.model is None or fnmatchcase(model, rule.model)
    ]


def _allowance(rule: QuotaRule, tenant: str, user: str | None, key_id: str | None) -> Allowance:
    subject = {"tenant": tenant}
    who = _part(tenant)
    if rule.per == "user":
        who += f"/{_caller(user, key_id)}"
        if user is not None:
            subject["user"] = user
        elif key_id is not None:
            subject["key"] = key_id
    elif rule.per == "key":
        who += f"/{_caller(None, key_id)}"
        if key_id is not None:
            subject["key"] = key_id
    pattern = "*" if rule.model is None else _part(rule.model)
    return Allowance(
        name=f"quota-{rule.per}-{rule.unit.replace('_', '-')}-{rule.window}",
        key=f"quota|{rule.per}|{rule.unit}|{rule.window}|{rule.timezone}|{pattern}|{who}",
        subject=subject,
        unit=rule.unit,
        limit=rule.limit,
        window=rule.window,
        zone=ZoneInfo(rule.timezone),
        model=rule.model,
        alert_at=rule.alert_at,
        warn=rule.warn,
        shadow=rule.shadow,
        reserve_output=rule.reserve_output,
        clamp=rule.clamp,
        on_store_error=rule.on_store_error,
    )


def _place(document: Document) -> Claim | None:
    concurrency = document.limits.concurrency
    if concurrency is None:
        return None
    rule = Rule(
        name="concurrency",
        counts="concurrency",
        algorithm=CONCURRENCY,
        unit="in_flight",
        limit=concurrency.in_flight,
        shadow=concurrency.mode == "shadow",
        on_store_error=concurrency.on_store_error,
    )
    return claim_of(rule, "")


def _named(rules: Sequence[LimitRule]) -> list[tuple[str, str, Rule]]:
    """Level, scope and rule, in the order of their names; names are unique."""
    ordered = sorted(
        (rule for rule in rules if rule.level in _NAMES),
        key=lambda rule: (list(_NAMES).index(rule.level), rule.unit != "requests"),
    )
    alike = Counter((rule.level, rule.unit) for rule in ordered)
    named = []
    for rule in ordered:
        window_ns = round(rule.window_s * _NS)
        name = _NAMES[rule.level] + ("" if rule.unit == "requests" else f"-{rule.unit}")
        if alike[rule.level, rule.unit] > 1:
            name += f"-{rule.window_s:g}s"
        counts = f"{rule.level}:{rule.unit}:{window_ns}:{rule.algorithm}:{rule.segments}"
        made = Rule(
            name=name,
            counts=counts,
            algorithm=rule.algorithm,
            unit=rule.unit,
            limit=rule.limit,
            window_ns=window_ns,
            segments=rule.segments,
            shadow=rule.shadow,
            on_store_error=rule.on_store_error,
        )
        named.append((rule.level, rule.scope, made))
    return named


def _subject(
    level: str, scope: str, principal: Principal, model: str | None, owner: str | None, route: str | None
) -> str | None:
    """Whose counter it is at a level; None where the level says nothing about the request."""
    tenant = _part(principal.tenant)
    if level == "global":
        return ""
    if level == "per_tenant":
        return tenant
    if level == "per_user":
        return f"{tenant}/{_caller(principal.user, principal.key_id)}"
    if level == "per_key":
        return None if principal.key_id is None else f"{tenant}/{_caller(None, principal.key_id)}"
    name = model if level == "per_model" else route
    if name is None:
        return None
    if scope:
        return f"{_part(scope)}/{_part(name)}"
    return f"{_part(owner) if owner is not None else ''}/{_part(name)}"


def _caller(user: str | None, key_id: str | None) -> str:
    """A user, else a key, else whoever has neither."""
    if user is not None:
        return f"u:{_part(user)}"
    return f"k:{_part(key_id)}" if key_id is not None else "anonymous"


def _part(text: str) -> str:
    """A name that cannot be taken for two parts of a counter's."""
    return quote(text, safe="@:*.")
