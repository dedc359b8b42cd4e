"""Workers replaced one by one: by a command, by a signal, and because one is stuck."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.process import GatewayProcess, key_for, llmgw, rows, within
from tests.fakes.raw_client import RawClient, chat, request

CONFIG = """
version: 1
server: {workers: 2, lame_duck: 500ms, drain_timeout: 20s}
providers:
  demo: {kind: echo, first_token: 2ms, tokens_per_second: 100}
models:
  echo: {targets: [{provider: demo, model: echo}]}
limits: {global: off, per_tenant: off, per_user: off, per_ip: off, concurrency: off}
tenants:
  acme: {}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "llmgw.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def key(place: Path) -> str:
    return key_for("acme", place)


@pytest.fixture
def gateway(place: Path, key: str) -> Iterator[GatewayProcess]:
    with GatewayProcess(place) as running:
        assert within(30, lambda: serving(running) == 2)
        yield running


def listed(gateway: GatewayProcess) -> list[dict[str, object]]:
    found = rows("workers", "list", cwd=gateway.directory)
    assert isinstance(found, list)
    return found


def serving(gateway: GatewayProcess) -> int:
    """How many workers do, whatever generation."""
    return sum(json.loads(gateway.admin("/readyz"))["workers"].values())


class Load:
    """Clients that keep their connections and ask again, some of them for streams, until told to stop."""

    def __init__(self, gateway: GatewayProcess, key: str) -> None:
        self._gateway = gateway
        self._key = key
        self.ended = False
        self.answers = 0
        self.streams = 0

    async def run(self, clients: int) -> None:
        await asyncio.gather(*(self._one(number) for number in range(clients)))

    async def _one(self, number: int) -> None:
        client: RawClient | None = None
        while not self.ended:
            client = client or await RawClient.connect(self._gateway.port)
            streamed = number % 4 == 0
            text = " ".join(["word"] * (200 if streamed else 3))
            await client.send(request(chat(text, model="echo", stream=streamed), key=self._key))
            answer = await client.read_answer()
            assert answer.status == 200
            if streamed:
                assert answer.body.endswith(b"data: [DONE]\n\n")
                self.streams += 1
            self.answers += 1
            await asyncio.sleep(0.01)
            if answer.headers.get("connection") == "close":
                await client.vanish()
                client = None
        if client is not None:
            await client.vanish()


def test_restart_replaces_every_worker_and_fails_no_request(gateway: GatewayProcess, key: str) -> None:
    """Under load, with streams that are longer than `lame_duck`; the new ones serve what the old did."""
    before = {row["pid"] for row in listed(gateway)}

    async def scene() -> Load:
        load = Load(gateway, key)
        running = asyncio.ensure_future(load.run(8))
        await asyncio.sleep(0.5)
        done = await asyncio.to_thread(llmgw, "workers", "restart", cwd=gateway.directory)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["1 of 2 replaced", "2 of 2 replaced"]
        load.ended = True
        await running
        return load

    load = asyncio.run(scene())

    assert load.streams > 0
    assert load.answers > load.streams
    after = listed(gateway)
    assert not before & {row["pid"] for row in after}
    assert len({row["generation"] for row in after}) == 1
    assert [event["level"] for event in gateway.events("worker_ended")] == ["info", "info"]
    assert "llmgw_worker_restarts 0" in gateway.admin("/metrics")
    assert gateway.stop() == 0
    (row,) = rows("usage", "report", "--by", "outcome", cwd=gateway.directory)
    assert (row["outcome"], row["requests"]) == ("ok", load.answers)


def test_sigusr2_does_the_same_and_one_that_is_sent_meanwhile_changes_nothing(
    gateway: GatewayProcess,
) -> None:
    before = {row["pid"] for row in listed(gateway)}

    gateway.signal(signal.SIGUSR2)
    assert within(10, lambda: len(gateway.events("workers_restarting")) == 1)
    gateway.signal(signal.SIGUSR2)

    assert within(30, lambda: len(gateway.events("workers_restarted")) == 1)
    assert len(gateway.events("workers_not_restarted")) == 1
    assert not before & {row["pid"] for row in listed(gateway)}
    assert len(gateway.events("worker_ready")) == 4


