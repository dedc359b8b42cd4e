"""What a process counts with when several hosts share limits and quotas: Redis.

Imported only where the document names one.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from llmgw.config.document import Document
from llmgw.config.redis_url import RedisUrl
from llmgw.core.claim import Step
from llmgw.core.clock import Clock, steady_ns
from llmgw.ports.counters import CounterStore
from llmgw.runtime.balances import charge, ledger_balances, period_end_s
from llmgw.stores.alone_log import AloneLog
from llmgw.stores.ledger import Ledger
from llmgw.stores.redis_blocking import BlockingRedis
from llmgw.stores.redis_claims import OWNER, Codec
from llmgw.stores.redis_counters import RedisCounters
from llmgw.stores.redis_leases import leases
from llmgw.stores.redis_session import Session
from llmgw.stores.redis_view import Balances, RedisView, adopt, check, enter, release, seed, time_us
from llmgw.telemetry.events import Events
from llmgw.telemetry.metrics import PrometheusMeter

_START_S = 2.0
_LOOK_S = 5.0
_LEVELS = {"redis_lost": "warning", "redis_back": "info", "redis_seeded": "info"}


@dataclass(frozen=True, slots=True)
class Sharing:
    """One process's part in counters that all hosts share."""

    counters: RedisCounters
    session: Session

    def watch(self, meter: PrometheusMeter) -> None:
        counters, session = self.counters, self.session
        meter.gauge(
            "llmgw_redis_up", "Whether limits are counted in Redis.", lambda: counters.link is not None
        )
        meter.gauge("llmgw_redis_hosts", "Hosts that count in this Redis.", lambda: session.hosts)
        meter.gauge("llmgw_redis_late", "Decisions for which Redis took too long.", lambda: counters.late)
        meter.gauge("llmgw_limits_alone", "Decisions made without Redis.", lambda: counters.alone)


def make_ready(document: Document, ledger: Ledger) -> tuple[Clock, list[str]]:
    """See that Redis can count, and that nothing there is less than the ledger says. Blocking.

    Returns a clock that agrees with Redis, and what people should know. Raises Unavailable.
    """
    url = _url(document)
    with closing(BlockingRedis(url)) as redis:
        warnings = check(redis, url)
        clock = Clock(steady_ns, time_us(redis) * 1_000 - steady_ns())
        host = host_of(document)
        _life(document).write_text(secrets.token_hex(8))
        sums: Balances = {}
        if document.all_quota_rules():
            ledger.recover()
            adopt(redis, _shares(document), host)
            sums = _settled_sums(document, clock, ledger, redis)
        enter(redis, sums)
        release(redis, f"{host}:".encode(), _charges(ledger, redis))
    return clock, warnings


async def share(document: Document, local: CounterStore, clock: Clock, index: int, events: Events) -> Sharing:
    """Count in Redis from now on, as worker number `index` of this host; alone while there is none."""
    # A process that has died under this number may not be settled yet, so each has its own name.
    member = f"{host_of(document)}:{index}:{os.getpid()}"
    log = AloneLog(_shares(document), f"{index}-{os.getpid()}")
    url = _url(document)
    sessions: list[Session] = []
    counters = RedisCounters(
        asyncio.get_running_loop(),
        Codec(OWNER + member.encode(), clock.utc_offset_ns),
        local,
        clock,
        lambda why: sessions[0].left(why),
        url.budget_s,
        log,
        _life(document).read_text(),
        leases=document.storage.redis_mode == "lease",
    )

    def tell(event: str, fields: dict[str, object]) -> None:
        events.log_event(_LEVELS[event], event, **fields)

    session = Session(url, counters, member, lambda: _seed(document, clock, url), tell)
    sessions.append(session)
    await session.start(_START_S)
    return Sharing(counters, session)


def release_worker(document: Document, ledger: Ledger, index: int, pid: int) -> None:
    """Turn what a dead worker's requests held into what their records say. Blocking."""
    host = host_of(document)
    owner = f"{host}:{index}:{pid}".encode()
    with closing(BlockingRedis(_url(document))) as redis:
        adopt(redis, _shares(document), host, f"{index}-{pid}")
        release(redis, owner, _charges(ledger, redis), exactly=True)


def view(document: Document, local: CounterStore, clock: Clock) -> CounterStore:
    """The counters for commands, which only look. Asked in another thread than the running loop's."""
    loop = asyncio.get_running_loop()

    def on_loop(work: Callable[[], list[Step]]) -> list[Step]:
        async def done() -> list[Step]:
            return work()

        return asyncio.run_coroutine_threadsafe(done(), loop).result(_LOOK_S)

    return cast("CounterStore", RedisView(_url(document), local, clock.utc_offset_ns, on_loop))


def host_of(document: Document) -> str:
    """This host's name among those that share a Redis; made once for a data directory."""
    path: Path = document.storage.data_dir / "host"
    with suppress(FileNotFoundError):
        return path.read_text().strip()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"host-{secrets.token_hex(4)}.new")
    fresh.write_text(secrets.token_hex(8) + "\n")
    with suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()
    return path.read_text().strip()


def _shares(document: Document) -> Path:
    """Where processes write what they let on from the host's shares of quotas."""
    return document.storage.data_dir / "shares"


def _life(document: Document) -> Path:
    """Which life of the host's counters this is, made anew at each start."""
    return document.storage.data_dir / "life"


def seed_shared(document: Document, clock: Clock) -> None:
    """Have balances be at least what the ledger says. Blocking. Raises Unavailable."""
    _seed(document, clock, _url(document))


def _url(document: Document) -> RedisUrl:
    setting = document.storage.redis
    assert setting is not None
    return setting.url


def _seed(document: Document, clock: Clock, url: RedisUrl) -> None:
    if not document.all_quota_rules():
        return
    ledger = Ledger(document.storage.database, document.storage.data_dir / "journal")
    ledger.catch_up()
    with closing(BlockingRedis(url)) as redis:
        seed(redis, _settled_sums(document, clock, ledger, redis))


def _settled_sums(document: Document, clock: Clock, ledger: Ledger, redis: BlockingRedis) -> Balances:
    """The ledger's sums, but for requests that have a lease: the end of a lease charges what they used.

    Leases are read after the sums, so that what is in the sums and has none is charged already.
    """
    sums = ledger_balances(document, clock, ledger.sums)
    held = [*leases(redis)]
    rows = ledger.records(request_id for request_id, _ in held)
    unsettled: Counter[str] = Counter()
    for request_id, key in held:
        unsettled[key] += charge(key, rows.get(request_id))
    return {
        key: (max(0, spent - unsettled[key]), (until + clock.utc_offset_ns) // 1_000)
        for key, (spent, until) in sums.items()
    }


def _charges(ledger: Ledger, redis: BlockingRedis) -> Callable[[str, str], tuple[int, int]]:
    """Of a request and a key: what its record says was used, and when the period ends in microseconds."""
    rows = ledger.records(request_id for request_id, _ in leases(redis))

    def charged(request_id: str, key: str) -> tuple[int, int]:
        return charge(key, rows.get(request_id)), period_end_s(key) * 1_000_000

    return charged
