from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from llmgw.core.alert import Alert
from llmgw.core.errors import Unavailable
from llmgw.ports.alerts import AlertStore, NullAlerter
from llmgw.stores.alerts import MemoryAlertStore, SqlAlertStore
from llmgw.stores.schema_version import create_schema
from llmgw.telemetry.alerts import Alerts, alert_id, render_alert
from llmgw.telemetry.events import EventHandler
from llmgw.telemetry.webhook import PAUSES_S, _open_client
from tests.fakes.upstream import ScriptedUpstream, delay, hang, headers, json_reply, raw, reset

NOW = 1_800_000_000
USUAL: dict[str, Any] = {
    "balance": "quota:acme:cost:month:2027-01",
    "threshold_ppm": 800_000,
    "subject": {"tenant": "acme", "user": "alice"},
    "unit": "cost",
    "window": "month",
    "model": "gpt-*",
    "used": 16_200_000_000,
    "limit": 20_000_000_000,
    "resets_at_s": 1_801_440_000,
}
FIELDS = {
    "id": "",
    "tenant": "acme",
    "user": "alice",
    "unit": "cost",
    "window": "month",
    "model": "gpt-*",
    "used": 16_200_000_000,
    "limit": 20_000_000_000,
    "percent": 80,
    "resets_at": "2027-02-01T00:00:00.000Z",
}


def alert(**changes: Any) -> Alert:
    return Alert(**{**USUAL, **changes})


FIELDS["id"] = alert_id(alert())


class Kept:
    """Events, remembered."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def log_event(self, level: str, event: str, **fields: object) -> None:
        self.events.append((level, event, fields))

    @property
    def names(self) -> list[str]:
        return [event for _, event, _ in self.events]


class Broken:
    """A store that does not answer, at first."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self._inner = MemoryAlertStore()

    async def first_telling(self, balance: str, threshold_ppm: int, at_s: int) -> bool:
        if self.error is not None:
            raise self.error
        return await self._inner.first_telling(balance, threshold_ppm, at_s)


Make = Callable[..., AbstractAsyncContextManager[Alerts]]


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def running(kept: Kept, pauses: list[float]) -> Make:
    """Makes alerts that run within the block, and are drained at its end. Pauses take no time."""

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    @asynccontextmanager
    async def make(
        webhook: str | None = None,
        *,
        store: AlertStore | None = None,
        drain_s: float = 10.0,
        sleep: Callable[[float], Awaitable[None]] = pause,
        **settings: Any,
    ) -> AsyncIterator[Alerts]:
        made = Alerts(
            store or MemoryAlertStore(), kept, webhook, now=lambda: float(NOW), sleep=sleep, **settings
        )
        made.start()
        try:
            yield made
        finally:
            await made.close(drain_s)

    return make


@pytest.fixture
async def hook() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as server:
        server.default(json_reply({"ok": True}))
        yield server


@pytest.fixture
def url(tmp_path: Path) -> str:
    create_schema(f"sqlite:///{tmp_path}/u.db")
    return f"sqlite:///{tmp_path}/u.db"


@pytest.fixture
def library_log(kept: Kept) -> Iterator[None]:
    """The libraries' own logging among the events, every level of it."""
    root, ours = logging.getLogger(), logging.getLogger("httpx2")
    before = root.level, ours.level
    handler = EventHandler(kept)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield
    root.removeHandler(handler)
    root.setLevel(before[0])
    ours.setLevel(before[1])


