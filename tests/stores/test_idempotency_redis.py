from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from llmgw.core.errors import Unavailable
from llmgw.ports.idempotency import LEASE_S, Found
from llmgw.stores.idempotency_redis import SPACE, RedisIdempotency
from llmgw.stores.redis_link import Link, connect
from tests.contracts.idempotency import DAY_S, PRINT, IdempotencyContract, held
from tests.fakes.redis import RedisServer, redis_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


class Stores:
    """Each as if of a process of its own. Redis has a clock of its own, so it is told to be late."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.links: list[Link] = []
        self._made: list[RedisIdempotency] = []

    async def link(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            self.links.append(await connect(self.server.parsed(), lambda: Link(loop)))

    def open(self) -> RedisIdempotency:
        link = self.links[len(self._made) % 3]
        self._made.append(RedisIdempotency(lambda: link, 2.0))
        return self._made[-1]

    def sleep(self, seconds: float) -> None:
        """Have every key end that much sooner."""
        for key in self.server.call("KEYS", "*"):
            left = self.server.call("PTTL", key)
            self.server.call("PEXPIRE", key, max(0, left - int(seconds * 1000)))

    def count(self) -> int:
        return int(self.server.call("DBSIZE"))


@pytest.fixture
async def stores(server: RedisServer) -> AsyncIterator[Stores]:
    server.call("FLUSHALL")
    stores = Stores(server)
    await stores.link()
    yield stores
    for link in stores.links:
        link.abort()


class TestRedisIdempotency(IdempotencyContract):
    pass


async def test_keys_have_the_prefix_and_the_tenant(stores: Stores) -> None:
    one = held("acme:00ff")
    store = stores.open()
    await store.claim(one)
    await store.keep(one, b"answer", DAY_S)

    assert stores.server.call("KEYS", "*") == [SPACE + b"acme:00ff"]
    assert SPACE.startswith(b"idempotency:")
    assert 0 < stores.server.call("PTTL", SPACE + b"acme:00ff") <= DAY_S * 1000


async def test_h12_without_a_link_at_once() -> None:
    store = RedisIdempotency(lambda: None, 0.02)
    began = time.perf_counter()

    for _ in range(100):
        with pytest.raises(Unavailable):
            await store.claim(held())

    assert time.perf_counter() - began < 0.5


async def test_h12_a_silent_redis_is_waited_for_no_longer_than_the_budget(server: RedisServer) -> None:
    """A claim that arrives all the same is taken back."""
    server.call("FLUSHALL")
    loop = asyncio.get_running_loop()
    link = await connect(server.parsed(), lambda: Link(loop))
    store = RedisIdempotency(lambda: link, 0.05)
    server.call("CLIENT", "PAUSE", 400)
    began = loop.time()
    with pytest.raises(Unavailable):
        await store.claim(held())
    assert loop.time() - began < 0.35
    await asyncio.sleep(0.6)

    assert await RedisIdempotency(lambda: link, 2.0).claim(held()) is None
    link.abort()


async def test_h12_a_redis_that_takes_no_writes(stores: Stores) -> None:
    store = stores.open()
    stores.server.call("CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        with pytest.raises(Unavailable):
            await store.claim(held())
    finally:
        stores.server.call("CONFIG", "SET", "min-replicas-to-write", 0)

    assert await store.claim(held()) is None
    assert await store.claim(held()) == Found(PRINT, None)
    assert 0 < stores.server.call("PTTL", SPACE + b"acme:1") <= LEASE_S * 1000
