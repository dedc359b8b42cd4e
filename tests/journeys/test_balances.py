"""Limits and budgets of whole processes: several workers, kills and restarts, and the commands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.process import GatewayProcess, llmgw, rows, within
from tests.fakes.raw_client import RawClient, chat, request

CONFIG = """
version: 1
server: {{workers: {workers}, lame_duck: 0s, drain_timeout: 10s}}
providers: {{demo: {{kind: echo}}}}
models: {{echo: {{targets: [{{provider: demo, model: echo}}]}}}}
prices: {{overrides: {{demo/echo: {{input: 0 USD/M, output: 1000 USD/M}}}}}}
{rest}
"""
UNLIMITED = "limits: {global: off, per_tenant: off, per_user: off, concurrency: off}\n"
BUDGETS = (
    UNLIMITED
    + """
quotas:
  - {per: tenant, requests: 1M, window: month}
  - {per: user, tokens: 100M, window: month, timezone: Europe/Paris}
  - {per: key, cost: 1000 USD, window: month}
"""
)


async def until(ask: Callable[[], Awaitable[list[int]]], wanted: list[int]) -> bool:
    """Whether the statuses become these, within ten seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if await ask() == wanted:
                return True
        await asyncio.sleep(0.1)
    return False


def prepare(place: Path, rest: str, workers: int = 1) -> str:
    """Write the configuration; a key."""
    (place / "llmgw.yaml").write_text(CONFIG.format(rest=rest, workers=workers))
    return str(rows("keys", "create", "--user", "alice", cwd=place)["key"])


