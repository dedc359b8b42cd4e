"""An embedded installation into an empty PostgreSQL database: all of it or nothing.

One transaction takes everything, and is kept only when the counts and sums on both sides are the
same; whoever is interrupted starts again. The days' partitions are made before it: they hold
nothing, so they may stay.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import Connection, Table, func, insert, select, update

from llmgw.core.record import Settled
from llmgw.stores.days import Days
from llmgw.stores.expire import DAY_NS
from llmgw.stores.postgres import PostgresDatabase
from llmgw.stores.schema import KEYS_CHANGED_SEQ, alerts_told, keys, meta, usage
from llmgw.stores.sink_postgres import load
from llmgw.stores.sqlite import DatabaseProblem, connect, database_path
from llmgw.stores.sums import HALF
from llmgw.stores.urls import shown

_AT_ONCE = 2000
_COPY_S = 24 * 3600.0
_SUMMED = ("input_tokens", "output_tokens", "cost_nano_usd")
_HALVES = ("input_tokens", "output_tokens", f"cost_nano_usd / {HALF}", f"cost_nano_usd % {HALF}")


@dataclass(frozen=True, slots=True)
class Counts:
    """What there is of each kind. Tokens and money: exact sums over all records."""

    keys: int
    records: int
    alerts: int
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int


class Copying:
    """source: a SQLite database with the current schema; target: PostgreSQL, likewise."""

    def __init__(self, source: str, target: str) -> None:
        self._path = database_path(source)
        self._source = source
        self._target = target

    def counts(self) -> Counts:
        """Of the source."""
        with closing(connect(self._path, checkpoints=False)) as connection:
            return _counts(connection)

    def refuse_filled(self) -> None:
        """Raises DatabaseProblem when the target holds anything."""
        database = PostgresDatabase(self._target)
        try:
            found = database.read(_counts_of)
        finally:
            database.dispose()
        if found.keys or found.records or found.alerts:
            raise DatabaseProblem(
                f"{shown(self._target)} is not empty: it has {found.keys} keys and {found.records} records; "
                "name an empty database"
            )

    def run(self, copied: Callable[[int], None]) -> Counts:
        """What was copied, and is the same on both sides.

        copied: told of the records copied since it was last told.
        Raises DatabaseProblem when the sides differ, Unavailable; then the target is as it was.
        """
        database = PostgresDatabase(self._target, _COPY_S)
        try:
            with closing(connect(self._path, checkpoints=False)) as source:
                # As of one moment, whoever writes meanwhile.
                source.execute("BEGIN")
                days = [row[0] for row in source.execute(f"SELECT DISTINCT at_ns / {DAY_NS} FROM usage")]  # noqa: S608 - our own constant
                database.write(lambda connection: Days().make(connection, days))
                return database.write(lambda connection: self._copy(source, connection, copied))
        except sqlite3.Error as error:
            raise DatabaseProblem.of(self._path, error) from error
        finally:
            database.dispose()

    def _copy(self, source: sqlite3.Connection, target: Connection, copied: Callable[[int], None]) -> Counts:
        for table in (keys, alerts_told):
            for rows in _batches(source, table, [column.name for column in table.columns]):
                names = [column.name for column in table.columns]
                target.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])
        for rows in _batches(source, usage, list(Settled.__struct_fields__), order="seq"):
            load(target, [_record(row) for row in rows])
            copied(len(rows))
        (seq,) = source.execute("SELECT value FROM meta WHERE name = ?", (KEYS_CHANGED_SEQ,)).fetchone()
        target.execute(update(meta).where(meta.c.name == KEYS_CHANGED_SEQ).values(value=seq))
        wanted, found = _counts(source), _counts_of(target)
        if wanted != found:
            raise DatabaseProblem(
                f"{shown(self._target)} would not equal {shown(self._source)}: {found} instead of {wanted}; "
                "nothing was kept"
            )
        return found


def _batches(
    source: sqlite3.Connection, table: Table, names: Sequence[str], order: str = "1"
) -> Iterator[list[tuple[str | int | None, ...]]]:
    columns = ", ".join(f'"{name}"' for name in names)
    cursor = source.execute(f"SELECT {columns} FROM {table.name} ORDER BY {order}")  # noqa: S608 - our own names
    while rows := cursor.fetchmany(_AT_ONCE):
        yield rows


def _record(row: Sequence[str | int | None]) -> Settled:
    values = dict(zip(Settled.__struct_fields__, row, strict=True))
    values["streamed"] = bool(values["streamed"])
    return Settled(**values)  # type: ignore[arg-type]  # the columns have the fields' types


def _counts(source: sqlite3.Connection) -> Counts:
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in _HALVES)
    into, out, high, low = source.execute(f"SELECT {sums} FROM usage").fetchone()  # noqa: S608 - our own names
    return Counts(
        source.execute("SELECT count(*) FROM keys").fetchone()[0],
        source.execute("SELECT count(*) FROM usage").fetchone()[0],
        source.execute("SELECT count(*) FROM alerts_told").fetchone()[0],
        into,
        out,
        high * HALF + low,
    )


def _counts_of(target: Connection) -> Counts:
    sums = target.execute(select(*[func.coalesce(func.sum(usage.c[name]), 0) for name in _SUMMED])).one()
    counts = [
        target.execute(select(func.count()).select_from(table)).scalar_one()
        for table in (keys, usage, alerts_told)
    ]
    return Counts(*counts, *(int(value) for value in sums))
