"""kill -9 of a gateway under load, time after time, and what its records say afterwards."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.process import GatewayProcess, llmgw
from tests.fakes.raw_client import RawClient, chat, request

Rows = Callable[[str], list[Any]]
"""Asks the database of the gateway."""

CONFIG = """
version: 1
storage: {{url: "{url}"}}
server: {{lame_duck: 0s, drain_timeout: 2s}}
providers: {{demo: {{kind: echo, first_token: 2ms, tokens_per_second: 500}}}}
models: {{echo: {{targets: [{{provider: demo, model: echo}}]}}}}
limits: {{global: off, per_tenant: off, per_user: off}}
quotas: [{{per: tenant, requests: 100M, window: month}}]
"""
CONNECTIONS = 8


@dataclass(slots=True)
class Killed:
    """answered: ids of requests that were answered whole; sent: of all. slowest_s: from the
    restart until what the dead process had under way was settled.
    """

    answered: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    slowest_s: float = 0.0


def kill_often(place: Path, key: str, rounds: int, seed: int) -> Killed:
    """Start, load, kill; the last time it is left to end by itself. `place` holds the configuration."""
    dice = random.Random(seed)
    found = Killed()
    journals = place / ".llmgw" / "journal"
    gateway = GatewayProcess(place)
    for _ in range(rounds):
        dead = [path.name for path in journals.glob("journal-*.log")]
        gateway.start()
        began = time.monotonic()
        # Most die in the middle of their work, some before they have answered anybody.
        asyncio.run(_round(gateway, key, found, dice.uniform(0, 0.25), busy=dice.random() < 0.8))
        found.rounds += 1
        _await_settled(journals, dead, began, found)
    dead = [path.name for path in journals.glob("journal-*.log")]
    gateway.start()
    _await_settled(journals, dead, time.monotonic(), found)
    assert llmgw("usage", "verify", cwd=place).returncode == 0
    assert gateway.stop() == 0
    return found


def _await_settled(journals: Path, names: list[str], began: float, found: Killed) -> None:
    """A dead process's journal is removed when the database has all of it. The drainer outlives a kill."""
    while any((journals / name).exists() for name in names):
        if time.monotonic() - began > 30:
            raise AssertionError(f"journals of a dead process stay: {names}")
        time.sleep(0.01)
    found.slowest_s = max(found.slowest_s, time.monotonic() - began)


def check(found: Killed, rows: Rows) -> int:
    """One record for each request that was dispatched, none twice, none invented. The number of `lost`."""
    recorded = dict(rows("SELECT client_request_id, count(*) FROM usage GROUP BY client_request_id"))
    ((all_of_them, different),) = rows("SELECT count(*), count(DISTINCT request_id) FROM usage")
    ((lost,),) = rows("SELECT count(*) FROM usage WHERE outcome = 'lost'")
    missing = [one for one in found.answered if recorded.get(one) != 1]
    assert not missing, f"{len(missing)} answered requests without exactly one record: {missing[:3]}"
    assert all_of_them == different
    assert set(recorded) <= set(found.sent)
    assert lost <= len(found.sent) - len(found.answered) + CONNECTIONS * found.rounds
    return int(lost)


async def _round(gateway: GatewayProcess, key: str, found: Killed, moment: float, *, busy: bool) -> None:
    before = found.answered.total()
    tasks = [asyncio.ensure_future(_ask(gateway.port, key, number, found)) for number in range(CONNECTIONS)]
    until = time.monotonic() + 10
    while busy and found.answered.total() == before and time.monotonic() < until:
        await asyncio.sleep(0.005)
    await asyncio.sleep(moment)
    gateway.kill()
    await asyncio.wait(tasks, timeout=10)


async def _ask(port: int, key: str, number: int, found: Killed) -> None:
    client = None
    try:
        client = await RawClient.connect(port)
        for count in range(100_000):
            request_id = f"w{number}-{count}-{random.randrange(10**12)}"
            streamed = count % 3 == 0
            found.sent[request_id] += 1
            body = chat("some words to say again", model="echo", stream=streamed)
            await client.send(request(body, key=key, headers={"x-request-id": request_id}))
            answer = await client.read_answer()
            if answer.status == 200 and (not streamed or b"[DONE]" in answer.body):
                found.answered[request_id] += 1
    except (OSError, EOFError, asyncio.IncompleteReadError, TimeoutError):
        return
    finally:
        if client is not None:
            await client.vanish()