async def ask_often(port: int, key: str, times: int, connections: int, **members: Any) -> list[int]:
    """The statuses of so many requests; 0 for one that was not answered."""
    body = request(chat(model="echo", **members), key=key)

    async def one() -> list[int]:
        statuses: list[int] = []
        client: RawClient | None = None
        try:
            for _ in range(times // connections):
                try:
                    client = client or await RawClient.connect(port)
                    await client.send(body)
                    statuses.append((await client.read_answer()).status)
                except (OSError, EOFError, asyncio.IncompleteReadError):
                    statuses.append(0)
                    if client is not None:
                        client.writer.close()
                        client = None
        finally:
            if client is not None:
                client.writer.close()
        return statuses

    each = await asyncio.gather(*(one() for _ in range(connections)))
    return [status for statuses in each for status in statuses]


def workers_of(gateway: GatewayProcess) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-P", str(gateway.pid), "-f", "llmgw.server.worker"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(pid) for pid in found.stdout.split()]


@pytest.mark.parametrize("algorithm", ["fixed_window", "sliding_window", "token_bucket"])
async def test_f02_one_limit_for_all_workers(tmp_path: Path, algorithm: str) -> None:
    """1,000 requests at a limit of 100 over 4 workers: exactly 100 are admitted."""
    rule = f"per_user: {{requests: 100, window: 1h, algorithm: {algorithm}}}"
    key = prepare(tmp_path, UNLIMITED.replace("per_user: off", rule), workers=4)
    with GatewayProcess(tmp_path) as gateway:
        statuses = await ask_often(gateway.port, key, 1000, 50)

    assert (statuses.count(200), statuses.count(429)) == (100, 900)


async def test_g01_one_budget_for_all_workers(tmp_path: Path) -> None:
    """1,000 requests reserving 0.10 USD each of 5.00 USD over 4 workers: exactly 50 are dispatched."""
    key = prepare(tmp_path, UNLIMITED + "quotas: [{per: tenant, cost: 5 USD, window: month}]\n", workers=4)
    with GatewayProcess(tmp_path) as gateway:
        body = request(chat("[[echo delay=3s]]", model="echo", max_tokens=100), key=key)
        clients = [await RawClient.connect(gateway.port) for _ in range(1000)]
        await asyncio.gather(*(client.send(body) for client in clients))
        answers = await asyncio.gather(*(client.read_answer() for client in clients))
        statuses = [answer.status for answer in answers]
        codes = {answer.json["error"]["code"] for answer in answers if answer.status == 429}
        for client in clients:
            client.writer.close()

    assert (statuses.count(200), statuses.count(429)) == (50, 950)
    assert codes == {"quota_held"}


async def test_g12_kill_9_and_restart_change_no_balance(tmp_path: Path) -> None:
    """What is rebuilt before the first admission equals the records, to the unit, time after time."""
    key = prepare(tmp_path, BUDGETS)
    shown: list[Any] = []
    for _ in range(5):
        gateway = GatewayProcess(tmp_path)
        gateway.start()
        if shown:
            assert _used(tmp_path) == shown[-1]
        load = asyncio.create_task(ask_often(gateway.port, key, 200, 8, max_tokens=5))
        await asyncio.sleep(random.uniform(0.05, 0.3))
        os.kill(gateway.pid, signal.SIGKILL)
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        gateway.wait()
        shown.append(_used(tmp_path))

    assert shown[-1] != shown[0]


def _used(place: Path) -> list[tuple[str, int, int]]:
    return [(row["unit"], row["used"], row["held"]) for row in rows("quota", "show", cwd=place)]


async def test_g08_a_killed_workers_holds_become_what_its_records_say(tmp_path: Path) -> None:
    """However a worker dies under load, no hold stays and counters equal the sum of the records."""
    key = prepare(tmp_path, BUDGETS + "  - {per: tenant, output_tokens: 100M, window: day}\n", workers=2)
    with GatewayProcess(tmp_path) as gateway:
        for _ in range(4):
            assert within(10, lambda: len(workers_of(gateway)) == 2)
            load = asyncio.create_task(ask_often(gateway.port, key, 400, 8, max_tokens=5))
            await asyncio.sleep(random.uniform(0.05, 0.4))
            os.kill(random.choice(workers_of(gateway)), signal.SIGKILL)
            await asyncio.gather(load, return_exceptions=True)
        assert within(10, lambda: all(held == 0 for _, _, held in _used(tmp_path)))
        verified = llmgw("usage", "verify", cwd=tmp_path)

    assert verified.returncode == 0, verified.stdout
    assert "4 balances equal the sum of their records" in verified.stdout


async def test_f09_places_of_a_killed_worker_are_free_again(tmp_path: Path) -> None:
    """A worker that dies with all places taken leaves none of them taken."""
    key = prepare(tmp_path, "limits: {concurrency: {in_flight: 4}}\n", workers=2)
    with GatewayProcess(tmp_path) as gateway:
        assert within(10, lambda: len(workers_of(gateway)) == 2)
        slow = request(chat("[[echo delay=30s]]", model="echo"), key=key)
        clients = [await RawClient.connect(gateway.port) for _ in range(4)]
        await asyncio.gather(*(client.send(slow) for client in clients))
        full = await until(lambda: ask_often(gateway.port, key, 1, 1), [429])
        for pid in workers_of(gateway):
            os.kill(pid, signal.SIGKILL)
        for client in clients:
            client.writer.close()
        again = await until(lambda: ask_often(gateway.port, key, 4, 1), [200] * 4)

    assert full
    assert again


async def test_the_commands_with_a_gateway_and_without(tmp_path: Path) -> None:
    """`quota show` agrees with itself before and after a stop; `verify` needs a running gateway."""
    key = prepare(tmp_path, BUDGETS.replace(", concurrency: off", ""))
    with GatewayProcess(tmp_path) as gateway:
        assert await ask_often(gateway.port, key, 3, 1, max_tokens=5) == [200] * 3
        running = rows("quota", "show", cwd=tmp_path)
        limits = rows("limits", "show", "--user", "alice", cwd=tmp_path)
        table = llmgw("quota", "show", "user", cwd=tmp_path)
        nobody = llmgw("quota", "show", "nobody", cwd=tmp_path)
        verified = llmgw("usage", "verify", cwd=tmp_path)
    stopped = rows("quota", "show", cwd=tmp_path)
    unverified = llmgw("usage", "verify", cwd=tmp_path)

    assert running == stopped
    assert {(row["per"], row["unit"]): row["used"] for row in running}["tenant", "requests"] == 3
    assert {row["policy"] for row in limits} == {"concurrency"}
    assert "alice" in table.stdout
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "3 balances equal" in verified.stdout
    assert unverified.returncode == 1
    assert "no gateway runs" in unverified.stderr


@pytest.mark.parametrize("workers", [1, 2])
async def test_l05_what_is_under_way_while_a_quota_is_added_counts_in_it(
    tmp_path: Path, workers: int
) -> None:
    """It ends in the generation it began in, whose quotas it settles; its record is what counts."""
    demo = "echo: {targets: [{provider: demo, model: echo}]}"
    key = prepare(tmp_path, UNLIMITED, workers)
    slow = (
        (tmp_path / "llmgw.yaml").read_text().replace("{kind: echo}", "{kind: echo, tokens_per_second: 50}")
    )
    assert demo in slow
    (tmp_path / "llmgw.yaml").write_text(slow)
    with GatewayProcess(tmp_path) as gateway:
        client = await RawClient.connect(gateway.port)
        text = " ".join(["word"] * 200)
        await client.send(request(chat(text, model="echo", stream=True), key=key))
        await client.read_head()
        (tmp_path / "llmgw.yaml").write_text(slow + "quotas: [{per: tenant, requests: 1M, window: month}]\n")
        assert await asyncio.to_thread(within, 5, lambda: bool(gateway.events("config_reloaded")))
        assert await ask_often(gateway.port, key, 1, 1) == [200]
        while await client.read_chunk():
            pass
        assert await asyncio.to_thread(within, 20, lambda: _used(tmp_path) == [("requests", 2, 0)])
        await client.vanish()