def test_l08_a_bad_file_on_disk_stops_no_worker_that_follows(gateway: GatewayProcess, key: str) -> None:
    """Neither one that is replaced nor one that takes the place of a dead one."""
    (gateway.directory / "llmgw.yaml").write_text("version: [broken")
    assert within(10, lambda: len(gateway.events("config_rejected")) == 1)

    # The file does not say any more where the gateway is to be asked.
    gateway.signal(signal.SIGUSR2)
    assert within(30, lambda: len(gateway.events("workers_restarted")) == 1)
    for event in gateway.events("worker_ready")[2:]:
        os.kill(int(str(event["pid"])), signal.SIGKILL)
    assert within(30, lambda: len(gateway.events("worker_ready")) == 6)

    async def scene() -> None:
        load = Load(gateway, key)
        load.ended = False
        running = asyncio.ensure_future(load.run(4))
        await asyncio.sleep(0.3)
        load.ended = True
        await running
        assert load.answers

    asyncio.run(scene())


def test_b12_a_stopped_worker_is_noticed_told_of_and_replaced(gateway: GatewayProcess) -> None:
    """Its stacks are asked for before it is killed; a reload meanwhile reaches the other."""
    victim, other = listed(gateway)
    os.kill(int(str(victim["pid"])), signal.SIGSTOP)

    assert within(15, lambda: [event["pid"] for event in gateway.events("worker_silent")] == [victim["pid"]])
    file = gateway.directory / "llmgw.yaml"
    file.write_text(CONFIG.replace("acme: {}", "acme: {}\n  bolt: {}"))
    assert within(10, lambda: len(gateway.events("config_reloaded")) == 1)

    assert within(20, lambda: [event["pid"] for event in gateway.events("worker_stuck")] == [victim["pid"]])
    assert within(20, lambda: serving(gateway) == 2)
    now = listed(gateway)
    assert {row["generation"] for row in now} == {gateway.events("config_reloaded")[0]["generation"]}
    assert other["pid"] in {row["pid"] for row in now}
    assert victim["pid"] not in {row["pid"] for row in now}


def test_l07_workers_agree_on_what_they_serve(gateway: GatewayProcess) -> None:
    """And readiness tells how many serve which."""
    file = gateway.directory / "llmgw.yaml"
    for number in range(3):
        file.write_text(CONFIG.replace("acme: {}", f"acme: {{}}\n  t{number}: {{}}"))
        assert llmgw("reload", cwd=gateway.directory).returncode == 0
        ready = json.loads(gateway.admin("/readyz"))
        assert ready["workers"] == {ready["generation"]: 2}


def test_without_a_team_there_is_nothing_to_replace(place: Path, key: str) -> None:
    nobody = llmgw("workers", "list", cwd=place)
    assert (nobody.returncode, "no gateway runs" in nobody.stderr) == (1, True)

    (place / "llmgw.yaml").write_text(CONFIG.replace("workers: 2", "workers: 1"))
    with GatewayProcess(place) as gateway:
        (row,) = listed(gateway)
        assert (row["pid"], row["state"], row["in_flight"]) == (gateway.pid, "serving", 0)
        refused = llmgw("workers", "restart", cwd=place)
        assert refused.returncode == 1
        assert "set server.workers to 2 or more" in refused.stderr
        # L11: signals that ask for what there is not end nothing.
        for number in (signal.SIGUSR2, signal.SIGHUP, signal.SIGUSR1):
            gateway.signal(number)
        assert within(10, lambda: "Current thread" in gateway.err.read_text())
        assert gateway.ready()
