"""The counters of a process, balances out of the ledger, and who hears of thresholds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from llmgw.config.document import Document
from llmgw.core.claim import Verdict
from llmgw.core.clock import Clock, system_clock
from llmgw.core.errors import Unavailable
from llmgw.ports.alerts import Alerter, NullAlerter
from llmgw.ports.counters import CounterStore, Settlement, SharedCounters
from llmgw.runtime.balances import charge, ledger_balances
from llmgw.stores.alerts import SqlAlertStore
from llmgw.stores.alone_log import SHARE_KEYS
from llmgw.stores.cache_host import cache_path
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.host import Abandoned, Held, HostCounters
from llmgw.stores.host_file import counter_path
from llmgw.stores.host_peers import peers_path
from llmgw.stores.host_targets import targets_path
from llmgw.stores.ledger import Ledger, LedgerRow
from llmgw.telemetry.alerts import Alerts
from llmgw.telemetry.events import Events
from llmgw.telemetry.metrics import PrometheusMeter

if TYPE_CHECKING:
    from llmgw.server.sharing import Sharing

_ALERTS_DRAIN_S = 3.0
_ALERT_COUNTS = {
    "delivered": "Budget alerts that the webhook took.",
    "failed": "Budget alerts that the webhook did not take.",
    "dropped": "Budget alerts that there was no room for.",
}


class WorkerCounters(HostCounters):
    """The host's counters in a worker: settled one turn of the loop later than asked.

    By then the journal has written the request's record. A worker that is killed in between
    leaves its hold, and whoever finds it charges what the record says: once, whichever came first.
    """

    def settle(self, settlements: Sequence[Settlement], verdict: Verdict) -> None:
        asyncio.get_running_loop().call_soon(super().settle, settlements, verdict)


@dataclass(slots=True)
class Counting:
    """What a process counts with.

    counters: the host's. sharing: what all hosts count with, None without a Redis.
    index: which of the host's workers this is. path: the file they count in, None for the only one.
    alerts: None where no quota has a threshold.
    """

    clock: Clock
    counters: CounterStore
    index: int = 0
    path: Path | None = None
    sharing: Sharing | None = None
    alerts: Alerts | None = None
    _store: SqlAlertStore | None = None

    @property
    def alerter(self) -> Alerter:
        return self.alerts or NullAlerter()

    def watch(self, document: Document, events: Events, meter: PrometheusMeter) -> None:
        """Tell of thresholds from now on, and of the counters at each scrape.

        Called before each generation is compiled.
        """
        meter.gauge("llmgw_limit_counters", "Counters of limits and quotas.", self.counters.counted)
        if self.alerts is not None or not any(rule.alert_at for rule in document.all_quota_rules()):
            return
        self._store = SqlAlertStore(document.storage.database)
        self.alerts = Alerts(self._store, events, webhook_of(document))
        for name, text in _ALERT_COUNTS.items():
            meter.gauge(f"llmgw_alerts_{name}", text, partial(getattr, self.alerts, name))
        self.alerts.start()

    def tell(self, document: Document) -> None:
        """Deliver to this generation's webhook from now on."""
        if self.alerts is not None:
            self.alerts.webhook = webhook_of(document)

    async def share(
        self, document: Document, events: Events, meter: PrometheusMeter
    ) -> SharedCounters | None:
        """Count with all hosts from now on, where the document names a Redis."""
        if document.storage.redis is None:
            return None
        from llmgw.server.sharing import share

        self.sharing = await share(document, self.counters, self.clock, self.index, events)
        self.sharing.watch(meter)
        return self.sharing.counters

    def sweep(self) -> None:
        """Called each second."""
        (self.counters if self.sharing is None else self.sharing.counters).sweep()

    async def close(self) -> None:
        if self.sharing is not None:
            await self.sharing.session.close()
        if self.alerts is not None and self._store is not None:
            await self.alerts.close(_ALERTS_DRAIN_S)
            await self._store.close()


def webhook_of(document: Document) -> str | None:
    """Where alerts go."""
    webhook = document.alerts.webhook
    return webhook.get_secret_value() if webhook is not None else None


def ledger_of(document: Document) -> Ledger:
    """The records that balances are made of."""
    return Ledger(document.storage.database, document.storage.data_dir / "journal")


