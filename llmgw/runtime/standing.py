"""How limits and quotas stand, for people who ask.

Rows are plain values: what `llmgw quota show` and `llmgw limits show` print, and what the running
gateway answers them with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from llmgw.config.document import Document
from llmgw.core.claim import Claim
from llmgw.core.clock import Clock
from llmgw.core.principal import Principal
from llmgw.policies.quota import Allowance
from llmgw.ports.counters import CounterStore
from llmgw.runtime.limits import Limits, allowances

_NS = 1_000_000_000

Row = dict[str, str | int | None]
Caller = tuple[str, str | None, str | None]
"""Tenant, user, key id."""


def declared_callers(document: Document) -> list[Caller]:
    """Everybody whom the document names."""
    callers: list[Caller] = []
    for name, tenant in document.tenants.items():
        callers.append((name, None, None))
        callers.extend((name, user, None) for user in tenant.users)
        callers.extend((name, key.user, key.id) for key in tenant.keys)
    return callers


def quota_rows(
    document: Document,
    clock: Clock,
    balance: Callable[[str], tuple[int, int]],
    callers: Iterable[Caller],
) -> list[Row]:
    """Every quota of the callers as it stands in this period, each balance once.

    balance: spent and held by key.
    """
    now = clock.utc_ns()
    rows: dict[str, Row] = {}
    for tenant, user, key_id in callers:
        if tenant not in document.tenants:
            continue
        for allowance in allowances(document, tenant, user, key_id, None):
            if _names_subject(allowance):
                this = allowance.at(now, clock.utc_offset_ns)
                if this.key not in rows:
                    rows[this.key] = _quota_row(allowance, balance(this.key), this.end_ns)
    return list(rows.values())


def limit_rows(
    document: Document,
    counters: CounterStore,
    clock: Clock,
    limits: Limits,
    caller: Caller,
    model: str | None,
    route: str | None = None,
) -> list[Row]:
    """The rate limits of a caller as they stand, the place among those under way last."""
    tenant, user, key_id = caller
    owner = None
    if model is not None and tenant in document.tenants and model in document.tenants[tenant].models:
        owner = tenant
    levels = limits.levels(Principal(tenant, user, key_id), model, owner, route)
    claims = [*levels.near, *levels.far]
    if levels.place is not None:
        claims.append(levels.place)
    rows: list[Row] = []
    for claim, (_, remaining, at) in zip(
        claims, counters.peek([Claim(claim.rule, claim.key, 0) for claim in claims]), strict=True
    ):
        rule = claim.rule
        used = rule.limit - remaining
        rows.append(
            {
                "policy": rule.name,
                "unit": rule.unit,
                "limit": rule.limit,
                "window_s": rule.window_ns // _NS or None,
                "algorithm": rule.algorithm,
                "mode": "shadow" if rule.shadow else "enforce",
                "used": used,
                "remaining": remaining,
                "resets_at": _moment((at + clock.utc_offset_ns) // _NS) if at and used else None,
            }
        )
    return rows


def differences(before: Mapping[str, int], ledger: Mapping[str, int], after: Mapping[str, int]) -> list[Row]:
    """Balances that are not the sum of their records.

    before, after: the counters' spent amounts, read before and after the ledger was: requests
    that end meanwhile move a balance from the first to the second.
    """
    rows: list[Row] = []
    for key in sorted({*before, *ledger, *after}):
        low, recorded, high = before.get(key, 0), ledger.get(key, 0), after.get(key, 0)
        if not low <= recorded <= high:
            rows.append({"balance": key, "counter": high, "records": recorded, "difference": high - recorded})
    return rows


def _names_subject(allowance: Allowance) -> bool:
    """Whether it is somebody's: a tenant alone has no user's quota."""
    return allowance.key.split("|")[1] == "tenant" or len(allowance.subject) > 1


def _quota_row(allowance: Allowance, balance: tuple[int, int], end_ns: int) -> Row:
    spent, held = balance
    return {
        "per": allowance.key.split("|")[1],
        "tenant": allowance.subject["tenant"],
        "user": allowance.subject.get("user"),
        "key": allowance.subject.get("key"),
        "model": allowance.model,
        "unit": "cost_nano_usd" if allowance.unit == "cost" else allowance.unit,
        "window": allowance.window,
        "timezone": str(allowance.zone),
        "limit": allowance.limit,
        "used": spent,
        "held": held,
        "remaining": allowance.limit - spent - held,
        "resets_at": _moment(end_ns // _NS),
        "mode": "shadow" if allowance.shadow else "warn" if allowance.warn else "enforce",
    }


def _moment(utc_s: int) -> str:
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
