"""Two hosts on one machine: data directories and addresses of their own, one PostgreSQL, one Redis.

Each reaches Redis over a wire of its own, which can break.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.fakes.postgres import PostgresServer, postgres_server
from tests.fakes.process import GatewayProcess, rows
from tests.fakes.raw_client import Answer, RawClient, chat, request
from tests.fakes.redis import RedisServer, redis_server
from tests.fakes.wire import Wire

ADDRESSES = ("127.0.0.1", "127.0.0.2")
CONFIG = """
version: 1
server: {{workers: {workers}, lame_duck: 100ms, drain_timeout: 5s}}
storage: {{url: "{database}", redis: "{redis}"}}
providers:
  demo: {{kind: echo, first_token: 2ms, tokens_per_second: 5000}}
models:
  echo: {{targets: [{{provider: demo, model: echo}}]}}
limits: {{global: off, per_tenant: off, per_user: off, per_ip: off, concurrency: off}}
tenants:
  rated: {{limits: {{per_tenant: {{requests: {limit}, window: 1h, algorithm: fixed_window}}}}}}
  sliding:
    limits: {{per_tenant: {{requests: {limit}, window: 1h, algorithm: sliding_window, segments: 6}}}}
  bought: {{quotas: [{{per: tenant, requests: {limit}, window: month}}]}}
  unlimited: {{}}
"""
TENANTS = ("rated", "sliding", "bought")


class Hosts:
    """The running gateways. keys: by tenant. wires: to Redis, one a host. database: its name."""

    def __init__(
        self,
        gateways: list[GatewayProcess],
        redis: RedisServer,
        wires: list[Wire],
        server: PostgresServer,
        database: str,
        keys: dict[str, str],
    ) -> None:
        self.gateways = gateways
        self.redis = redis
        self.wires = wires
        self.server = server
        self.database = database
        self.keys = keys

    async def race(self, tenant: str, requests: int, connections: int = 8) -> Counter[int]:
        """Statuses of so many requests of a tenant, as fast as they go, at every host."""
        left = iter(range(requests))
        found: Counter[int] = Counter()
        body = request(chat("hi", model="echo"), key=self.keys[tenant])

        async def ask(gateway: GatewayProcess) -> None:
            client = await RawClient.connect(gateway.port, host=gateway.host)
            try:
                for _ in left:
                    await client.send(body)
                    found[(await client.read_answer()).status] += 1
            finally:
                await client.vanish()

        await asyncio.gather(*(ask(gateway) for gateway in self.gateways for _ in range(connections)))
        return found

    async def answer(self, host: int, tenant: str) -> Answer:
        """That to one request."""
        gateway = self.gateways[host]
        client = await RawClient.connect(gateway.port, host=gateway.host)
        try:
            await client.send(request(chat("hi", model="echo"), key=self.keys[tenant]))
            return await client.read_answer()
        finally:
            await client.vanish()

    async def ask(self, host: int, tenant: str) -> tuple[int, bytes]:
        """Status and head of one request."""
        answer = await self.answer(host, tenant)
        return answer.status, str(answer.headers).encode()


@contextmanager
def two_hosts(
    directory: Path,
    *,
    workers: int,
    limit: int,
    budget: str = "2000ms",
    config: str = CONFIG,
    wired: bool = True,
    redis_url: str | None = None,
) -> Iterator[Hosts]:
    """wired: whether Redis is reached over wires; without, nothing stands between.

    redis_url: of another one than is started here.
    """
    with ExitStack() as stack:
        server = postgres_server()
        database = stack.enter_context(server.llmgw())
        redis = stack.enter_context(redis_server(directory))
        wires = [stack.enter_context(Wire(redis.port)) for _ in ADDRESSES] if wired else []
        ports = [wire.port for wire in wires] or [redis.port] * len(ADDRESSES)
        places = []
        for name, port in zip(("a", "b"), ports, strict=True):
            place = directory / name
            place.mkdir()
            url = redis_url or f"redis://127.0.0.1:{port}/0?budget={budget}"
            (place / "llmgw.yaml").write_text(
                config.format(workers=workers, database=database, redis=url, limit=limit)
            )
            places.append(place)
        keys = {
            tenant: str(rows("keys", "create", "--tenant", tenant, cwd=places[0])["key"])
            for tenant in TENANTS
        }
        gateways = [
            stack.enter_context(GatewayProcess(place, host=address))
            for place, address in zip(places, ADDRESSES, strict=True)
        ]
        yield Hosts(gateways, redis, wires, server, database.rpartition("/")[2], keys)
