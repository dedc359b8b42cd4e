"""Where answers are kept, by what the configuration and the host have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmgw.config.load import document_from_text
from llmgw.core.clock import system_clock
from llmgw.runtime.caching import CacheRoom
from llmgw.server.caching import cache_room, watch_cache
from llmgw.server.counting import Counting
from llmgw.stores.cache_host import HostCache
from llmgw.stores.cache_memory import MemoryCache
from llmgw.stores.counters import MemoryCounters
from llmgw.telemetry.metrics import PrometheusMeter

TEXT = "version: 1\nproviders: {e: {kind: echo}}\ncache: {mode: exact, memory: 1MiB}\nserver: {workers: 2}\n"


class Told:
    """Implements what is used of `telemetry.events.Events`."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def log_event(self, level: str, event: str, **fields: object) -> None:
        self.events.append(event)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def rooms() -> Iterator[list[CacheRoom]]:
    rooms: list[CacheRoom] = []
    yield rooms
    for room in rooms:
        room.close()


def counting(path: Path | None, index: int = 0) -> Counting:
    clock = system_clock()
    return Counting(clock, MemoryCounters(clock.steady_ns), index, path)


def room_at(path: Path | None, told: Any, text: str = TEXT) -> CacheRoom:
    document = document_from_text(text)
    room = cache_room(document, counting(path), told)
    room.follow(document)
    return room


def test_the_only_process_keeps_them_in_its_memory(told: Told, rooms: list[CacheRoom]) -> None:
    rooms.append(room_at(None, told))

    assert isinstance(rooms[0].shelf.store, MemoryCache)


def test_workers_keep_them_beside_their_counters(told: Told, rooms: list[CacheRoom], tmp_path: Path) -> None:
    rooms += [room_at(tmp_path / "counters", told) for _ in range(2)]

    assert isinstance(rooms[0].shelf.store, HostCache)
    assert rooms[0].shelf.store.secret == rooms[1].shelf.store.secret
    assert [path.name for path in tmp_path.iterdir()] == ["counters.cache"]


def test_switched_off_the_file_is_gone(told: Told, rooms: list[CacheRoom], tmp_path: Path) -> None:
    rooms.append(room_at(tmp_path / "counters", told))

    rooms[0].follow(document_from_text(TEXT.replace("exact", "off")))

    assert list(tmp_path.iterdir()) == []


def test_without_room_each_worker_keeps_its_share(told: Told, rooms: list[CacheRoom], tmp_path: Path) -> None:
    """And people are told; nobody fails to start over it."""
    rooms.append(room_at(tmp_path / "nowhere" / "counters", told))

    assert isinstance(rooms[0].shelf.store, MemoryCache)
    assert told.events == ["cache_not_shared"]


def test_answers_do_not_go_to_a_disk_because_counters_had_to(
    told: Told, rooms: list[CacheRoom], tmp_path: Path
) -> None:
    text = f"{TEXT}storage: {{data_dir: {tmp_path}}}\n"
    rooms.append(room_at(tmp_path / "counters", told, text))

    assert isinstance(rooms[0].shelf.store, MemoryCache)
    assert list(tmp_path.iterdir()) == []


def test_only_the_first_worker_tells_what_all_share(
    told: Told, rooms: list[CacheRoom], tmp_path: Path
) -> None:
    rooms.append(room_at(tmp_path / "counters", told))
    from llmgw.ports.cache import CacheKey

    rooms[0].shelf.store.put(CacheKey("acme", b"k" * 32), bytes(1000), 60.0)

    found = []
    for index in range(2):
        meter = PrometheusMeter()
        watch_cache(rooms[0], meter, index)
        found.append(meter.gauges["llmgw_cache_bytes"].read())

    assert found[0] > 1000
    assert found[1] == 0
