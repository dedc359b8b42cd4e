"""Usage records, issued keys, and the number of the keys' last change.

On PostgreSQL usage is kept by day of `at_ns`, a partition a day, which the drainer makes; what
has none goes to `usage_other`. A unique key there must hold the day's column, so a record is one
by its id and its time, which never changes. `usage_hours` holds the sums of each hour, kept by
triggers in the transaction that brings the records, so that reports need not read them all.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    meta = op.create_table(
        "meta",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(meta, [{"name": "keys_changed_seq", "value": 0}])
    op.create_table(
        "keys",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("user", sa.Text),
        sa.Column("allow_models", sa.Text),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("rotated_from", sa.Text),
        sa.Column("rotated_to", sa.Text),
        sa.Column("changed_seq", sa.BigInteger, nullable=False),
    )
    op.create_index("keys_tenant", "keys", ["tenant"])
    postgres = op.get_context().dialect.name == "postgresql"
    at = ["at_ns"] if postgres else []
    op.create_table(
        "usage",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=True),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("at_ns", sa.BigInteger, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("user", sa.Text),
        sa.Column("key_id", sa.Text),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("upstream_model", sa.Text, nullable=False),
        sa.Column("route", sa.Text),
        sa.Column("streamed", sa.Boolean, nullable=False),
        sa.Column("generation", sa.Text, nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("status", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("code", sa.Text),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
        sa.Column("usage_source", sa.Text, nullable=False),
        sa.Column("cost_nano_usd", sa.BigInteger),
        sa.Column("price", sa.Text),
        sa.Column("first_byte_us", sa.BigInteger),
        sa.Column("total_us", sa.BigInteger, nullable=False),
        sa.Column("client_request_id", sa.Text),
        sa.Column("upstream_id", sa.Text),
        sa.PrimaryKeyConstraint("seq", *at),
        sa.UniqueConstraint("request_id", *at),
        postgresql_partition_by="RANGE (at_ns)",
    )
    op.create_index("usage_at", "usage", ["at_ns"])
    op.create_index("usage_tenant_at", "usage", ["tenant", "at_ns"])
    if postgres:
        for statement in _POSTGRES:
            op.execute(statement)


_NAMES = "tenant, coalesce(\"user\", ''), coalesce(key_id, ''), model, provider, endpoint, outcome"
_KEY = 'hour, tenant, "user", key_id, model, provider, endpoint, outcome'
_SUMS = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
)
_COUNTED = ("requests", "unpriced_requests", *_SUMS)


def _summing(name: str, rows: str) -> str:
    """A trigger's function that adds `sign` times the rows of a query to their hours."""
    sums = ", ".join(f"coalesce(sum(sign * {column}), 0)" for column in _SUMS)
    added = ", ".join(f"{column} = kept.{column} + excluded.{column}" for column in _COUNTED)
    return f"""
        CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO usage_hours AS kept ({_KEY}, {", ".join(_COUNTED)})
            SELECT at_ns / 3600000000000, {_NAMES}, sum(sign),
                coalesce(sum(sign) FILTER (WHERE cost_nano_usd IS NULL), 0), {sums}
            FROM ({rows}) AS changed GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
            ON CONFLICT ({_KEY}) DO UPDATE SET {added};
            RETURN NULL;
        END $$
    """  # noqa: S608 - names of our own columns


_POSTGRES = (
    "CREATE TABLE usage_other PARTITION OF usage DEFAULT",
    f"""
        CREATE TABLE usage_hours (
            hour BIGINT NOT NULL, tenant TEXT NOT NULL, "user" TEXT NOT NULL, key_id TEXT NOT NULL,
            model TEXT NOT NULL, provider TEXT NOT NULL, endpoint TEXT NOT NULL, outcome TEXT NOT NULL,
            {", ".join(f"{column} NUMERIC NOT NULL" for column in _COUNTED)},
            PRIMARY KEY ({_KEY})
        ) WITH (fillfactor = 70)
    """,
    _summing("usage_added", "SELECT 1 AS sign, * FROM added"),
    _summing("usage_changed", "SELECT 1 AS sign, * FROM added UNION ALL SELECT -1 AS sign, * FROM taken"),
    """
        CREATE TRIGGER usage_added AFTER INSERT ON usage REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION usage_added()
    """,
    """
        CREATE TRIGGER usage_changed AFTER UPDATE ON usage
        REFERENCING OLD TABLE AS taken NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION usage_changed()
    """,
)