async def test_told_by_log_and_webhook(running: Make, hook: ScriptedUpstream, kept: Kept) -> None:
    async with running(hook.base_url + "/alerts") as alerts:
        alerts.crossed(alert())

    assert kept.events == [("warning", "budget_alert", FIELDS)]
    (request,) = hook.requests
    assert (request.method, request.target) == ("POST", "/alerts")
    assert request.headers["content-type"] == "application/json"
    assert request.json == {
        "event": "budget_alert",
        "id": FIELDS["id"],
        "text": "Budget alert: tenant acme, user alice reached 80% of its budget (month, model gpt-*): "
        "16.2 of 20 USD. Resets at 2027-02-01T00:00:00.000Z.",
        "tenant": "acme",
        "user": "alice",
        "key": None,
        "model": "gpt-*",
        "unit": "cost",
        "window": "month",
        "threshold_percent": 80,
        "used": 16_200_000_000,
        "limit": 20_000_000_000,
        "used_usd": "16.2",
        "limit_usd": "20",
        "resets_at": "2027-02-01T00:00:00.000Z",
    }
    assert (alerts.delivered, alerts.failed, alerts.dropped) == (1, 0, 0)


def test_tokens_have_no_money() -> None:
    told = json.loads(
        render_alert(alert(unit="input_tokens", model=None, used=5, limit=1000, threshold_ppm=5_000))
    )

    assert told["threshold_percent"] == 0.5
    assert "(month): 5 of 1000 input tokens." in told["text"]
    assert "used_usd" not in told
    assert "limit_usd" not in told


def test_money_is_exact() -> None:
    told = json.loads(render_alert(alert(used=9_007_199_254_740_993)))

    assert (told["used"], told["used_usd"]) == (9_007_199_254_740_993, "9007199.254740993")


def test_a_name_cannot_call_a_channel() -> None:
    """Names may come from callers' tokens; in chat they are only text, on one line."""
    name = "<!channel>\n<http://evil|x> & \ud800"
    told = json.loads(render_alert(alert(subject={"tenant": "acme", "user": name})))

    assert "user &lt;!channel&gt; &lt;http://evil|x&gt; &amp; \ud800 reached" in told["text"]
    assert told["user"] == name


def test_an_id_is_of_balance_and_threshold() -> None:
    ids = {
        alert_id(alert()),
        alert_id(alert(used=5)),
        alert_id(alert(threshold_ppm=1_000_000)),
        alert_id(alert(balance="other")),
    }

    assert len(ids) == 3
    assert alert_id(alert()) == "b2352ad4fa53b4bf3c4009fa72a567b2"


async def test_without_a_webhook_there_is_the_line(running: Make, kept: Kept) -> None:
    async with running() as alerts:
        alerts.crossed(alert())

    assert kept.names == ["budget_alert"]
    assert (alerts.delivered, alerts.failed, alerts.dropped) == (0, 0, 0)


async def test_each_threshold_once(running: Make, hook: ScriptedUpstream, kept: Kept) -> None:
    async with running(hook.base_url) as alerts:
        for _ in range(20):
            alerts.crossed(alert())
            alerts.crossed(alert(threshold_ppm=1_000_000))

    assert kept.names == ["budget_alert"] * 2
    assert [request.json["threshold_percent"] for request in hook.requests] == [80, 100]


async def test_a_restart_tells_nothing_twice(
    running: Make, hook: ScriptedUpstream, url: str, kept: Kept
) -> None:
    for _ in range(2):
        store = SqlAlertStore(url)
        async with running(hook.base_url, store=store) as alerts:
            alerts.crossed(alert())
        await store.close()

    assert kept.names == ["budget_alert"]
    assert len(hook.requests) == 1


async def test_two_processes_on_one_database_tell_once(
    running: Make, hook: ScriptedUpstream, url: str, kept: Kept
) -> None:
    stores = SqlAlertStore(url), SqlAlertStore(url)
    async with (
        running(hook.base_url, store=stores[0]) as one,
        running(hook.base_url, store=stores[1]) as two,
    ):
        for number in range(20):
            one.crossed(alert(balance=str(number)))
            two.crossed(alert(balance=str(number)))
    for store in stores:
        await store.close()

    ids = [request.json["id"] for request in hook.requests]
    assert len(ids) == len(set(ids)) == 20
    assert one.delivered + two.delivered == 20
    assert kept.names == ["budget_alert"] * 20


