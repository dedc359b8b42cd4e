"""Keys and usage records in SQL, for commands and the admin API: SQLAlchemy Core, blocking.

Values reach the database as bound parameters and in no other way. Writes are short
`BEGIN IMMEDIATE` transactions, so that a command and the drainer wait for each other instead
of failing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    case,
    create_engine,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from llmgw.core.errors import Unavailable
from llmgw.core.record import Settled
from llmgw.ports.stores import IssuedKey
from llmgw.stores.schema import KEYS_CHANGED_SEQ, keys, meta, usage
from llmgw.stores.sqlite import BUSY_TIMEOUT_S, database_path, pragmas

Database = Engine
"""A database, for whoever passes one on without SQLAlchemy of its own."""

_DAY_NS = 86_400 * 10**9
_GROUPS: dict[str, ColumnElement[Any]] = {  # Any: columns of several types
    "tenant": usage.c.tenant,
    "user": usage.c.user,
    "key": usage.c.key_id,
    "model": usage.c.model,
    "provider": usage.c.provider,
    "endpoint": usage.c.endpoint,
    "day": usage.c.at_ns // _DAY_NS,
    "outcome": usage.c.outcome,
}
_SUMMED = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
)
_FINE = ("ok", "client_gone")
_RECORD = [usage.c[name] for name in Settled.__struct_fields__]


def open_engine(url: str) -> Engine:
    """An engine for one command, or for the admin API's threads. It keeps no idle connection."""
    engine = create_engine(
        URL.create("sqlite", database=str(database_path(url))),
        poolclass=NullPool,
        connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:  # Any: the driver's own connection
        for pragma in pragmas(checkpoints=False):
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The driver's own way begins a transaction late, and cannot upgrade it safely.
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


@contextmanager
def _read(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise Unavailable("the database does not answer", detail=str(error.orig)) from error


@contextmanager
def _write(engine: Engine) -> Iterator[Connection]:
    with _read(engine.execution_options(write=True)) as connection:
        yield connection


class SqlKeyRegistry:
    """Implements `ports.stores.KeyRegistry`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, key: IssuedKey) -> None:
        with _write(self._engine) as connection:
            _insert(connection, key, _next_seq(connection))

    def get(self, key_id: str) -> IssuedKey | None:
        with _read(self._engine) as connection:
            return _get(connection, key_id)

    def list(self, tenant: str | None = None) -> Sequence[IssuedKey]:
        query = select(keys).order_by(keys.c.created_at, keys.c.changed_seq)
        if tenant is not None:
            query = query.where(keys.c.tenant == tenant)
        with _read(self._engine) as connection:
            return [_issued(row) for row in connection.execute(query).mappings()]

    def replace(self, key_id: str, successor: IssuedKey, expires_at: int) -> bool:
        with _write(self._engine) as connection:
            old = _get(connection, key_id)
            if old is None or old.revoked_at is not None or old.rotated_to is not None:
                return False
            if old.expires_at is not None and old.expires_at <= successor.created_at:
                return False
            seq = _next_seq(connection)
            end = expires_at if old.expires_at is None else min(expires_at, old.expires_at)
            connection.execute(
                update(keys)
                .where(keys.c.key_id == key_id)
                .values(expires_at=end, rotated_to=successor.key_id, changed_seq=seq)
            )
            _insert(connection, successor, seq)
            return True

    def revoke(self, key_id: str, at: int) -> bool:
        with _write(self._engine) as connection:
            old = _get(connection, key_id)
            if old is None:
                return False
            if old.revoked_at is None:
                connection.execute(
                    update(keys)
                    .where(keys.c.key_id == key_id)
                    .values(revoked_at=at, changed_seq=_next_seq(connection))
                )
            return True


def _next_seq(connection: Connection) -> int:
    row = meta.c.name == KEYS_CHANGED_SEQ
    connection.execute(update(meta).where(row).values(value=meta.c.value + 1))
    return int(connection.execute(select(meta.c.value).where(row)).scalar_one())


def _get(connection: Connection, key_id: str) -> IssuedKey | None:
    row = connection.execute(select(keys).where(keys.c.key_id == key_id)).mappings().first()
    return None if row is None else _issued(row)


def _insert(connection: Connection, key: IssuedKey, seq: int) -> None:
    values = {
        "key_id": key.key_id,
        "digest": key.digest,
        "tenant": key.tenant,
        "user": key.user,
        "allow_models": None if key.allow_models is None else json.dumps(key.allow_models),
        "labels": json.dumps(key.labels),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "rotated_from": key.rotated_from,
        "rotated_to": key.rotated_to,
        "changed_seq": seq,
    }
    try:
        connection.execute(insert(keys).values(values))
    except IntegrityError as error:
        raise ValueError(f"there is a key {key.key_id!r} already") from error


def _issued(row: RowMapping) -> IssuedKey:
    values = dict(row)
    models = values["allow_models"]
    values["allow_models"] = None if models is None else tuple(json.loads(models))
    values["labels"] = json.loads(values["labels"])
    return IssuedKey(**values)


class SqlRecordStore:
    """Implements `ports.stores.RecordStore`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def sums(
        self, by: Sequence[str], since_ns: int | None, until_ns: int | None
    ) -> Sequence[dict[str, str | int | None]]:
        groups = [_GROUPS[name].label(f"by_{name}") for name in by]
        counts = [func.count().label("requests")]
        counts += [func.coalesce(func.sum(usage.c[name]), 0).label(name) for name in _SUMMED]
        counts += [
            func.coalesce(func.sum(case((usage.c.cost_nano_usd.is_(None), 1), else_=0)), 0).label(
                "unpriced_requests"
            ),
            func.coalesce(func.sum(case((usage.c.outcome.in_(_FINE), 0), else_=1)), 0).label("errors"),
        ]
        query = select(*groups, *counts).group_by(*groups).order_by(*groups)
        if since_ns is not None:
            query = query.where(usage.c.at_ns >= since_ns)
        if until_ns is not None:
            query = query.where(usage.c.at_ns < until_ns)
        with _read(self._engine) as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            if "by_day" in row:
                day = datetime.fromtimestamp(row["by_day"] * 86_400, UTC)
                row["by_day"] = day.date().isoformat()
        return [{name.removeprefix("by_"): value for name, value in row.items()} for row in rows]

    def last(self, limit: int) -> Sequence[tuple[int, Settled]]:
        query = select(usage.c.seq, *_RECORD).order_by(usage.c.seq.desc()).limit(limit)
        with _read(self._engine) as connection:
            rows = connection.execute(query).all()
        return [_numbered(row) for row in reversed(rows)]

    def after(self, seq: int, limit: int) -> Sequence[tuple[int, Settled]]:
        query = select(usage.c.seq, *_RECORD).where(usage.c.seq > seq).order_by(usage.c.seq).limit(limit)
        with _read(self._engine) as connection:
            return [_numbered(row) for row in connection.execute(query).all()]


def _numbered(row: Sequence[Any]) -> tuple[int, Settled]:  # Any: the columns' own types
    return row[0], Settled(*row[1:])
