"""What the usage records add up to, for balances.

Of SQLite by plain sqlite3, because a gateway with quotas reads this before it admits anybody and
SQLAlchemy takes a third of a second to load.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmgw.core.errors import Unavailable
from llmgw.core.stored_reply import FREE_OUTCOMES
from llmgw.stores.drain import Drainer
from llmgw.stores.sqlite import connect, database_path
from llmgw.stores.urls import is_postgres

if TYPE_CHECKING:
    from sqlalchemy import Executable

_FREE = ", ".join(f"'{outcome}'" for outcome in FREE_OUTCOMES)
_SUMS = f"""
    SELECT tenant, "user", key_id, model, sum(outcome NOT IN ({_FREE})), sum(input_tokens),
        sum(output_tokens), sum(cost_nano_usd / 1000000000), sum(cost_nano_usd % 1000000000)
    FROM usage WHERE at_ns >= :since_ns AND at_ns < :until_ns GROUP BY tenant, "user", key_id, model
"""  # noqa: S608 - words of our own
_SOME = f"""
    SELECT request_id, tenant, "user", key_id, model, CASE WHEN outcome IN ({_FREE}) THEN 0 ELSE 1 END,
        input_tokens, output_tokens, cost_nano_usd
    FROM usage WHERE request_id IN (%s)
"""  # noqa: S608 - words of our own
_CALLERS = 'SELECT DISTINCT tenant, "user", key_id FROM usage WHERE at_ns >= :since_ns'
_CALLER = ("tenant", "user", "key", "model")
_COUNTED = ("requests", "input_tokens", "output_tokens", "cost_nano_usd")
_AT_ONCE = 500
_LOCK_WAIT_S = 10.0
_LOOK_S = 0.05
_SUMS_S = 120.0


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """Exact sums of the records of one caller and model."""

    tenant: str
    user: str | None
    key_id: str | None
    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int


class Ledger:
    """The records of one database, journals included. Blocking: not for the event loop."""

    def __init__(self, url: str, journals: Path) -> None:
        self._url = url
        self._journals = journals

    def recover(self) -> None:
        """Load every journal that a process has left, with a record for each request that was lost.

        Waits for another process that is loading them. Raises Unavailable when it does not end.
        """
        drainer = Drainer(self._journals, self._url)
        until = time.monotonic() + _LOCK_WAIT_S
        try:
            while not drainer.drain():
                if time.monotonic() > until:
                    raise Unavailable(
                        f"another process keeps loading the journals of {self._journals}; "
                        "is a second gateway running on this data_dir?"
                    )
                time.sleep(_LOOK_S)
        finally:
            drainer.release()

    def catch_up(self) -> None:
        """Load what journals hold beside a running gateway."""
        drainer = Drainer(self._journals, self._url)
        try:
            drainer.catch_up()
        finally:
            drainer.release()

    def callers(self, since_ns: int) -> list[tuple[str, str | None, str | None]]:
        """Tenant, user and key of everybody who left a record since."""
        return [(row[0], row[1], row[2]) for row in self._rows(_CALLERS, since_ns=since_ns)]

    def records(self, request_ids: Iterable[str]) -> dict[str, LedgerRow]:
        """The sums of each of these requests alone, of those that left a record."""
        wanted = sorted({*request_ids})
        found: dict[str, LedgerRow] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            values = {f"r{place}": name for place, name in enumerate(wanted[start : start + _AT_ONCE])}
            for request_id, *row in self._rows(_SOME % ", ".join(f":{name}" for name in values), **values):
                found[request_id] = _ledger_row(row)
        return found

    def sums(self, since_ns: int, until_ns: int) -> Iterator[LedgerRow]:
        """By tenant, user, key and model. since_ns is part of the span, until_ns is not.

        A group may come in several rows. What was answered with a stored answer is not counted.
        """
        if is_postgres(self._url):
            from llmgw.stores.sums import COUNTS, usage_sums

            query = usage_sums((*_CALLER, "outcome"), since_ns, until_ns, hours=True)
            for row in self._rows_of_postgres(query, {}):
                *caller, outcome = row[: len(_CALLER) + 1]
                sums = dict(zip(COUNTS, row[len(_CALLER) + 1 :], strict=True))
                if outcome not in FREE_OUTCOMES:
                    yield _ledger_row([*caller, *(sums[name] for name in _COUNTED)])
            return
        for *row, high, low in self._rows(_SUMS, since_ns=since_ns, until_ns=until_ns):
            # SQLite adds up 64 bits and fails beyond, see `sums.py`.
            yield _ledger_row([*row, (high or 0) * 10**9 + (low or 0)])

    def _rows(self, statement: str, **values: int | str) -> Iterable[Sequence[Any]]:
        if is_postgres(self._url):
            from sqlalchemy import text

            return self._rows_of_postgres(text(statement), values)
        with closing(connect(database_path(self._url), checkpoints=False)) as connection:
            return connection.execute(statement, values).fetchall()

    def _rows_of_postgres(
        self, statement: Executable, values: Mapping[str, int | str]
    ) -> Iterable[Sequence[Any]]:
        from llmgw.stores.postgres import PostgresDatabase

        database = PostgresDatabase(self._url, _SUMS_S)
        try:
            return database.read(lambda connection: connection.execute(statement, values).all())
        finally:
            database.dispose()


def _ledger_row(row: Sequence[Any]) -> LedgerRow:  # Any: texts, integers, and PostgreSQL's decimals
    tenant, user, key_id, model, *sums = row
    return LedgerRow(tenant, user, key_id, model, *(int(value or 0) for value in sums))
