"""Keys and usage records in SQL, for commands and the admin API: SQLAlchemy Core, blocking.

Values reach the database as bound parameters and in no other way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError

from llmgw.core.record import Settled
from llmgw.ports.stores import IssuedKey
from llmgw.stores.database import Database
from llmgw.stores.frames import LARGEST_INTEGER
from llmgw.stores.schema import KEYS_CHANGED_SEQ, keys, meta, usage
from llmgw.stores.sums import COUNTS, usage_sums, whole

_RECORD = [usage.c[name] for name in Settled.__struct_fields__]


class SqlKeyRegistry:
    """Implements `ports.stores.KeyRegistry`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, key: IssuedKey) -> None:
        self._database.write(lambda connection: _insert(connection, key, _next_seq(connection)))

    def get(self, key_id: str) -> IssuedKey | None:
        return self._database.read(lambda connection: _get(connection, key_id))

    def list(self, tenant: str | None = None) -> Sequence[IssuedKey]:
        query = select(keys).order_by(keys.c.created_at, keys.c.changed_seq)
        if tenant is not None:
            query = query.where(keys.c.tenant == tenant)
        return self._database.read(
            lambda connection: [_issued(row) for row in connection.execute(query).mappings()]
        )

    def replace(self, key_id: str, successor: IssuedKey, expires_at: int) -> bool:
        return self._database.write(lambda connection: _replace(connection, key_id, successor, expires_at))

    def revoke(self, key_id: str, at: int) -> bool:
        return self._database.write(lambda connection: _revoke(connection, key_id, at))


def _replace(connection: Connection, key_id: str, successor: IssuedKey, expires_at: int) -> bool:
    old = _get(connection, key_id, lock=True)
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


def _revoke(connection: Connection, key_id: str, at: int) -> bool:
    old = _get(connection, key_id, lock=True)
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


def _get(connection: Connection, key_id: str, *, lock: bool = False) -> IssuedKey | None:
    """lock: nobody else changes it until the transaction ends."""
    query = select(keys).where(keys.c.key_id == key_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
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

    def __init__(self, database: Database) -> None:
        self._database = database

    def sums(
        self, by: Sequence[str], since_ns: int | None, until_ns: int | None
    ) -> Sequence[dict[str, str | int | None]]:
        def add_up(connection: Connection) -> Sequence[Sequence[Any]]:  # Any: the columns' own types
            hours = connection.dialect.name == "postgresql"
            query = usage_sums(by, _storable(since_ns), _storable(until_ns), hours=hours)
            return connection.execute(query).all()

        # Databases disagree about where absent names and capitals stand.
        found = sorted(
            self._database.read(add_up),
            key=lambda row: [(value is not None, value) for value in row[: len(by)]],
        )
        return [
            {name: _plain(name, value) for name, value in zip((*by, *COUNTS), row, strict=True)}
            for row in found
        ]

    def last(self, limit: int) -> Sequence[tuple[int, Settled]]:
        query = select(usage.c.seq, *_RECORD).order_by(usage.c.seq.desc()).limit(limit)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [_numbered(row) for row in reversed(rows)]

    def after(self, seq: int, limit: int) -> Sequence[tuple[int, Settled]]:
        query = select(usage.c.seq, *_RECORD).where(usage.c.seq > seq).order_by(usage.c.seq).limit(limit)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [_numbered(row) for row in rows]


def _storable(at_ns: int | None) -> int | None:
    """The moment, or the nearest that a record can have: they end in the year 2262."""
    return None if at_ns is None else max(-LARGEST_INTEGER, min(LARGEST_INTEGER, at_ns))


def _plain(name: str, value: Any) -> str | int | None:  # Any: a text, an integer or a decimal
    if name == "day":
        return datetime.fromtimestamp(int(value) * 86_400, UTC).date().isoformat()
    return whole(value) if name in COUNTS else value


def _numbered(row: Sequence[Any]) -> tuple[int, Settled]:  # Any: the columns' own types
    return row[0], Settled(*row[1:])
