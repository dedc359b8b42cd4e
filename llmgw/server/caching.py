"""Where a process keeps answers: in its memory, in the host's, or in Redis."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from llmgw.config.document import Document
from llmgw.ports.cache import CacheStore
from llmgw.runtime.caching import CacheRoom, room_of_one, steady_s
from llmgw.server.counting import Counting
from llmgw.stores.cache_host import HostCache, cache_path
from llmgw.stores.cache_memory import MemoryCache
from llmgw.telemetry.events import Events
from llmgw.telemetry.metrics import PrometheusMeter

_LEVELS = {"cache_lost": "warning", "cache_back": "info"}
_SPARE = 2
"""Times its size that must be free, so that there is room for what limits need as well."""
_COUNTS = {
    "hits": "Requests that got an answer that was kept.",
    "misses": "Requests whose answer was not there.",
    "bypassed": "Requests that were not looked up, as they asked or as they are.",
    "stored": "Answers that were kept.",
}


def cache_room(document: Document, counting: Counting, events: Events) -> CacheRoom:
    """Where `document`'s static half has answers kept."""
    redis = document.storage.redis
    if redis is not None:
        url = redis.url

        def tell(event: str, fields: dict[str, object]) -> None:
            events.log_event(_LEVELS[event], event, **fields)

        def shared(memory: int) -> CacheStore:
            from llmgw.stores.cache_redis import RedisCache

            return RedisCache(url, memory, tell)

        return CacheRoom(shared, _nothing)
    counters = counting.path
    # Where counters had to go to a disk, answers do not.
    if counters is None or counters.parent == document.storage.data_dir:
        return room_of_one()
    path = cache_path(counters)
    return CacheRoom(_of_host(path, document.server.workers, events), lambda: path.unlink(missing_ok=True))


def watch_cache(room: CacheRoom, meter: PrometheusMeter, index: int) -> None:
    """Count from now on. index: of this worker; the first tells what all of them share."""
    shelf = room.shelf
    for name, text in _COUNTS.items():
        meter.gauge(f"llmgw_cache_{name}", text, _reader(shelf, name))
    meter.gauge("llmgw_cache_waited", "Hits on an answer that was under way.", lambda: shelf.flights.waited)
    meter.gauge("llmgw_cache_discarded", "Kept answers that were damaged.", lambda: shelf.store.discarded)
    meter.gauge("llmgw_cache_failed", "What the store of answers did not do.", lambda: shelf.store.failed)
    meter.gauge("llmgw_cache_bytes", "Answers that are kept.", lambda: 0 if index else shelf.store.size_bytes)


def _of_host(path: Path, workers: int, events: Events) -> Callable[[int], CacheStore]:
    def make(memory: int) -> CacheStore:
        try:
            room = os.statvfs(path.parent)
            if not path.exists() and room.f_bavail * room.f_frsize < _SPARE * memory:
                raise OSError(f"{path.parent} has no room for {_SPARE} times cache.memory")
            return HostCache(path, memory, steady_s)
        except OSError as error:
            events.log_event("warning", "cache_not_shared", error=str(error))
            return MemoryCache(memory // workers, steady_s)

    return make


def _reader(shelf: object, name: str) -> Callable[[], float]:
    return lambda: float(getattr(shelf, name))


def _nothing() -> None:
    """Entries end by themselves."""
