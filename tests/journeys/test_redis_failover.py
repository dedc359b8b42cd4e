"""The primary Redis is killed and its replica promoted, which has not all that was acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from llmgw.stores.redis_blocking import BlockingRedis
from llmgw.stores.redis_view import counters
from tests.fakes.hosts import Hosts, two_hosts
from tests.fakes.process import GatewayProcess, llmgw, within
from tests.fakes.raw_client import RawClient, chat, request
from tests.fakes.redis import RedisServer
from tests.fakes.sentinel import MASTER, Replicated, replicated

LIMIT = 600
HUNG_S = 4.0
BEHIND_S = 0.4


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Replicated]:
    with replicated(tmp_path) as servers:
        yield servers


@pytest.fixture
def hosts(servers: Replicated, tmp_path: Path) -> Iterator[Hosts]:
    url = servers.url("250ms")
    with two_hosts(tmp_path, workers=2, limit=LIMIT, wired=False, redis_url=url) as hosts:
        yield hosts


class Load:
    """Requests of both tenants at both hosts. found: by tenant and status. degraded: how many said so."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.found: dict[str, Counter[int]] = {"rated": Counter(), "bought": Counter()}
        self.degraded: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.ending = asyncio.Event()

    def start(self) -> list[asyncio.Task[None]]:
        return [
            asyncio.create_task(self._ask(gateway, tenant))
            for gateway in self.hosts.gateways
            for tenant in self.found
            for _ in range(4)
        ]

    async def _ask(self, gateway: GatewayProcess, tenant: str) -> None:
        client = await RawClient.connect(gateway.port, host=gateway.host)
        body = request(chat("hi", model="echo"), key=self.hosts.keys[tenant])
        while not self.ending.is_set():
            began = time.monotonic()
            await client.send(body)
            answer = await client.read_answer()
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.found[tenant][answer.status] += 1
            self.degraded[answer.headers.get("x-llmgw-degraded", "")] += 1
            await asyncio.sleep(0.1)
        await client.vanish()

    async def until(self, admitted: int, within_s: float = 30.0) -> None:
        """Until so many requests of each tenant were let on, or nothing more is."""
        end = time.monotonic() + within_s
        while min(statuses[200] for statuses in self.found.values()) < admitted:
            assert time.monotonic() < end, self.found
            await asyncio.sleep(0.02)


async def killed(servers: Replicated) -> None:
    primary, replica = servers.servers
    # It hears nothing of what the primary acknowledges from here on.
    replica.call("REPLICAOF", "NO", "ONE")
    await asyncio.sleep(BEHIND_S)
    acknowledged = counted(primary)
    primary.stop()
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    assert counted(replica) < acknowledged


async def demoted(servers: Replicated) -> None:
    """It lives, and takes writes for seconds more before it answers READONLY."""
    assert servers.ask("SENTINEL", "FAILOVER", MASTER) == b"OK"


@pytest.mark.parametrize("primary_is", [killed, demoted])
async def test_m08_g02_f10_redis_fails_over(
    hosts: Hosts, servers: Replicated, primary_is: Callable[[Replicated], Awaitable[None]]
) -> None:
    """Nobody hangs, no budget is exceeded by one request, and no limit by more than 5 %."""
    load = Load(hosts)
    tasks = load.start()
    await load.until(LIMIT // 5)
    await primary_is(servers)
    await asyncio.to_thread(servers.wait_for_failover, servers.servers[0].port)
    promoted = time.monotonic()
    await load.until(int(0.95 * LIMIT), 60)
    # Whatever is left is asked for as well.
    await asyncio.sleep(3)
    load.ending.set()
    await asyncio.gather(*tasks)
    print(load.found, load.degraded, load.slowest_s, time.monotonic() - promoted)

    assert load.found["bought"][200] <= LIMIT
    assert load.found["rated"][200] <= LIMIT * 1.05
    assert set(load.found["rated"]) == {200, 429}
    assert set(load.found["bought"]) <= {200, 429, 503}
    assert load.degraded["ratelimit"] > 0
    assert load.degraded["quota"] > 0
    assert load.slowest_s < HUNG_S
    assert within(15, lambda: verified(hosts)), "balances differ from the records"


def counted(server: RedisServer) -> int:
    """What is spent of the budget there."""
    redis = BlockingRedis(server.parsed(), 5.0)
    try:
        return max((int(state[0]) for key, state in counters(redis) if key.startswith("quota")), default=0)
    finally:
        redis.close()


def verified(hosts: Hosts) -> bool:
    done = llmgw("usage", "verify", cwd=hosts.gateways[0].directory)
    print(done.stdout)
    return done.returncode == 0
