"""kill -9 of workers and of whole gateways that count in Redis: budgets stay what the records say."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from llmgw.stores.redis_blocking import BlockingRedis
from llmgw.stores.redis_leases import leases
from tests.fakes.hosts import Hosts, two_hosts
from tests.fakes.process import GatewayProcess, llmgw, rows
from tests.fakes.raw_client import RawClient, chat, request
from tests.journeys.test_balances import workers_of

CONFIG = """
version: 1
server: {{workers: {workers}, lame_duck: 0s, drain_timeout: 5s}}
storage: {{url: "{database}", redis: "{redis}"}}
providers:
  demo: {{kind: echo, first_token: 5ms, tokens_per_second: 300}}
models:
  echo: {{targets: [{{provider: demo, model: echo}}]}}
prices: {{overrides: {{demo/echo: {{input: 1 USD/M, output: 1000 USD/M}}}}}}
limits: {{global: off, per_tenant: off, per_user: off, per_ip: off, concurrency: off}}
quotas:
  - {{per: tenant, requests: {limit}, window: month}}
  - {{per: tenant, output_tokens: 100M, window: month}}
  - {{per: key, cost: 1000 USD, window: month}}
tenants: {{rated: {{}}, sliding: {{}}, bought: {{}}}}
"""


class Load:
    """Requests at both hosts until it is left. sent, answered: ids; an answer is a whole 200."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.sent: list[str] = []
        self.answered: list[str] = []
        self.statuses: Counter[int] = Counter()
        self._ending = asyncio.Event()

    @asynccontextmanager
    async def going(self, connections: int = 4) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(self._ask(gateway, number))
            for gateway in self.hosts.gateways
            for number in range(connections)
        ]
        yield
        self._ending.set()
        await asyncio.gather(*tasks)

    async def _ask(self, gateway: GatewayProcess, number: int) -> None:
        client: RawClient | None = None
        count = 0
        while not self._ending.is_set():
            count += 1
            request_id = f"{gateway.host}-{number}-{count}-{random.randrange(10**12)}"
            streamed = count % 2 == 0
            body = chat("some words to say again", model="echo", stream=streamed)
            try:
                client = client or await RawClient.connect(gateway.port, host=gateway.host)
                self.sent.append(request_id)
                key = self.hosts.keys["bought"]
                await client.send(request(body, key=key, headers={"x-request-id": request_id}))
                answer = await client.read_answer()
            except (OSError, EOFError, TimeoutError):
                if client is not None:
                    await client.vanish()
                client = None
                await asyncio.sleep(0.02)
                continue
            self.statuses[answer.status] += 1
            if answer.status == 200 and (not streamed or b"[DONE]" in answer.body):
                self.answered.append(request_id)
        if client is not None:
            await client.vanish()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with two_hosts(tmp_path, workers=2, limit=1_000_000, config=CONFIG) as hosts:
        yield hosts


