"""Counters in Redis as a store that answers at once, for what is tested of every store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import uvloop

from llmgw.core.claim import CONCURRENCY, Claim, Step, Verdict
from llmgw.core.clock import Clock
from llmgw.ports.counters import Settlement
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.redis_blocking import BlockingRedis
from llmgw.stores.redis_claims import OWNER, Codec, counter_key
from llmgw.stores.redis_counters import RedisCounters
from llmgw.stores.redis_session import Session
from llmgw.stores.redis_view import counters as all_counters
from llmgw.stores.redis_view import enter, seed
from tests.fakes.redis import RedisServer

_T = TypeVar("_T")
OFFSET_NS = 1_700_000_000_000_000_000
BALANCE_KIND = 4.0


class SharedStore:
    """One worker's counters on a loop of their own, in Redis's place told the time by `steady`."""

    def __init__(self, server: RedisServer, steady: Callable[[], int]) -> None:
        self.redis = BlockingRedis(server.parsed(), 10.0)
        self.redis.call("FLUSHALL")
        enter(self.redis, {})
        self._steady = steady
        self._begun = steady()
        self._loop = uvloop.new_event_loop()
        self.local = MemoryCounters(steady)
        self._codec = Codec(OWNER + b"test:0:1", OFFSET_NS)
        self._run(self._open(server))

    async def _open(self, server: RedisServer) -> None:
        clock = Clock(self._steady, OFFSET_NS)
        self.store = RedisCounters(
            self._loop, self._codec, self.local, clock, lambda why: self.session.left(why), 5.0
        )
        self.session = Session(server.parsed(), self.store, "test:0:1", lambda: None, lambda *_: None)
        await self.session.start(10.0)
        assert self.store.link is not None

    def close(self) -> None:
        self._run(self.session.close())
        self._loop.close()
        self.redis.close()

    def acquire(self, claims: Sequence[Claim], request_id: str) -> Verdict:
        async def ask() -> Verdict:
            decided: asyncio.Future[Verdict] = self._loop.create_future()
            verdict = self.store.acquire(claims, request_id, decided.set_result)
            return verdict if isinstance(verdict, Verdict) else await decided

        return self._run(ask())

    def settle(self, settlements: Sequence[Settlement], verdict: Verdict) -> None:
        async def ask() -> None:
            done = asyncio.Event()
            self.store.settle(settlements, verdict, done.set)
            if any(claim.rule.algorithm != CONCURRENCY for claim, _ in settlements):
                await done.wait()

        self._run(ask())

    def peek(self, claims: Sequence[Claim]) -> list[Step]:
        return self._run(self.store.peek(claims))

    def restore(self, balances: Mapping[str, tuple[int, int]]) -> None:
        codec = self._codec
        seed(self.redis, {key: (spent, codec.utc_us(until)) for key, (spent, until) in balances.items()})

    def seed(self, balances: Mapping[str, tuple[int, int]]) -> None:
        self.restore(balances)

    def balance(self, key: str) -> tuple[int, int]:
        return next(((spent, held) for name, spent, held in self.balances() if name == key), (0, 0))

    def balances(self) -> Iterable[tuple[str, int, int]]:
        return [
            (key, int(state[0]), int(state[1]))
            for key, state in all_counters(self.redis)
            if state[-1] == BALANCE_KIND
        ]

    def counted(self) -> int:
        return len(list(all_counters(self.redis))) + self.local.counted()

    def sweep(self) -> None:
        """Redis forgets by itself: do what it will have done by the time the clock says."""
        self.local.sweep()
        passed_ms = (self._steady() - self._begun) // 1_000_000
        for key, _ in list(all_counters(self.redis)):
            if self.redis.call("PTTL", counter_key(key)) <= passed_ms:
                self.redis.call("DEL", counter_key(key))

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        self._codec.given = b"%d" % self._codec.utc_us(self._steady())
        return self._loop.run_until_complete(work)
