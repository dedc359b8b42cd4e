"""Settled requests into PostgreSQL: one statement a batch, whatever its size.

The drainers of several hosts, and reports beside them, load one after the other: an advisory
lock keeps them from waiting for each other's rows in a circle, and makes records visible in the
order of their numbers, so that whoever follows them misses none. A commit whose answer was lost
is made again, and finds its rows there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import asyncpg
from msgspec.structs import replace
from sqlalchemy import ARRAY, Connection, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from llmgw.core.record import Settled
from llmgw.stores.days import Days, drop_before
from llmgw.stores.frames import tamed
from llmgw.stores.postgres import WORK_S, PostgresDatabase
from llmgw.stores.recover import LOST
from llmgw.stores.schema import usage

LOCK = 0x6C6C6D6777_02
"""PostgreSQL's advisory lock of whoever loads records."""
_ROWS = 2000
_NAMES = Settled.__struct_fields__
_KEY = ["request_id", "at_ns"]
_INSERT = insert(usage).from_select(
    list(_NAMES),
    select(*[func.unnest(bindparam(f"p_{name}", type_=ARRAY(usage.c[name].type))) for name in _NAMES]),
)
UPSERT = _INSERT.on_conflict_do_update(
    index_elements=_KEY,
    set_={name: _INSERT.excluded[name] for name in _NAMES if name not in _KEY},
    where=usage.c.outcome == LOST,
)
_INDEXED = ("tenant", "user", "key_id", "model", "provider", "endpoint", "outcome")
_INDEX_BYTES = 2400
"""An index entry of PostgreSQL holds 2,704 bytes."""
_SHORT = 64
_SYNCED = (
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
)


class PostgresSink:
    """Every load is synced: a server that crashes must not take back what it acknowledged."""

    def __init__(self, url: str, within_s: float = WORK_S) -> None:
        self.alone = False
        self._database = PostgresDatabase(url, within_s)
        self._days = Days()

    def load(self, settled: Sequence[Settled], *, synced: bool = False) -> None:
        for start in range(0, len(settled), _ROWS):
            batch = settled[start : start + _ROWS]
            missing = self._days.missing([entry.at_ns for entry in batch])
            if missing:
                self._database.write(partial(self._days.make, days=missing))
            self._database.write(partial(load, settled=batch))

    def expire(self, before_ns: int) -> bool:
        return self._database.write(partial(drop_before, before_ns=before_ns))

    def close(self) -> None:
        self._days.forget()
        self._database.dispose()


def load(connection: Connection, settled: Sequence[Settled]) -> None:
    """Load a batch inside a transaction of the caller's."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
    connection.exec_driver_sql(_SYNCED)
    entries = _once(settled)
    try:
        with connection.begin_nested():
            connection.execute(UPSERT, _columns(entries))
    except DBAPIError as error:
        refused = error.orig.__cause__ if error.orig is not None else None
        if not isinstance(refused, asyncpg.DataError | asyncpg.ProgramLimitExceededError):
            raise
        # Texts or integers that the database, or an index of it, does not hold.
        connection.execute(UPSERT, _columns([_fitting(entry) for entry in entries]))


def _fitting(entry: Settled) -> Settled:
    fitting = tamed(entry)
    names = {name: value for name in _INDEXED if (value := getattr(fitting, name)) is not None}
    if sum(len(value.encode()) for value in names.values()) <= _INDEX_BYTES:
        return fitting
    return replace(fitting, **{name: value[:_SHORT] for name, value in names.items()})


def _once(settled: Sequence[Settled]) -> list[Settled]:
    """One of each request: a statement may touch a row once. What is settled comes before `lost`."""
    found: dict[tuple[str, int], Settled] = {}
    for entry in settled:
        before = found.get((entry.request_id, entry.at_ns))
        if before is None or before.outcome == LOST:
            found[entry.request_id, entry.at_ns] = entry
    return list(found.values())


def _columns(entries: Sequence[Settled]) -> dict[str, list[object]]:
    return {f"p_{name}": [getattr(entry, name) for entry in entries] for name in _NAMES}
