"""What the usage records add up to, for balances.

Plain sqlite3, because a gateway with quotas reads this before it admits anybody and SQLAlchemy
takes a third of a second to load.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from llmgw.core.errors import Unavailable
from llmgw.stores.drain import Drainer
from llmgw.stores.sqlite import connect, database_path

_SUMS = """
    SELECT tenant, "user", key_id, model, count(*), coalesce(sum(input_tokens), 0),
        coalesce(sum(output_tokens), 0), coalesce(sum(cost_nano_usd), 0)
    FROM usage WHERE at_ns >= ? AND at_ns < ? GROUP BY tenant, "user", key_id, model
"""
_ONE = """
    SELECT tenant, "user", key_id, model, 1, input_tokens, output_tokens, coalesce(cost_nano_usd, 0)
    FROM usage WHERE request_id = ?
"""
_CALLERS = 'SELECT DISTINCT tenant, "user", key_id FROM usage WHERE at_ns >= ?'
_LOCK_WAIT_S = 10.0
_LOOK_S = 0.05


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
        with closing(connect(database_path(self._url), checkpoints=False)) as connection:
            return list(connection.execute(_CALLERS, (since_ns,)))

    def record(self, request_id: str) -> LedgerRow | None:
        """One request's own sums; None when it left no record."""
        with closing(connect(database_path(self._url), checkpoints=False)) as connection:
            row = connection.execute(_ONE, (request_id,)).fetchone()
        return None if row is None else LedgerRow(*row)

    def sums(self, since_ns: int, until_ns: int) -> Iterator[LedgerRow]:
        """By tenant, user, key and model. since_ns is part of the span, until_ns is not."""
        with closing(connect(database_path(self._url), checkpoints=False)) as connection:
            for row in connection.execute(_SUMS, (since_ns, until_ns)):
                yield LedgerRow(*row)