@pytest.mark.parametrize("status", [500, 429, 404, 303])
async def test_another_try_after_a_refusal(
    running: Make, hook: ScriptedUpstream, pauses: list[float], status: int
) -> None:
    """The same bytes again, after a pause."""
    hook.script(json_reply({}, status))
    async with running(hook.base_url) as alerts:
        alerts.crossed(alert())

    assert [request.body for request in hook.requests] == [render_alert(alert())] * 2
    assert pauses == [PAUSES_S[0]]
    assert (alerts.delivered, alerts.failed) == (1, 0)


async def test_three_tries_and_then_a_line(
    running: Make, hook: ScriptedUpstream, kept: Kept, pauses: list[float]
) -> None:
    """The pauses grow; the line names the host of the webhook and nothing else of it."""
    hook.default(json_reply({}, 503))
    async with running(f"http://me:pa55@127.0.0.1:{hook.port}/T0/canary?token=canary") as alerts:
        alerts.crossed(alert())

    assert len(hook.requests) == 3
    assert pauses == sorted(set(pauses)) == list(PAUSES_S)
    assert kept.events[1] == (
        "error",
        "alert_webhook_failed",
        {"webhook": hook.base_url, "error": "status 503", "tries": 3, **FIELDS},
    )
    assert (alerts.delivered, alerts.failed, alerts.dropped) == (0, 1, 0)


@pytest.mark.usefixtures("library_log")
@pytest.mark.parametrize("status", [200, 500])
async def test_no_log_line_has_the_webhooks_secret(
    running: Make, hook: ScriptedUpstream, kept: Kept, status: int
) -> None:
    """Nor does the client's own logging. The credentials do reach the webhook."""
    hook.default(json_reply({}, status))
    async with running(f"http://me:canary@127.0.0.1:{hook.port}/T0/canary?token=canary") as alerts:
        alerts.crossed(alert())

    assert "canary" not in str(kept.events)
    request = hook.requests[0]
    assert request.target == "/T0/canary?token=canary"
    assert request.headers["authorization"] == "Basic " + base64.b64encode(b"me:canary").decode()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(running: Make, hook: ScriptedUpstream, status: int) -> None:
    async with ScriptedUpstream() as elsewhere:
        hook.default(json_reply({}, status, {"location": elsewhere.base_url + "/stolen"}))
        async with running(hook.base_url + "/alerts") as alerts:
            alerts.crossed(alert())

        assert [request.target for request in hook.requests] == ["/alerts"] * 3
        assert elsewhere.requests == []
    assert alerts.failed == 1


async def test_nobody_listens(running: Make, kept: Kept) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with running(f"http://127.0.0.1:{port}/canary") as alerts:
        alerts.crossed(alert())

    fields = kept.events[-1][2]
    assert str(fields["error"]).startswith("ConnectError: Connect")
    assert fields["webhook"] == f"http://127.0.0.1:{port}"
    assert alerts.failed == 1


