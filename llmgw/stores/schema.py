"""The tables, for SQLAlchemy. Only commands and the admin API load this module.

`seq` numbers usage records as they arrive, which is what following them needs: their times may
come out of order. Alembic's scripts build the same tables; a test compares the two. On PostgreSQL
`usage` is kept by day and `usage_hours` beside it, as the first script says.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, Numeric, Table, Text

metadata = MetaData()

usage = Table(
    "usage",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("request_id", Text, nullable=False, unique=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("user", Text),
    Column("key_id", Text),
    Column("endpoint", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("upstream_model", Text, nullable=False),
    Column("route", Text),
    Column("streamed", Boolean, nullable=False),
    Column("generation", Text, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("status", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("code", Text),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("usage_source", Text, nullable=False),
    Column("cost_nano_usd", BigInteger),
    Column("price", Text),
    Column("first_byte_us", BigInteger),
    Column("total_us", BigInteger, nullable=False),
    Column("client_request_id", Text),
    Column("upstream_id", Text),
    Index("usage_at", "at_ns"),
    Index("usage_tenant_at", "tenant", "at_ns"),
)

keys = Table(
    "keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("user", Text),
    Column("allow_models", Text),
    Column("labels", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("rotated_from", Text),
    Column("rotated_to", Text),
    Column("changed_seq", BigInteger, nullable=False),
    Index("keys_tenant", "tenant"),
)

alerts_told = Table(
    "alerts_told",
    metadata,
    Column("balance", Text, primary_key=True),
    Column("threshold_ppm", BigInteger, primary_key=True),
    Column("at_s", BigInteger, nullable=False),
    Index("alerts_told_at", "at_s"),
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

usage_hours = Table(
    "usage_hours",
    MetaData(),
    *[
        Column(name, BigInteger if name == "hour" else Text, primary_key=True)
        for name in ("hour", "tenant", "user", "key_id", "model", "provider", "endpoint", "outcome")
    ],
    *[
        Column(name, Numeric, nullable=False)
        for name in (
            "requests",
            "unpriced_requests",
            "input_tokens",
            "cached_tokens",
            "cache_write_tokens",
            "output_tokens",
            "reasoning_tokens",
            "cost_nano_usd",
        )
    ],
)
"""Sums of `usage`, kept by triggers: PostgreSQL's alone. hour: since the epoch; absent names are empty."""

KEYS_CHANGED_SEQ = "keys_changed_seq"
"""The row of `meta` that counts changes of `keys`."""
