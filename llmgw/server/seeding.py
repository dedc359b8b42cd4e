"""Balances of quotas that a reload adds: begun with the records of their period."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from llmgw.config.document import Document
from llmgw.core.clock import Clock
from llmgw.core.errors import Unavailable
from llmgw.ports.counters import CounterStore
from llmgw.server.counting import seed

AGAIN_S = (2.0, 10.0, 60.0, 600.0)


class Seeding:
    """Seeds before the quotas are in effect, and again for what was under way then.

    A request lives in the generation it began in, so it settles into none of the added balances;
    its record does, once it has ended. Seeding only ever raises a balance to what the records say.
    """

    def __init__(
        self,
        clock: Clock,
        counters: CounterStore,
        *,
        again_s: Sequence[float] = AGAIN_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._counters = counters
        self._again_s = again_s
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None

    async def seed(self, before: Document, after: Document) -> None:
        """For a reload from one document to another. Raises Unavailable."""
        if after.all_quota_rules() == before.all_quota_rules():
            return
        await seed(after, self._clock, self._counters)
        self.close()
        self._task = asyncio.create_task(self._again(after))

    def close(self) -> None:
        """Seed no more."""
        if self._task is not None:
            self._task.cancel()

    async def _again(self, document: Document) -> None:
        passed = 0.0
        for at in self._again_s:
            await self._sleep(at - passed)
            passed = at
            try:
                await seed(document, self._clock, self._counters)
            except Unavailable:
                # The next one, or the next start, finds the same records.
                continue
