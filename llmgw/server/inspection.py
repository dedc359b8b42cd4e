"""What the running gateway tells commands about its limits, quotas and balances."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from llmgw.admin.explain import Explainer
from llmgw.admin.question import Question
from llmgw.config.document import Document
from llmgw.core.clock import Clock
from llmgw.ports.counters import CounterStore
from llmgw.ports.stores import KeyEntry
from llmgw.ports.targets import TargetStates
from llmgw.runtime.balances import ledger_balances, period_end_s, recorded_callers
from llmgw.runtime.build import declared_keys
from llmgw.runtime.limits import Limits
from llmgw.runtime.standing import Caller, declared_callers, differences, limit_rows, quota_rows
from llmgw.server.control import Answer
from llmgw.stores.ledger import Ledger
from llmgw.tokens.prices import load as load_prices

_T = TypeVar("_T")


class Inspection:
    """issued: the keys that commands issued. targets: what is known of them."""

    def __init__(
        self,
        document: Document,
        counters: CounterStore,
        clock: Clock,
        limits: Limits,
        ledger: Ledger,
        issued: Callable[[], Awaitable[list[KeyEntry]]],
        targets: TargetStates,
    ) -> None:
        self._document = document
        self._counters = counters
        self._clock = clock
        self._limits = limits
        self._ledger = ledger
        self._issued = issued
        self._targets = targets

    def answers(self) -> dict[str, Answer]:
        """By the name that `llmgw` asks for."""
        return {
            "quotas": self.quotas,
            "limits": self.limits,
            "verify": self.verify,
            "explain": self.explain,
        }

    async def quotas(self, asked: dict[str, Any]) -> object:
        """Every quota of everybody who is known, with what is held for requests under way."""
        callers = [*declared_callers(self._document), *await self._others()]
        return await self._asked(
            lambda: quota_rows(self._document, self._clock, self._counters.balance, callers)
        )

    async def limits(self, asked: dict[str, Any]) -> object:
        """The limits of one caller. tenant, user, key, model: who, and for what."""
        caller = (asked["tenant"], asked.get("user"), asked.get("key"))
        model = asked.get("model")
        return await self._asked(
            lambda: limit_rows(self._document, self._counters, self._clock, self._limits, caller, model)
        )

    async def explain(self, asked: dict[str, Any]) -> object:
        """Where a request would go, and why. question: as `admin.question.Question` has it."""
        question = msgspec.convert(asked["question"], Question)
        await asyncio.get_running_loop().run_in_executor(None, load_prices)
        keys = [*declared_keys(self._document), *await self._issued()]
        explainer = Explainer(self._document, self._clock, counters=self._counters, states=self._targets)
        return await self._asked(lambda: explainer.explain(question, keys, time.monotonic()))

    async def verify(self, asked: dict[str, Any]) -> object:
        """The balances, and those that are not the sum of their records."""
        before = await self._asked(self._spent)
        recorded = await asyncio.get_running_loop().run_in_executor(None, self._recorded)
        after = await self._asked(self._spent)
        return {
            "balances": len({*before, *recorded}),
            "differences": differences(before, recorded, after),
        }

    async def _asked(self, work: Callable[[], _T]) -> _T:
        """What the counters say; off the loop where they are elsewhere and have to be waited for."""
        if self._document.storage.redis is None:
            return work()
        return await asyncio.get_running_loop().run_in_executor(None, work)

    def _spent(self) -> dict[str, int]:
        now_s = self._clock.utc_ns() // 1_000_000_000
        return {
            key: spent for key, spent, _ in self._counters.balances() if spent and period_end_s(key) > now_s
        }

    def _recorded(self) -> dict[str, int]:
        self._ledger.catch_up()
        sums = ledger_balances(self._document, self._clock, self._ledger.sums)
        return {key: spent for key, (spent, _) in sums.items() if spent}

    async def _others(self) -> list[Caller]:
        """Callers with an issued key, and those who left records."""
        issued = [(entry.tenant, entry.user, entry.key_id) for entry in await self._issued()]
        loop = asyncio.get_running_loop()
        recorded = await loop.run_in_executor(
            None, recorded_callers, self._document, self._clock, self._ledger.callers
        )
        return [*issued, *recorded]