async def until(holds: Callable[[], Any], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


def held(hosts: Hosts) -> int:
    """Requests that hold something of a balance; what hosts keep for a time without Redis is none."""
    redis = BlockingRedis(hosts.redis.parsed())
    try:
        return len({request for request, _ in leases(redis) if not request.startswith("share-")})
    finally:
        redis.close()


def settled(hosts: Hosts) -> bool:
    """Whether nothing is held, and every journal is in the database."""
    done = [llmgw("usage", "verify", cwd=gateway.directory) for gateway in hosts.gateways]
    return held(hosts) == 0 and all(one.returncode == 0 for one in done)


def check_records(hosts: Hosts, load: Load) -> None:
    """One record for each request that was dispatched, none twice, none invented."""
    found = hosts.server.fetch(hosts.database, "SELECT client_request_id, outcome FROM usage")
    recorded = Counter(request_id for request_id, _ in found)
    assert max(recorded.values()) == 1
    assert set(recorded) <= set(load.sent)
    assert [one for one in load.answered if recorded[one] != 1] == []
    assert len(load.answered) > 50


async def test_g08_workers_are_killed_under_load(hosts: Hosts) -> None:
    """Whoever dies, no hold stays, and the balances in Redis are the sum of the records."""
    load = Load(hosts)
    async with load.going():
        for _ in range(6):
            await asyncio.sleep(random.uniform(0.3, 1.0))
            gateway = random.choice(hosts.gateways)
            pids = await asyncio.to_thread(workers_of, gateway)
            if pids:
                os.kill(random.choice(pids), signal.SIGKILL)
        await asyncio.sleep(0.5)
    await until(lambda: settled(hosts))

    check_records(hosts, load)
    assert set(load.statuses) <= {200, 503}


async def test_g08_a_gateway_is_killed_under_load(hosts: Hosts) -> None:
    """Its workers go with it; what they held is settled at its next start. The other host serves on."""
    load = Load(hosts)
    killed = hosts.gateways[1]
    async with load.going():
        for _ in range(3):
            await asyncio.sleep(random.uniform(0.5, 1.0))
            await asyncio.to_thread(killed.kill)
            await asyncio.sleep(random.uniform(0.0, 0.5))
            await asyncio.to_thread(killed.start)
        await asyncio.sleep(0.5)
    await until(lambda: settled(hosts))

    check_records(hosts, load)
    assert sum(one.startswith(killed.host) for one in load.answered) > 10


async def test_g08_what_a_killed_gateway_held_is_charged_once(hosts: Hosts) -> None:
    """By its records, or by its leases in Redis: not by both."""
    killed = hosts.gateways[1]
    slow = request(chat("[[echo delay=60s]] words to say", model="echo"), key=hosts.keys["bought"])
    clients = [await RawClient.connect(killed.port, host=killed.host) for _ in range(5)]
    for client in clients:
        await client.send(slow)
    await until(lambda: held(hosts) == 5)
    pids = workers_of(killed)
    killed.kill()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for client in clients:
        await client.vanish()

    await asyncio.to_thread(killed.start)
    await until(lambda: held(hosts) == 0)
    verified = await asyncio.to_thread(llmgw, "usage", "verify", cwd=killed.directory)

    assert verified.returncode == 0, verified.stdout


async def test_g08_a_worker_is_killed_while_redis_is_away(hosts: Hosts) -> None:
    """What it held is settled when Redis is back, without a restart."""
    gateway = hosts.gateways[0]
    slow = request(chat("[[echo delay=60s]] words to say", model="echo"), key=hosts.keys["bought"])
    clients = [await RawClient.connect(gateway.port, host=gateway.host) for _ in range(6)]
    for client in clients:
        await client.send(slow)
    await until(lambda: held(hosts) == 6)
    hosts.wires[0].close()
    for pid in workers_of(gateway):
        os.kill(pid, signal.SIGKILL)
    for client in clients:
        await client.vanish()
    await asyncio.sleep(2.0)
    hosts.wires[0].open()

    await until(lambda: settled(hosts))
    assert len(hosts.server.fetch(hosts.database, "SELECT 1 FROM usage WHERE outcome = 'lost'")) == 6


async def test_g02_requests_end_while_redis_is_away_and_it_comes_back_empty(hosts: Hosts) -> None:
    """They are charged by their records, or when they are settled at last: not by both."""
    slow = request(chat("[[echo delay=8s]] words to say", model="echo"), key=hosts.keys["bought"])
    clients = [
        await RawClient.connect(gateway.port, host=gateway.host)
        for gateway in hosts.gateways
        for _ in range(5)
    ]
    for client in clients:
        await client.send(slow)
    await until(lambda: held(hosts) == 10)
    hosts.redis.stop()
    await asyncio.sleep(8)
    assert [(await client.read_answer()).status for client in clients] == [200] * 10
    for client in clients:
        await client.vanish()
    await until(lambda: len(hosts.server.fetch(hosts.database, "SELECT 1 FROM usage")) == 10)
    hosts.redis.start()

    await until(lambda: settled(hosts))
    shown = rows("quota", "show", "--tenant", "bought", cwd=hosts.gateways[0].directory)
    assert next(row["used"] for row in shown if row["unit"] == "requests") == 10
