"""Two hosts on one machine: data directories of their own, one PostgreSQL, one Redis."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.fakes.postgres import postgres_server
from tests.fakes.process import GatewayProcess, rows
from tests.fakes.raw_client import RawClient, chat, request
from tests.fakes.redis import RedisServer, redis_server

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
"""


class Hosts:
    """The running gateways. keys: by tenant."""

    def __init__(self, gateways: list[GatewayProcess], redis: RedisServer, keys: dict[str, str]) -> None:
        self.gateways = gateways
        self.redis = redis
        self.keys = keys

    async def race(self, tenant: str, requests: int, connections: int = 8) -> Counter[int]:
        """Statuses of so many requests of a tenant, as fast as they go, at every host."""
        left = iter(range(requests))
        found: Counter[int] = Counter()
        body = request(chat("hi", model="echo"), key=self.keys[tenant])

        async def ask(port: int) -> None:
            client = await RawClient.connect(port)
            try:
                for _ in left:
                    await client.send(body)
                    found[(await client.read_answer()).status] += 1
            finally:
                await client.vanish()

        await asyncio.gather(*(ask(gateway.port) for gateway in self.gateways for _ in range(connections)))
        return found

    async def ask(self, host: int, tenant: str) -> tuple[int, bytes]:
        """Status and head of one request."""
        client = await RawClient.connect(self.gateways[host].port)
        try:
            await client.send(request(chat("hi", model="echo"), key=self.keys[tenant]))
            answer = await client.read_answer()
            return answer.status, str(answer.headers).encode()
        finally:
            await client.vanish()


@contextmanager
def two_hosts(directory: Path, *, workers: int, limit: int, budget: str = "2000ms") -> Iterator[Hosts]:
    with ExitStack() as stack:
        database = stack.enter_context(postgres_server().llmgw())
        redis = stack.enter_context(redis_server(directory))
        places = []
        for name in ("a", "b"):
            place = directory / name
            place.mkdir()
            (place / "llmgw.yaml").write_text(
                CONFIG.format(
                    workers=workers, database=database, redis=f"{redis.url}?budget={budget}", limit=limit
                )
            )
            places.append(place)
        keys = {
            tenant: str(rows("keys", "create", "--tenant", tenant, cwd=places[0])["key"])
            for tenant in ("rated", "sliding", "bought")
        }
        gateways = [stack.enter_context(GatewayProcess(place)) for place in places]
        yield Hosts(gateways, redis, keys)