async def open_alone(document: Document, events: Events) -> Counting:
    """Counters of the only process, with balances as the ledger has them."""
    clock = await _shared_clock(document, events) or system_clock()
    counting = Counting(clock, MemoryCounters(clock.steady_ns))
    await restore(document, counting)
    return counting


async def open_shared(document: Document, places: int, events: Events) -> HostCounters:
    """The host's counters, before any worker is there, with balances as the ledger has them."""
    data_dir = document.storage.data_dir
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock = await _shared_clock(document, events) or system_clock()
    counters = HostCounters.create(counter_path(data_dir, places), places, clock)
    await restore(document, Counting(counters.clock, counters))
    return counters


def attach_shared(document: Document, worker: int, of: int) -> Counting:
    """The host's counters in one of its workers. Raises Unavailable."""
    path = counter_path(document.storage.data_dir, of)
    counters = WorkerCounters.attach(path, worker)
    return Counting(counters.clock, counters, worker, path)


def forget_shared(document: Document, places: int) -> None:
    """Remove the host's counters after an end in good order. A gateway that was killed leaves them
    to the next, which goes on with its rate limits.
    """
    path = counter_path(document.storage.data_dir, places)
    targets_path(path).unlink(missing_ok=True)
    peers_path(path).unlink(missing_ok=True)
    cache_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


async def restore(document: Document, counting: Counting) -> None:
    """Make balances what the ledger says, every journal that was left included. Raises Unavailable."""
    if not document.all_quota_rules() or document.storage.redis is not None:
        return
    ledger = ledger_of(document)

    def read() -> dict[str, tuple[int, int]]:
        ledger.recover()
        return ledger_balances(document, counting.clock, ledger.sums)

    counting.counters.restore(await asyncio.get_running_loop().run_in_executor(None, read))


async def seed(document: Document, clock: Clock, counters: CounterStore) -> None:
    """Have balances that a reload adds begin with what the ledger says. Raises Unavailable.

    Requests that are under way meanwhile are in none of the added balances.
    """
    if not document.all_quota_rules():
        return
    loop = asyncio.get_running_loop()
    if document.storage.redis is not None:
        from llmgw.server.sharing import seed_shared

        await loop.run_in_executor(None, seed_shared, document, clock)
        return
    ledger = ledger_of(document)

    def read() -> dict[str, tuple[int, int]]:
        ledger.catch_up()
        return ledger_balances(document, clock, ledger.sums)

    counters.seed(await loop.run_in_executor(None, read))


def release_dead(
    document: Document, counters: HostCounters, worker: int, pid: int, held: Sequence[Abandoned]
) -> None:
    """Turn what a dead worker's requests held into what their records say. Blocking."""
    ledger = ledger_of(document)
    keys: dict[str, list[Held]] = {}
    for one in held:
        keys.setdefault(one.request_id, []).extend(one.claims)
    rows = ledger.records(keys)
    for request_id, claims in keys.items():
        row = rows.get(request_id)
        charges = {claim.key: _used(claim, row) for claim in claims}
        counters.release(worker, request_id, charges, charges)
    if document.storage.redis is not None:
        from llmgw.server.sharing import release_worker, seed_shared

        release_worker(document, ledger, worker, pid)
        # A lease that Redis lost in a failover was charged nothing.
        seed_shared(document, counters.clock)


def _used(held: Held, row: LedgerRow | None) -> int:
    """What a counter of the host has less. Redis has a lease for all that was taken from a share."""
    return held.cost if held.key.startswith(SHARE_KEYS) else charge(held.key, row)


def seen_by_commands(document: Document, counters: CounterStore, clock: Clock) -> CounterStore:
    """What commands are shown of the counters."""
    if document.storage.redis is None:
        return counters
    from llmgw.server.sharing import view

    return view(document, counters, clock)


async def _shared_clock(document: Document, events: Events) -> Clock | None:
    """The clock of all hosts, once their Redis is ready to count. Raises Unavailable."""
    if document.storage.redis is None:
        return None
    try:
        from llmgw.server.sharing import make_ready
    except ImportError as error:
        raise Unavailable("storage.redis needs the package hiredis: pip install 'llmgw[redis]'") from error
    loop = asyncio.get_running_loop()
    clock, warnings = await loop.run_in_executor(None, make_ready, document, ledger_of(document))
    for warning in warnings:
        events.log_event("warning", "redis_may_forget", message=warning)
    return clock
