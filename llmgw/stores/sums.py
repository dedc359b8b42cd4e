"""What usage adds up to, as one query.

PostgreSQL keeps the sums of each hour beside the records (`usage_hours`, see the first
migration), so a report reads those and only the records of the hours that its span cuts. SQLite
adds up the records. Either way the sums are exact, and of one moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    Text,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    union_all,
)

from llmgw.core.stored_reply import FREE_OUTCOMES
from llmgw.stores.schema import usage, usage_hours

HALF = 10**9
"""SQLite adds up 64 bits and fails beyond: money is added up by so many nano-USD, and what is left."""
HOUR_NS = 3600 * 10**9
SUMMED = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
)
COUNTS = ("requests", *SUMMED, "unpriced_requests", "errors")
"""The names of what is counted, in the order of the query's last columns."""
_FINE = ("ok", "client_gone", *FREE_OUTCOMES)
_NAMES = ("tenant", "user", "key_id", "model", "provider", "endpoint", "outcome")
_ABSENT = ("user", "key_id")


def usage_sums(by: Sequence[str], since_ns: int | None, until_ns: int | None, *, hours: bool) -> Select[Any]:
    """Group names as in `ports.stores.GROUPS`, then `COUNTS`. In no order.

    hours: whether the database keeps the sums of each hour.
    """
    rows = _hours_and_edges(since_ns, until_ns) if hours else _records(since_ns, until_ns).subquery()
    groups = [_group(rows, name).label(f"by_{name}") for name in by]
    sums = [_sum(rows, name, hours) for name in ("requests", *SUMMED, "unpriced_requests")]
    errors = func.coalesce(func.sum(case((rows.c.outcome.in_(_FINE), 0), else_=rows.c.requests)), 0)
    query = select(*groups, *sums, errors).group_by(*groups)
    # An hour keeps a group that had `lost` requests which were settled later.
    return query.having(func.sum(rows.c.requests) > 0) if groups else query


def _sum(rows: Subquery, name: str, hours: bool) -> ColumnElement[Any]:
    if hours or name != "cost_nano_usd":
        return func.coalesce(func.sum(rows.c[name]), 0)
    half: ColumnElement[Any] = literal_column(str(HALF))
    halves = [func.coalesce(func.sum(part), 0) for part in (rows.c[name] // half, rows.c[name] % half)]
    return cast(halves[0], Text).concat(" ").concat(cast(halves[1], Text))


def whole(value: str | int | Decimal) -> int:
    """A sum as the query gives it: an integer, a decimal of PostgreSQL's, or SQLite's money in halves."""
    if isinstance(value, str):
        high, low = value.split()
        return int(high) * HALF + int(low)
    return int(value)


def _group(rows: Subquery, name: str) -> ColumnElement[Any]:
    if name == "day":
        return rows.c.hour // literal_column("24")
    return rows.c["key_id" if name == "key" else name]


def _records(since_ns: int | None, until_ns: int | None) -> Select[Any]:
    """A row for each record of a span."""
    query = select(
        (usage.c.at_ns // literal_column(str(HOUR_NS))).label("hour"),
        *[usage.c[name] for name in _NAMES],
        literal_column("1").label("requests"),
        case((usage.c.cost_nano_usd.is_(None), 1), else_=0).label("unpriced_requests"),
        *[func.coalesce(usage.c[name], 0).label(name) for name in SUMMED],
    )
    if since_ns is not None:
        query = query.where(usage.c.at_ns >= since_ns)
    if until_ns is not None:
        query = query.where(usage.c.at_ns < until_ns)
    return query


def _hours_and_edges(since_ns: int | None, until_ns: int | None) -> Subquery:
    """Whole hours from their sums, the rest from the records."""
    first = None if since_ns is None else -(-since_ns // HOUR_NS)
    last = None if until_ns is None else until_ns // HOUR_NS
    if first is not None and last is not None and first >= last:
        return _records(since_ns, until_ns).subquery()
    whole = select(
        usage_hours.c.hour,
        *[
            func.nullif(usage_hours.c[name], "").label(name) if name in _ABSENT else usage_hours.c[name]
            for name in _NAMES
        ],
        *[usage_hours.c[name] for name in ("requests", "unpriced_requests", *SUMMED)],
    )
    edges = []
    if since_ns is not None and first is not None:
        whole = whole.where(usage_hours.c.hour >= first)
        if since_ns < first * HOUR_NS:
            edges.append(usage.c.at_ns.between(since_ns, first * HOUR_NS - 1))
    if until_ns is not None and last is not None:
        whole = whole.where(usage_hours.c.hour < last)
        if until_ns > last * HOUR_NS:
            edges.append(usage.c.at_ns.between(last * HOUR_NS, until_ns - 1))
    if not edges:
        return whole.subquery()
    return union_all(whole, _records(None, None).where(or_(*edges))).subquery()
