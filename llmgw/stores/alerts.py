"""Which budget alerts were told: one row for each balance and threshold, never told twice.

A telling is one statement that inserts or does nothing, so of several processes exactly one is
first, without a transaction that is held open. The drainer writes the same database; each waits
for the other.
"""

from __future__ import annotations

import asyncio
import contextlib

from llmgw.core.errors import Unavailable
from llmgw.stores.asker import Asker, open_asker

KEPT_S = 400 * 86_400
"""Longer than any window, so that nothing is forgotten within its period."""
_PURGED_AT_ONCE = 500

TELL = (
    "INSERT INTO alerts_told (balance, threshold_ppm, at_s) VALUES (:balance, :threshold_ppm, :at_s) "
    "ON CONFLICT (balance, threshold_ppm) DO NOTHING"
)
PURGE = (
    "DELETE FROM alerts_told WHERE (balance, threshold_ppm) IN "
    "(SELECT balance, threshold_ppm FROM alerts_told WHERE at_s < :before LIMIT :rows)"
)


class SqlAlertStore:
    """Implements `ports.alerts.AlertStore`. Raises Unavailable when the database does not answer."""

    def __init__(self, url: str) -> None:
        self._asker: Asker = open_asker(url, writes=True)
        self._turn = asyncio.Lock()

    async def first_telling(self, balance: str, threshold_ppm: int, at_s: int) -> bool:
        # A connection to SQLite has a thread that only `close` ends: a cancelled caller must not lose one.
        return await asyncio.shield(self._tell(balance, threshold_ppm, at_s))

    async def close(self) -> None:
        # A telling that nobody waits for any more still ends before its connection does.
        async with self._turn:
            await self._asker.close()

    async def _tell(self, balance: str, threshold_ppm: int, at_s: int) -> bool:
        values: dict[str, str | int | float] = {
            "balance": balance,
            "threshold_ppm": threshold_ppm,
            "at_s": at_s,
        }
        async with self._turn:
            first = await self._asker.changed(TELL, values) == 1
            if first:
                # What is too old for long can wait for the next telling; this one is told.
                with contextlib.suppress(Unavailable):
                    await self._asker.changed(PURGE, {"before": at_s - KEPT_S, "rows": _PURGED_AT_ONCE})
            return first


class MemoryAlertStore:
    """The same in this process's memory: told again after a restart."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, int], int] = {}

    async def first_telling(self, balance: str, threshold_ppm: int, at_s: int) -> bool:
        if (balance, threshold_ppm) in self._told:
            return False
        self._told[balance, threshold_ppm] = at_s
        while self._told[oldest := next(iter(self._told))] < at_s - KEPT_S:
            del self._told[oldest]
        return True

    async def close(self) -> None:
        """Nothing is held."""