async def test_a_certificate_nobody_vouches_for(running: Make, kept: Kept) -> None:
    """The alert is not handed to a stranger."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with ScriptedUpstream(tls=context) as stranger:
        async with running(stranger.base_url) as alerts:
            alerts.crossed(alert())

        assert stranger.requests == []
    assert "CERTIFICATE_VERIFY_FAILED" in str(kept.events[-1][2]["error"])


async def test_the_environments_proxy_is_not_used(
    running: Make, hook: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with running(hook.base_url) as alerts:
        alerts.crossed(alert())

    assert alerts.delivered == 1


@pytest.mark.parametrize(
    "steps",
    [[hang()], [raw(b"HTTP/1.1 200 OK\r\n"), hang()], [delay(5), json_reply({})]],
    ids=["silence", "half a head", "late"],
)
async def test_a_webhook_that_hangs(
    running: Make, hook: ScriptedUpstream, kept: Kept, steps: list[Any]
) -> None:
    hook.default(*steps)
    async with running(hook.base_url, timeout_s=0.05) as alerts:
        alerts.crossed(alert())

    assert len(hook.requests) == 3
    assert kept.events[-1][2]["error"] == "no answer within 0.05 s"
    assert alerts.failed == 1


async def test_a_webhook_that_hangs_delays_no_line(running: Make, hook: ScriptedUpstream, kept: Kept) -> None:
    hook.default(hang())
    async with running(hook.base_url, drain_s=0.0) as alerts:
        alerts.crossed(alert())
        assert await hook.received()
        alerts.crossed(alert(balance="another"))
        async with asyncio.timeout(2):
            while len(kept.events) < 2:
                await asyncio.sleep(0)

        assert kept.names == ["budget_alert"] * 2


async def test_an_answer_is_not_read(running: Make, hook: ScriptedUpstream) -> None:
    """A success that never ends its body is a success; its connection is closed."""
    hook.script(headers(200), raw(b"5\r\nendle"), hang())
    async with running(hook.base_url) as alerts:
        alerts.crossed(alert())
        assert await hook.received()
        assert await hook.closed(connection=0)

    assert alerts.delivered == 1


async def test_a_connection_reset_is_tried_again(running: Make, hook: ScriptedUpstream) -> None:
    hook.script(reset())
    hook.script(raw(b"no HTTP at all\r\n\r\n"))
    async with running(hook.base_url) as alerts:
        alerts.crossed(alert())

    assert len(hook.requests) == 3
    assert alerts.delivered == 1


async def test_a_url_that_cannot_be_asked(running: Make, kept: Kept) -> None:
    async with running("ftp://host/canary") as alerts:
        alerts.crossed(alert())

    assert kept.events[-1][2]["error"] == "UnsupportedProtocol"


@pytest.mark.parametrize("error", [Unavailable("no answer", detail="locked"), ValueError("locked")])
async def test_an_unreachable_store_silences_nothing(
    running: Make, hook: ScriptedUpstream, kept: Kept, error: Exception
) -> None:
    """Better told twice than never; this process still tells it only once."""
    store = Broken(error)
    async with running(hook.base_url, store=store) as alerts:
        alerts.crossed(alert())
        assert await hook.received()
        store.error = None
        alerts.crossed(alert())

    assert kept.events[0] == (
        "error",
        "alert_store_unreachable",
        {"error": "locked", "id": FIELDS["id"]},
    )
    assert kept.names == ["alert_store_unreachable", "budget_alert"]
    assert (len(hook.requests), alerts.delivered) == (1, 1)


async def test_one_that_cannot_be_told_stops_no_other(
    running: Make, hook: ScriptedUpstream, kept: Kept
) -> None:
    async with running(hook.base_url) as alerts:
        alerts.crossed(alert(balance="odd", resets_at_s=10**15))
        alerts.crossed(alert())

    assert kept.names == ["alert_failed", "budget_alert"]
    assert (alerts.delivered, alerts.failed, alerts.dropped) == (1, 1, 0)


async def test_too_many_at_once_are_named_and_counted(running: Make, kept: Kept) -> None:
    """The queue is bounded, and what it has no room for can be told when it has."""
    async with running(max_waiting=3) as alerts:
        for number in range(5):
            alerts.crossed(alert(balance=str(number)))
        assert kept.names == ["alert_dropped"] * 2
        assert kept.events[0][2]["reason"] == "too many waiting"
        assert alerts.dropped == 2
        await asyncio.sleep(0.01)
        alerts.crossed(alert(balance="4"))

    assert kept.names == ["alert_dropped"] * 2 + ["budget_alert"] * 4


async def test_too_many_for_a_slow_webhook_have_their_line(
    running: Make, hook: ScriptedUpstream, kept: Kept
) -> None:
    hook.default(hang())
    async with running(hook.base_url, max_waiting=1, drain_s=0.0) as alerts:
        for number in range(4):
            alerts.crossed(alert(balance=str(number)))
            while kept.names.count("budget_alert") <= number:
                await asyncio.sleep(0)
            await hook.received()
        assert kept.names.count("alert_dropped") == 2

    assert alerts.dropped == 4


async def test_b13_what_is_remembered_is_bounded(running: Make, kept: Kept) -> None:
    """The store, not the memory, is what keeps a telling from being repeated."""
    async with running(max_waiting=10_000) as alerts:
        for number in range(5_000):
            alerts.crossed(alert(balance=str(number)))
        alerts.crossed(alert(balance="0"))

        assert len(alerts._seen) == 4_096
    assert len(kept.events) == 5_000


async def test_a_close_delivers_what_waits(running: Make, hook: ScriptedUpstream, kept: Kept) -> None:
    async with running(hook.base_url) as alerts:
        for number in range(10):
            alerts.crossed(alert(balance=str(number)))
        assert hook.requests == []

    assert len(hook.requests) == alerts.delivered == 10
    alerts.crossed(alert(balance="late"))
    assert kept.events[-1][1:] == (
        "alert_dropped",
        {"reason": "stopping", **FIELDS, "id": alert_id(alert(balance="late"))},
    )
    assert alerts.dropped == 1


async def test_a_close_waits_no_longer_than_it_may(running: Make, hook: ScriptedUpstream, kept: Kept) -> None:
    """What is left is named in the log and counted, and no task and no connection stays."""
    hook.default(hang())
    before = asyncio.all_tasks()
    async with running(hook.base_url, drain_s=0.1) as alerts:
        for number in range(3):
            alerts.crossed(alert(balance=str(number)))
        assert await hook.received()

    assert kept.names == ["budget_alert"] * 3 + ["alert_dropped"] * 3
    assert (alerts.delivered, alerts.failed, alerts.dropped) == (0, 0, 3)
    assert await hook.closed()
    assert {task for task in asyncio.all_tasks() - before if "Alerts" in repr(task)} == set()


async def test_a_close_during_a_pause(running: Make, hook: ScriptedUpstream) -> None:
    hook.default(json_reply({}, 500))
    async with running(hook.base_url, drain_s=0.1, sleep=asyncio.sleep) as alerts:
        alerts.crossed(alert())
        assert await hook.received()

    assert (len(hook.requests), alerts.dropped) == (1, 1)


async def test_a_close_with_nothing_to_do(running: Make) -> None:
    async with running("http://127.0.0.1:9", drain_s=0.0) as alerts:
        pass
    await alerts.close(0.0)

    assert alerts.dropped == 0


async def test_the_client_is_made_once_and_off_the_loop(
    running: Make, hook: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its import and its certificates take longer than the road may wait."""
    threads = []

    def opened() -> Any:
        threads.append(threading.current_thread())
        return open_client()

    open_client = _open_client
    monkeypatch.setattr("llmgw.telemetry.webhook._open_client", opened)
    async with running(hook.base_url) as alerts:
        alerts.crossed(alert())
        alerts.crossed(alert(balance="another"))

    assert len(hook.requests) == 2
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


def test_a_start_does_not_load_the_client() -> None:
    code = (
        "import asyncio, sys\n"
        "from llmgw.stores.alerts import MemoryAlertStore\n"
        "from llmgw.telemetry.alerts import Alerts\n"
        "from llmgw.telemetry.events import NullEvents\n"
        "async def main():\n"
        "    alerts = Alerts(MemoryAlertStore(), NullEvents(), 'http://127.0.0.1:9')\n"
        "    alerts.start()\n"
        "    await alerts.close(1)\n"
        "asyncio.run(main())\n"
        "print(sorted({'httpx2', 'httpcore2', 'anyio', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_silent_twin() -> None:
    NullAlerter().crossed(alert())
