from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmgw.stores.cache_host import HostCache, cache_path
from tests.contracts.cache import CacheStoreContract, Pass, key, value_of
from tests.fakes.clock import FakeClock

MIB = 1024 * 1024


class TestHostCache(CacheStoreContract):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def store(self, clock: FakeClock, tmp_path: Path) -> HostCache:
        return HostCache(tmp_path / "c", MIB, lambda: clock.steady / 1e9)

    @pytest.fixture
    def let_pass(self, clock: FakeClock) -> Pass:
        async def let_pass(seconds: float) -> None:
            clock.sleep(seconds)

        return let_pass


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[HostCache, HostCache]]:
    """Two workers' view of one file."""
    one, other = (HostCache(tmp_path / "c", MIB, lambda: 0.0) for _ in range(2))
    yield one, other
    one.close()
    other.close()


async def test_workers_share_answers(pair: tuple[HostCache, HostCache]) -> None:
    one, other = pair

    one.put(key("a"), b"said once", 60.0)

    assert await value_of(other, key("a")) == b"said once"
    assert one.secret == other.secret


async def test_it_is_its_owners_alone(pair: tuple[HostCache, HostCache], tmp_path: Path) -> None:
    assert os.stat(tmp_path / "c").st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


async def test_i10_a_damaged_entry_is_discarded(pair: tuple[HostCache, HostCache], tmp_path: Path) -> None:
    one, other = pair
    one.put(key("a"), b"x" * 1000, 60.0)
    path = tmp_path / "c"
    data = bytearray(path.read_bytes())
    data[data.index(b"x" * 1000) + 500] ^= 1
    with path.open("r+b") as file:
        file.write(data)

    assert await value_of(other, key("a")) is None
    assert other.discarded == 1


async def test_i10_a_table_of_noise_is_a_miss(tmp_path: Path) -> None:
    """Whatever stands where entries are looked up, nothing is found and nothing raises."""
    store = HostCache(tmp_path / "c", MIB, lambda: 0.0)
    with (tmp_path / "c").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(32 * 1024))
    for number in range(2000):
        store.put(key(f"{number}"), bytes(100), 60.0)
        assert await value_of(store, key(f"{number}")) in (None, bytes(100))
    store.close()


@pytest.mark.parametrize("content", [b"", b"no cache", bytes(MIB)])
async def test_another_file_in_its_place_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c"
    path.write_bytes(content)

    store = HostCache(path, MIB, lambda: 0.0)

    store.put(key("a"), b"x", 60.0)
    assert await value_of(store, key("a")) == b"x"
    store.close()


async def test_another_size_begins_anew(pair: tuple[HostCache, HostCache], tmp_path: Path) -> None:
    """Who still has the old one goes on with it alone."""
    one, _ = pair
    one.put(key("a"), b"x", 60.0)

    larger = HostCache(tmp_path / "c", 2 * MIB, lambda: 0.0)

    assert await value_of(larger, key("a")) is None
    assert await value_of(one, key("a")) == b"x"
    larger.close()


def _write(path: Path, name: str, count: int) -> None:
    async def write() -> None:
        store = HostCache(path, MIB, lambda: 0.0)
        for number in range(count):
            store.put(key(f"{name}{number % 40}"), name.encode() * 3_000, 60.0)
            for other in "xyz":
                found = await value_of(store, key(f"{other}{number % 40}"))
                assert found in (None, other.encode() * 3_000), "half an entry"
        store.close()

    asyncio.run(write())


def test_processes_that_write_at_once_never_show_half_an_entry(tmp_path: Path) -> None:
    """Three make the file together, then turn it over many times while reading each other's."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path / "c", name, 4_000)) for name in "xyz"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)

    assert [writer.exitcode for writer in writers] == [0, 0, 0]


async def test_i11_what_was_erased_is_not_in_the_file(tmp_path: Path) -> None:
    store = HostCache(tmp_path / "c", MIB, lambda: 0.0)
    store.put(key("a", "gone"), b"canary" * 100, 60.0)
    assert b"canary" in (tmp_path / "c").read_bytes()

    store.forget(frozenset({"gone"}))

    async with asyncio.timeout(5):
        while b"canary" in (tmp_path / "c").read_bytes():
            await asyncio.sleep(0.01)
    store.close()


def test_where_it_is() -> None:
    assert cache_path(Path("/dev/shm/llmgw-x")) == Path("/dev/shm/llmgw-x.cache")
