"""Notices of changed keys, over a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llmgw.config.redis_url import RedisUrl
from llmgw.ports.stores import IssuedKey
from llmgw.stores.key_notices import RedisKeyNotices, ToldRegistry, tell_changed
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.redis import RedisServer, redis_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@asynccontextmanager
async def listener(url: RedisUrl) -> AsyncIterator[tuple[RedisKeyNotices, list[float]]]:
    """One that listens, and when it was told to look."""
    notices = RedisKeyNotices(url)
    looks: list[float] = []
    task = asyncio.create_task(notices.listen(lambda: looks.append(time.monotonic())))
    await until(lambda: notices.listening)
    yield notices, looks
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not notices.listening


async def until(holds: Callable[[], bool], within_s: float = 15.0) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_a_change_is_heard_by_everybody(server: RedisServer) -> None:
    async with listener(server.parsed()) as (one, _), listener(server.parsed()) as (other, _):
        told = time.monotonic()
        await asyncio.to_thread(tell_changed, server.parsed())
        await until(lambda: one.heard == other.heard == 1)

        assert time.monotonic() - told < 1


async def test_whoever_begins_to_listen_looks_once(server: RedisServer) -> None:
    """What was told before, nobody heard."""
    async with listener(server.parsed()) as (notices, looks):
        assert (len(looks), notices.heard) == (1, 0)


async def test_m10_what_was_told_meanwhile_is_looked_for(server: RedisServer) -> None:
    async with FaultProxy(server.port) as proxy:
        url = RedisUrl("single", (("127.0.0.1", proxy.port),))
        async with listener(url) as (notices, looks):
            await proxy.refuse()
            await until(lambda: not notices.listening)
            await asyncio.to_thread(tell_changed, server.parsed())
            await proxy.accept()
            await until(lambda: notices.listening)

            assert (len(looks), notices.heard) == (2, 0)


async def test_m10_a_connection_that_went_silent_is_noticed(server: RedisServer) -> None:
    async with (
        FaultProxy(server.port) as proxy,
        listener(RedisUrl("single", (("127.0.0.1", proxy.port),))) as (notices, _),
    ):
        proxy.silent = True
        await until(lambda: not notices.listening, 5)
        proxy.silent = False
        await until(lambda: notices.listening)


def test_nobody_is_kept_when_redis_cannot_be_told() -> None:
    began = time.monotonic()

    tell_changed(RedisUrl("single", (("127.0.0.1", 1),)))

    assert time.monotonic() - began < 2


class Registry:
    """done: what `replace` and `revoke` say."""

    def __init__(self) -> None:
        self.done = True

    def add(self, key: IssuedKey) -> None:
        if not self.done:
            raise ValueError("exists")

    def get(self, key_id: str) -> IssuedKey | None:
        return None

    def list(self, tenant: str | None = None) -> list[IssuedKey]:
        return []

    def replace(self, key_id: str, successor: IssuedKey, expires_at: int) -> bool:
        return self.done

    def revoke(self, key_id: str, at: int) -> bool:
        return self.done


KEY = IssuedKey("k", "sha256:00", "acme", None, None, {}, 0)


def test_every_change_is_told_of_and_nothing_else() -> None:
    told: list[str] = []
    registry = Registry()
    keys = ToldRegistry(registry, lambda: told.append("changed"))

    keys.add(KEY)
    assert keys.replace("k", KEY, 1)
    assert keys.revoke("k", 1)
    assert told == ["changed"] * 3

    registry.done = False
    with pytest.raises(ValueError, match="exists"):
        keys.add(KEY)
    assert not keys.replace("k", KEY, 1)
    assert not keys.revoke("k", 1)
    assert keys.get("k") is None
    assert keys.list() == []
    assert told == ["changed"] * 3
