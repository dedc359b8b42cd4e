"""Against a real Redis."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmgw.config.redis_url import parse_redis_url
from llmgw.stores.cache_redis import ORDER, SECRET, SPACE, TOTAL, RedisCache
from llmgw.stores.redis_claims import EPOCH
from llmgw.stores.redis_claims import SPACE as LIMITS
from tests.contracts.cache import CacheStoreContract, Pass, ask, key, value_of, wait_for
from tests.fakes.process import free_port
from tests.fakes.redis import RedisServer, redis_server

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    shared_server.call("FLUSHALL")
    return shared_server


@pytest.fixture
def told() -> list[str]:
    return []


async def opened(server: RedisServer, told: list[str], memory: int = MIB) -> RedisCache:
    """A store that is connected; patient, as the machine may be busy."""

    def tell(event: str, fields: dict[str, Any]) -> None:
        told.append(event)

    store = RedisCache(replace(server.parsed(), budget_s=2.0), memory, tell)
    async with asyncio.timeout(10):
        while store.secret is None:
            await asyncio.sleep(0.005)
    return store


@pytest.fixture
async def store(server: RedisServer, told: list[str]) -> AsyncIterator[RedisCache]:
    store = await opened(server, told)
    yield store
    store.close()


class TestRedisCache(CacheStoreContract):
    @pytest.fixture
    def let_pass(self) -> Pass:
        return asyncio.sleep


async def test_hosts_share_answers(store: RedisCache, server: RedisServer) -> None:
    other = await opened(server, [])
    store.put(key("a"), b"said once", 60.0)

    await wait_for(other, key("a"), b"said once")

    assert other.secret == store.secret
    other.close()


async def test_m09_its_keys_are_apart_from_the_counters_and_all_end(
    store: RedisCache, server: RedisServer
) -> None:
    """Another prefix and another slot of a cluster; whatever is an answer has a time to live."""
    store.put(key("a"), b"x", 60.0)
    await wait_for(store, key("a"), b"x")

    keys = server.call("KEYS", "*")

    assert not SPACE.startswith(LIMITS)
    assert all(one.startswith(SPACE) for one in keys)
    entries = [one for one in keys if one not in (SECRET, ORDER, TOTAL)]
    assert len(entries) == 1
    assert 0 < server.call("PTTL", entries[0]) <= 60_000


async def test_i10_a_damaged_entry_is_discarded(store: RedisCache, server: RedisServer) -> None:
    store.put(key("a"), b"x" * 100, 60.0)
    await wait_for(store, key("a"), b"x" * 100)
    (entry,) = server.call("KEYS", SPACE + b"*:*" + key("a").digest.hex().encode())
    server.call("SETRANGE", entry, 80, b"y")

    assert await value_of(store, key("a")) is None
    assert store.discarded == 1


async def test_the_sum_follows_what_ends(store: RedisCache, server: RedisServer) -> None:
    store.put(key("a"), bytes(1000), 0.05)
    await wait_for(store, key("a"), None)
    async with asyncio.timeout(5):
        while store.size_bytes == 0:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)

    store.put(key("b"), bytes(1000), 60.0)
    await wait_for(store, key("b"), bytes(1000))

    assert server.call("ZCARD", ORDER) == 1
    assert int(server.call("GET", TOTAL)) == store.size_bytes < 1100


async def test_i10_a_redis_that_is_gone_is_a_miss_at_once(tmp_path: Path, told: list[str]) -> None:
    """And it is used again when it is back."""
    with redis_server(tmp_path) as server:
        store = await opened(server, told)
        store.put(key("a"), b"x", 60.0)
        await wait_for(store, key("a"), b"x")
        server.stop()
        async with asyncio.timeout(5):
            while store.secret is not None:
                await asyncio.sleep(0.005)

        assert await ask(store, key("a")) is None
        store.put(key("a"), b"x", 60.0)
        assert store.failed >= 1
        assert told == ["cache_lost"]

        server.start()
        async with asyncio.timeout(20):
            while store.secret is None:
                await asyncio.sleep(0.01)
        assert told == ["cache_lost", "cache_back"]
        assert await ask(store, key("a")) is None
        store.close()


async def test_i10_a_redis_that_hangs_costs_its_budget(tmp_path: Path, told: list[str]) -> None:
    """Nobody waits longer than that, and after a few it is not asked at all."""
    loop = asyncio.get_running_loop()
    with redis_server(tmp_path) as server:
        store = RedisCache(replace(server.parsed(), budget_s=0.05), MIB, lambda *_: told.append("x"))
        async with asyncio.timeout(10):
            while store.secret is None:
                await asyncio.sleep(0.005)
        server.signal(signal.SIGSTOP)
        try:
            began = loop.time()
            assert await ask(store, key("a")) is None
            assert loop.time() - began < 1.0
            await asyncio.gather(*(ask(store, key("a")) for _ in range(20)))
            assert store.secret is None
        finally:
            server.signal(signal.SIGCONT)
            store.close()


async def test_i10_a_full_redis_still_gives_what_it_has(tmp_path: Path, told: list[str]) -> None:
    with redis_server(tmp_path) as server:
        store = await opened(server, told)
        store.put(key("a"), b"x", 60.0)
        await wait_for(store, key("a"), b"x")
        server.call("CONFIG", "SET", "maxmemory", 1)

        store.put(key("b"), b"y", 60.0)
        async with asyncio.timeout(5):
            while not store.failed:
                await asyncio.sleep(0.005)

        assert await value_of(store, key("a")) == b"x"
        assert not told
        store.close()


async def test_i11_what_was_erased_takes_no_room(store: RedisCache, server: RedisServer) -> None:
    for number in range(500):
        store.put(key(f"{number}", "gone"), bytes(100), 60.0)
    await wait_for(store, key("499", "gone"), bytes(100))
    assert server.call("ZCARD", ORDER) == 500

    store.forget(frozenset({"gone"}))

    async with asyncio.timeout(5):
        while server.call("ZCARD", ORDER):
            await asyncio.sleep(0.01)
    assert int(server.call("GET", TOTAL)) == 0
    assert set(server.call("KEYS", "*")) == {SECRET, TOTAL}


async def test_i11_a_redis_that_was_away_is_told_when_it_is_back(tmp_path: Path, told: list[str]) -> None:
    with redis_server(tmp_path) as server:
        store = await opened(server, told)
        store.put(key("a", "gone"), b"x", 60.0)
        await wait_for(store, key("a", "gone"), b"x")
        store._leave("as if")

        store.forget(frozenset({"gone"}))

        async with asyncio.timeout(10):
            while server.call("ZCARD", ORDER):
                await asyncio.sleep(0.01)
        store.close()


async def test_scripts_that_were_forgotten_are_sent_again(store: RedisCache, server: RedisServer) -> None:
    server.call("SCRIPT", "FLUSH")
    store.put(key("a"), b"x", 60.0)

    async with asyncio.timeout(10):
        while await value_of(store, key("a")) is None:
            if store.secret is not None:
                store.put(key("a"), b"x", 60.0)
            await asyncio.sleep(0.05)


async def test_in_a_cluster_it_goes_to_the_node_that_keeps_answers(tmp_path: Path, told: list[str]) -> None:
    """Another one than counts, if the slots are so; what goes to make room is found there too."""
    with (
        redis_server(tmp_path, port=low_port(), cluster_enabled="yes", cluster_config_file="a.conf") as first,
        redis_server(
            tmp_path, port=low_port(), cluster_enabled="yes", cluster_config_file="b.conf"
        ) as second,
    ):
        slot = first.call("CLUSTER", "KEYSLOT", SECRET)
        assert slot != first.call("CLUSTER", "KEYSLOT", EPOCH)
        first.call("CLUSTER", "MEET", "127.0.0.1", second.port)
        first.call("CLUSTER", "ADDSLOTS", *(one for one in range(16384) if one != slot))
        second.call("CLUSTER", "ADDSLOTS", slot)
        async with asyncio.timeout(60):
            while not all(b"cluster_state:ok" in each.call("CLUSTER", "INFO") for each in (first, second)):
                await asyncio.sleep(0.1)
        url = replace(parse_redis_url(f"redis+cluster://127.0.0.1:{first.port}"), budget_s=2.0)
        store = RedisCache(url, 10_000, lambda event, _: told.append(event))
        async with asyncio.timeout(10):
            while store.secret is None:
                await asyncio.sleep(0.005)

        for number in range(20):
            store.put(key(f"{number}"), bytes(1_000), 60.0 + number)
        await wait_for(store, key("19"), bytes(1_000))

        assert await value_of(store, key("0")) is None
        assert second.call("DBSIZE") > 3
        assert first.call("DBSIZE") == 0
        assert not told
        store.close()


def low_port() -> int:
    """A node of a cluster also listens 10,000 above its port."""
    while (port := free_port()) > 55_000:
        pass
    return port
