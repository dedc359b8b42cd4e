"""Budget alerts, told once each: a line among the events, and a POST to a webhook.

Telling and delivering are two tasks, so that a webhook that hangs delays no line. An alert is
noted as told before it is delivered: killed between the two, the process leaves the line and no
POST. What waits at a stop is delivered within the time it is given.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable

from llmgw.config.quantities import render_usd
from llmgw.core.alert import Alert
from llmgw.ports.alerts import AlertStore
from llmgw.telemetry.events import Events
from llmgw.telemetry.logs import timestamp
from llmgw.telemetry.webhook import TIMEOUT_S, Webhook, chat_text

MAX_WAITING = 1_000
_REMEMBERED = 4_096
_PPM_PER_PERCENT = 10_000
_SUBJECTS = ("tenant", "user", "key")


class Alerts:
    """Implements `ports.alerts.Alerter`.

    store: stays the caller's to close, after this one.
    webhook: an http or https URL, None to only write lines.
    delivered, failed: alerts that the webhook took, and that could not be told or delivered at any try.
    dropped: alerts not told, or not delivered, because too many waited or the process stopped.
    """

    def __init__(
        self,
        store: AlertStore,
        events: Events,
        webhook: str | None,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        timeout_s: float = TIMEOUT_S,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.delivered = 0
        self.failed = 0
        self.dropped = 0
        self._store = store
        self._events = events
        self._webhook = Webhook(webhook, sleep=sleep, timeout_s=timeout_s)
        self._now = now
        self._untold: asyncio.Queue[Alert] = asyncio.Queue(max_waiting)
        self._undelivered: asyncio.Queue[Alert] = asyncio.Queue(max_waiting)
        self._open: dict[tuple[str, int], Alert] = {}
        self._seen: dict[tuple[str, int], None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    @property
    def webhook(self) -> str | None:
        """Where to. May be set: the next try goes there."""
        return self._webhook.url

    @webhook.setter
    def webhook(self, url: str | None) -> None:
        self._webhook.url = url

    def crossed(self, alert: Alert) -> None:
        """Queue it. What this process has queued lately is not queued again."""
        pair = _pair(alert)
        if pair in self._seen:
            return
        if self._closing:
            self._drop(alert, "stopping")
        elif self._untold.full():
            self._drop(alert, "too many waiting")
        else:
            if len(self._seen) >= _REMEMBERED:
                del self._seen[next(iter(self._seen))]
            self._seen[pair] = None
            self._open[pair] = alert
            self._untold.put_nowait(alert)

    def start(self) -> None:
        """Begin to tell, on the running loop."""
        self._tasks = [
            asyncio.create_task(self._forever(self._untold, self._tell)),
            asyncio.create_task(self._forever(self._undelivered, self._deliver)),
        ]

    async def close(self, drain_s: float) -> None:
        """Take no more, tell what waits within `drain_s`, and stop."""
        self._closing = True
        try:
            async with asyncio.timeout(drain_s):
                await self._untold.join()
                await self._undelivered.join()
        except TimeoutError:
            # The process must end; what is left is named in the log below.
            pass
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for alert in self._open.values():
            self._drop(alert, "stopping")
        self._open.clear()
        await self._webhook.close()

    async def _forever(self, queue: asyncio.Queue[Alert], work: Callable[[Alert], Awaitable[None]]) -> None:
        while True:
            alert = await queue.get()
            try:
                await work(alert)
            except Exception as error:
                # One alert that cannot be told must not silence those after it.
                self.failed += 1
                self._open.pop(_pair(alert), None)
                self._events.log_event("error", "alert_failed", id=alert_id(alert), error=repr(error))
            queue.task_done()

    async def _tell(self, alert: Alert) -> None:
        if await self._is_first(alert):
            self._events.log_event("warning", "budget_alert", **_fields(alert))
            if self.webhook is not None:
                if not self._undelivered.full():
                    self._undelivered.put_nowait(alert)
                    return
                self._drop(alert, "too many waiting")
        self._open.pop(_pair(alert), None)

    async def _is_first(self, alert: Alert) -> bool:
        try:
            return await self._store.first_telling(alert.balance, alert.threshold_ppm, int(self._now()))
        except Exception as error:
            # Better told twice than never, so an alert that cannot be noted is told all the same.
            detail = getattr(error, "detail", None) or str(error)
            self._events.log_event("error", "alert_store_unreachable", error=detail, id=alert_id(alert))
            return True

    async def _deliver(self, alert: Alert) -> None:
        if self.webhook is None:
            self._drop(alert, "the webhook was removed")
            self._open.pop(_pair(alert), None)
            return
        if await self._webhook.tell(render_alert(alert), self._events, _fields(alert)):
            self.delivered += 1
        else:
            self.failed += 1
        self._open.pop(_pair(alert), None)

    def _drop(self, alert: Alert, reason: str) -> None:
        self.dropped += 1
        self._events.log_event("warning", "alert_dropped", reason=reason, **_fields(alert))


def alert_id(alert: Alert) -> str:
    """The same for every telling of a balance and threshold, by which a receiver can know it again."""
    text = f"{alert.balance}\0{alert.threshold_ppm}"
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def render_alert(alert: Alert) -> bytes:
    """The JSON that the webhook gets. `text` is what chat services show."""
    fields: dict[str, object] = {
        "event": "budget_alert",
        "id": alert_id(alert),
        "text": _text(alert),
        **{name: alert.subject.get(name) for name in _SUBJECTS},
        "model": alert.model,
        "unit": alert.unit,
        "window": alert.window,
        "threshold_percent": _percent(alert.threshold_ppm),
        "used": alert.used,
        "limit": alert.limit,
        "resets_at": timestamp(alert.resets_at_s * 1000),
    }
    if alert.unit == "cost":
        fields["used_usd"] = render_usd(alert.used)
        fields["limit_usd"] = render_usd(alert.limit)
    return json.dumps(fields).encode("ascii")


def _text(alert: Alert) -> str:
    who = ", ".join(f"{name} {alert.subject[name]}" for name in _SUBJECTS if name in alert.subject)
    if alert.unit == "cost":
        amount = f"{render_usd(alert.used)} of {render_usd(alert.limit)} USD"
    else:
        amount = f"{alert.used} of {alert.limit} {alert.unit.replace('_', ' ')}"
    scope = alert.window if alert.model is None else f"{alert.window}, model {alert.model}"
    text = (
        f"Budget alert: {who} reached {_percent(alert.threshold_ppm)}% of its budget ({scope}): {amount}. "
        f"Resets at {timestamp(alert.resets_at_s * 1000)}."
    )
    return chat_text(text)  # names come from callers' tokens


def _fields(alert: Alert) -> dict[str, object]:
    """The alert, as fields of a log line."""
    return {
        "id": alert_id(alert),
        **{name: alert.subject[name] for name in _SUBJECTS if name in alert.subject},
        "unit": alert.unit,
        "window": alert.window,
        "model": alert.model,
        "used": alert.used,
        "limit": alert.limit,
        "percent": _percent(alert.threshold_ppm),
        "resets_at": timestamp(alert.resets_at_s * 1000),
    }


def _percent(ppm: int) -> int | float:
    return ppm // _PPM_PER_PERCENT if ppm % _PPM_PER_PERCENT == 0 else ppm / _PPM_PER_PERCENT


def _pair(alert: Alert) -> tuple[str, int]:
    return alert.balance, alert.threshold_ppm
