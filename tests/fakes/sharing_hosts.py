"""Hosts that share quotas in one Redis, each over a wire of its own, in one process.

What their requests used is recorded before it is settled, as the journal is; a host that crashes
leaves what was recorded, and its files.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from llmgw.config.redis_url import RedisUrl
from llmgw.core.claim import BALANCE, Claim, Rule, Verdict
from llmgw.core.clock import Clock, steady_ns
from llmgw.ports.counters import CounterStore
from llmgw.stores.alone_log import AloneLog, logs, read
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.redis_blocking import BlockingRedis
from llmgw.stores.redis_claims import OWNER, Codec
from llmgw.stores.redis_counters import RedisCounters
from llmgw.stores.redis_leases import leases
from llmgw.stores.redis_session import Session
from llmgw.stores.redis_view import adopt, enter, release, seed, time_us
from llmgw.stores.redis_view import counters as all_counters
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.redis import RedisServer

HOUR_NS = 3600 * 10**9
KEY = "quota|tenant|cost|month|UTC|acme|0"


class Records:
    """What requests used, by request."""

    def __init__(self) -> None:
        self.used: dict[str, int] = {}

    def spent(self) -> int:
        return sum(self.used.values())


class Worker:
    """One worker of a host."""

    def __init__(self, host: Host, index: int) -> None:
        self.host = host
        self.index = index
        self.pid = next(host.pids)
        self.events: list[str] = []
        loop = asyncio.get_running_loop()
        self.member = f"{host.name}:{index}:{self.pid}"
        self.log = AloneLog(host.files, f"{index}-{self.pid}")
        self.counters = RedisCounters(
            loop,
            Codec(OWNER + self.member.encode(), host.clock.utc_offset_ns),
            host.local(index),
            host.clock,
            lambda why: self.session.left(why),
            2.0,
            self.log,
            host.life,
        )
        url = RedisUrl("single", (("127.0.0.1", host.proxy.port),))
        self.session = Session(
            url, self.counters, self.member, host.seed, lambda event, _: self.events.append(event)
        )
        self.session._hold_s = 0.02

    async def take(self, cost: int, request: str, limit: int) -> Taken | None:
        """None when it is refused."""
        claim = self.host.claim(cost, limit)
        decided: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        given = self.counters.acquire([claim], request, decided.set_result)
        verdict = given if isinstance(given, Verdict) else await decided
        return None if verdict.refusals else Taken(self, claim, request, verdict)

    async def tick(self) -> None:
        """What happens each second, and its answers."""
        link = self.counters.link
        if link is not None:
            self.counters.shares.tick(link)
            await asyncio.gather(link.call("PING"), return_exceptions=True)
            await asyncio.gather(link.call("PING"), return_exceptions=True)

    def crash(self) -> asyncio.Task[None]:
        """As kill -9: nothing is sent any more. Returns what ends soon."""
        task = self.session._task
        assert task is not None
        task.cancel()
        link, self.counters.link = self.counters.link, None
        self.counters.shares.link = self.counters.settlements.link = None
        if link is not None:
            link.lost = lambda: None
            link.abort()
        return task


class Taken:
    """A request under way."""

    def __init__(self, worker: Worker, claim: Claim, request: str, verdict: Verdict) -> None:
        self.worker = worker
        self.claim = claim
        self.request = request
        self.verdict = verdict

    def end(self, charge: int) -> None:
        self.worker.host.records.used[self.request] = charge
        self.worker.counters.settle([(self.claim, charge)], self.verdict)


class Host:
    """local: makes a worker's view of the host's counters; one in memory for all without.

    sees: hosts whose requests are not in the ledger before Redis has heard of them.
    """

    def __init__(
        self, server: RedisServer, name: str, directory: Path, records: Records, workers: int = 2
    ) -> None:
        self.server = server
        self.name = name
        self.files = directory / name
        self.records = records
        self.proxy = FaultProxy(server.port)
        self.workers: list[Worker] = []
        self.sees: Sequence[Host] = ()
        self._dead: list[asyncio.Task[None]] = []
        self.pids = iter(range(1, 10_000))
        self._count = workers
        self._memory: CounterStore = MemoryCounters(steady_ns)
        self.local: Callable[[int], CounterStore] = lambda index: self._memory

    async def start(self) -> None:
        """What `server.sharing` does, with all that is recorded in the ledger."""
        redis = BlockingRedis(self.server.parsed(), 5.0)
        self.clock = Clock(steady_ns, time_us(redis) * 1_000 - steady_ns())
        self.life = secrets.token_hex(8)
        self._memory = MemoryCounters(steady_ns)
        adopt(redis, self.files, self.name)
        enter(redis, self._sums(redis))
        release(redis, f"{self.name}:".encode(), self.charged)
        redis.close()
        await self.proxy.refuse()
        await self.proxy.accept()
        self.workers = [Worker(self, index) for index in range(self._count)]
        for worker in self.workers:
            await worker.session.start(10.0)
            assert worker.counters.link is not None

    async def stop(self) -> None:
        for worker in self.workers:
            await worker.session.close()
        await self.proxy.refuse()
        # What was aborted is closed some turns later.
        await asyncio.gather(*self._dead, return_exceptions=True)
        await asyncio.sleep(0.05)

    def crash(self) -> None:
        for worker in self.workers:
            self._dead.append(worker.crash())
        self.workers = []

    async def cut(self) -> None:
        """Redis is away for this host."""
        await self.proxy.refuse()
        await self.until(lambda: all(worker.counters.link is None for worker in self.workers))

    async def join(self) -> None:
        """It is back."""
        await self.proxy.accept()
        await self.until(lambda: all(worker.counters.link is not None for worker in self.workers))

    async def tick(self) -> None:
        for worker in self.workers:
            await worker.tick()

    async def until(self, holds: Callable[[], bool], within_s: float = 20.0) -> None:
        end = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < end, [worker.events for worker in self.workers]
            await asyncio.sleep(0.005)

    def claim(self, cost: int, limit: int) -> Claim:
        rule = Rule(
            name="budget",
            counts="quota",
            algorithm=BALANCE,
            unit="cost",
            limit=limit,
            on_store_error="deny",
        )
        return Claim(rule, KEY, cost, self._end_us() * 1_000 - self.clock.utc_offset_ns)

    def charged(self, request: str, key: str) -> tuple[int, int]:
        return self.records.used.get(request, 0), self._end_us()

    def seed(self) -> None:
        redis = BlockingRedis(self.server.parsed(), 5.0)
        seed(redis, self._sums(redis))
        redis.close()

    def _sums(self, redis: BlockingRedis) -> dict[str, tuple[int, int]]:
        held = {request for request, _ in leases(redis)}
        held |= {take.request for host in self.sees for _, file in logs(host.files) for take in read(file)}
        spent = sum(used for request, used in self.records.used.items() if request not in held)
        return {KEY: (spent, self._end_us())}

    def _end_us(self) -> int:
        return (int(time.time()) // 86_400 + 2) * 86_400_000_000


def balance(server: RedisServer) -> tuple[int, int]:
    """Spent and held."""
    redis = BlockingRedis(server.parsed(), 5.0)
    try:
        for _, state in all_counters(redis):
            return int(state[0]), int(state[1])
    finally:
        redis.close()
    return 0, 0


def shares(server: RedisServer) -> dict[str, int]:
    """What each host holds as a share."""
    found = {}
    for owner in server.call("SMEMBERS", b"llmgw:{limits}:owners"):
        if owner.endswith(b":share"):
            held = sum(int(amount) for amount in server.call("HVALS", owner))
            if held:
                found[owner.decode().split(":")[-2]] = held
    return found
