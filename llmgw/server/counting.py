"""The counters of a process, balances out of the ledger, and who hears of thresholds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from llmgw.config.document import Document
from llmgw.core.claim import Verdict
from llmgw.core.clock import Clock, system_clock
from llmgw.ports.alerts import Alerter, NullAlerter
from llmgw.ports.counters import CounterStore, Settlement
from llmgw.runtime.balances import charge, ledger_balances
from llmgw.stores.alerts import SqlAlertStore
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.host import HostCounters
from llmgw.stores.host_file import counter_path
from llmgw.stores.ledger import Ledger
from llmgw.telemetry.alerts import Alerts
from llmgw.telemetry.events import Events
from llmgw.telemetry.metrics import PrometheusMeter

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
    """What a process counts with. alerts: None where no quota has a threshold."""

    clock: Clock
    counters: CounterStore
    alerts: Alerts | None = None
    _store: SqlAlertStore | None = None

    @property
    def alerter(self) -> Alerter:
        return self.alerts or NullAlerter()

    def watch(self, document: Document, events: Events, meter: PrometheusMeter) -> None:
        """Tell of thresholds from now on, and of the counters at each scrape.

        Called with each generation. The webhook is the one of the first that had a threshold.
        """
        meter.gauge("llmgw_limit_counters", "Counters of limits and quotas.", self.counters.counted)
        if self.alerts is not None or not any(rule.alert_at for rule in document.all_quota_rules()):
            return
        webhook = document.alerts.webhook
        self._store = SqlAlertStore(document.storage.url)
        self.alerts = Alerts(self._store, events, webhook.get_secret_value() if webhook is not None else None)
        for name, text in _ALERT_COUNTS.items():
            meter.gauge(f"llmgw_alerts_{name}", text, partial(getattr, self.alerts, name))
        self.alerts.start()

    async def close(self) -> None:
        if self.alerts is not None and self._store is not None:
            await self.alerts.close(_ALERTS_DRAIN_S)
            await self._store.close()


def ledger_of(document: Document) -> Ledger:
    """The records that balances are made of."""
    return Ledger(document.storage.url, document.storage.data_dir / "journal")


async def open_alone(document: Document) -> Counting:
    """Counters of the only process, with balances as the ledger has them."""
    clock = system_clock()
    counting = Counting(clock, MemoryCounters(clock.steady_ns))
    await restore(document, counting)
    return counting


async def open_shared(document: Document, workers: int) -> HostCounters:
    """The host's counters, before any worker is there, with balances as the ledger has them."""
    data_dir = document.storage.data_dir
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    counters = HostCounters.create(counter_path(data_dir, workers), workers, system_clock())
    await restore(document, Counting(counters.clock, counters))
    return counters


def attach_shared(document: Document, worker: int, of: int) -> Counting:
    """The host's counters in one of its workers. Raises Unavailable."""
    counters = WorkerCounters.attach(counter_path(document.storage.data_dir, of), worker)
    return Counting(counters.clock, counters)


def forget_shared(document: Document) -> None:
    """Remove the host's counters after an end in good order. A gateway that was killed leaves them
    to the next, which goes on with its rate limits.
    """
    counter_path(document.storage.data_dir, document.server.workers).unlink(missing_ok=True)


async def restore(document: Document, counting: Counting) -> None:
    """Make balances what the ledger says, every journal that was left included. Raises Unavailable."""
    if not document.all_quota_rules():
        return
    ledger = ledger_of(document)

    def read() -> dict[str, tuple[int, int]]:
        ledger.recover()
        return ledger_balances(document, counting.clock, ledger.sums)

    counting.counters.restore(await asyncio.get_running_loop().run_in_executor(None, read))


def release_dead(document: Document, counters: HostCounters, worker: int) -> None:
    """Turn what a dead worker's requests held into what their records say. Blocking."""
    ledger = ledger_of(document)
    keys: dict[str, list[str]] = {}
    for one in counters.abandoned(worker):
        keys.setdefault(one.request_id, []).extend(held.key for held in one.claims)
    for request_id, held in keys.items():
        row = ledger.record(request_id)
        counters.release(worker, request_id, {key: charge(key, row) for key in held})
