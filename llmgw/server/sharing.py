"""What a process counts with when several hosts share limits and quotas: Redis.

Imported only where the document names one.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from llmgw.config.document import Document
from llmgw.config.redis_url import RedisUrl
from llmgw.core.clock import Clock, steady_ns
from llmgw.ports.counters import CounterStore
from llmgw.runtime.balances import charge, ledger_balances, period_end_s
from llmgw.stores.ledger import Ledger
from llmgw.stores.redis_blocking import BlockingRedis
from llmgw.stores.redis_claims import OWNER, Codec
from llmgw.stores.redis_counters import RedisCounters
from llmgw.stores.redis_session import Session
from llmgw.stores.redis_view import Balances, RedisView, check, enter, release, seed, time_us
from llmgw.telemetry.events import Events
from llmgw.telemetry.metrics import PrometheusMeter

_START_S = 2.0
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
        sums: Balances = {}
        if document.all_quota_rules():
            ledger.recover()
            sums = _sums(document, clock, ledger)
        enter(redis, sums)
        release(redis, f"{host_of(document)}:".encode(), lambda *held: _charged(ledger, *held))
    return clock, warnings


async def share(document: Document, local: CounterStore, clock: Clock, index: int, events: Events) -> Sharing:
    """Count in Redis from now on, as worker number `index` of this host; alone while there is none."""
    # A process that has died under this number may not be settled yet, so each has its own name.
    member = f"{host_of(document)}:{index}:{os.getpid()}"
    url = _url(document)
    sessions: list[Session] = []
    counters = RedisCounters(
        asyncio.get_running_loop(),
        Codec(OWNER + member.encode(), clock.utc_offset_ns),
        local,
        clock,
        lambda why: sessions[0].left(why),
        url.budget_s,
    )

    def tell(event: str, fields: dict[str, object]) -> None:
        events.log_event(_LEVELS[event], event, **fields)

    session = Session(url, counters, member, lambda: _seed(document, clock, url), tell)
    sessions.append(session)
    await session.start(_START_S)
    return Sharing(counters, session)


def release_worker(document: Document, ledger: Ledger, index: int, pid: int) -> None:
    """Turn what a dead worker's requests held into what their records say. Blocking."""
    owner = f"{host_of(document)}:{index}:{pid}".encode()
    with closing(BlockingRedis(_url(document))) as redis:
        release(redis, owner, lambda *held: _charged(ledger, *held), exactly=True)


def view(document: Document, local: CounterStore, clock: Clock) -> CounterStore:
    """The counters for commands, which only look."""
    return cast("CounterStore", RedisView(_url(document), local, clock.utc_offset_ns))


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
    sums = _sums(document, clock, ledger)
    with closing(BlockingRedis(url)) as redis:
        seed(redis, sums)


def _sums(document: Document, clock: Clock, ledger: Ledger) -> Balances:
    return {
        key: (spent, (until + clock.utc_offset_ns) // 1_000)
        for key, (spent, until) in ledger_balances(document, clock, ledger.sums).items()
    }


def _charged(ledger: Ledger, request_id: str, key: str) -> tuple[int, int]:
    return charge(key, ledger.record(request_id)), period_end_s(key) * 1_000_000
