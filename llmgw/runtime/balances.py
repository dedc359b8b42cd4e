"""Balances out of the ledger.

What a balance counts is decided by the same compiled quotas that admit requests, so that a
balance that is rebuilt has the same name and the same sum as one that was kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from zoneinfo import ZoneInfo

from llmgw.config.document import Document
from llmgw.core.clock import Clock
from llmgw.limits.calendar import period
from llmgw.runtime.limits import allowances
from llmgw.runtime.standing import Caller
from llmgw.stores.ledger import LedgerRow

_NS = 1_000_000_000

Sums = Callable[[int, int], Iterable[LedgerRow]]


def ledger_balances(document: Document, clock: Clock, sums: Sums) -> dict[str, tuple[int, int]]:
    """Spent, and the end of the period on the counters' clock, of every balance of this period.

    sums: the ledger's, between two moments in UTC nanoseconds.
    """
    now_s = clock.utc_ns() // _NS
    spent: dict[str, int] = defaultdict(int)
    until: dict[str, int] = {}
    for window, zone in sorted({(rule.window, rule.timezone) for rule in document.all_quota_rules()}):
        start, end = period(window, ZoneInfo(zone), now_s)
        for row in sums(start * _NS, end * _NS):
            if row.tenant not in document.tenants:
                continue
            for allowance in allowances(document, row.tenant, row.user, row.key_id, row.model):
                if (allowance.window, str(allowance.zone)) != (window, zone):
                    continue
                key = f"{allowance.key}|{start}"
                spent[key] += _used(row, allowance.unit)
                until[key] = end * _NS - clock.utc_offset_ns
    return {key: (amount, until[key]) for key, amount in spent.items()}


def period_end_s(key: str) -> int:
    """When the period of a balance ends, in UTC seconds since the epoch."""
    parts = key.split("|")
    return period(parts[3], ZoneInfo(parts[4]), int(parts[-1]))[1]


def recorded_callers(
    document: Document, clock: Clock, callers: Callable[[int], list[Caller]]
) -> list[Caller]:
    """Everybody with a record in the current period of any quota. callers: the ledger's, since a moment."""
    now_s = clock.utc_ns() // _NS
    windows = {(rule.window, rule.timezone) for rule in document.all_quota_rules()}
    starts = [period(window, ZoneInfo(zone), now_s)[0] for window, zone in windows]
    return callers(min(starts) * _NS) if starts else []


def charge(key: str, row: LedgerRow | None) -> int:
    """What records add to a counter that held something for them; nothing where there are none."""
    parts = key.split("|")
    return 0 if row is None or parts[0] != "quota" else _used(row, parts[2])


def _used(row: LedgerRow, unit: str) -> int:
    if unit == "requests":
        return row.requests
    if unit == "cost":
        return row.cost_nano_usd
    if unit == "input_tokens":
        return row.input_tokens
    return row.output_tokens if unit == "output_tokens" else row.input_tokens + row.output_tokens
