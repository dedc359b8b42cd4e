"""Several hosts as one gateway: limits and budgets are exact across them, and outlive their Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.hosts import Hosts, two_hosts
from tests.fakes.process import GatewayProcess, llmgw, rows
from tests.fakes.redis import redis_server
from tests.journeys.test_balances import workers_of

LIMIT = 60


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with two_hosts(tmp_path_factory.mktemp("hosts"), workers=2, limit=LIMIT) as hosts:
        yield hosts


@pytest.mark.parametrize("tenant", ["rated", "sliding", "bought"])
async def test_f03_a_limit_that_two_hosts_race_for(hosts: Hosts, tenant: str) -> None:
    found = await hosts.race(tenant, 3 * LIMIT)

    assert found == {200: LIMIT, 429: 2 * LIMIT}


async def test_g02_redis_is_killed_and_comes_back_empty(hosts: Hosts) -> None:
    """What was bought up stays bought up: refused while Redis is gone, and after."""
    hosts.redis.stop()
    status, _ = await hosts.ask(0, "bought")
    assert status == 503
    hosts.redis.start()
    end = time.monotonic() + 15
    while (found := await hosts.race("bought", 20)) != {429: 20}:
        assert set(found) <= {429, 503}, found
        assert time.monotonic() < end
        await asyncio.sleep(0.2)

    (quota,) = rows("quota", "show", "--tenant", "bought", cwd=hosts.gateways[0].directory)
    assert (quota["used"], quota["held"]) == (LIMIT, 0)


async def revoked_after(hosts: Hosts) -> float:
    """Seconds from the end of `llmgw keys revoke` on one host until the other refuses the key."""
    here = hosts.gateways[0].directory
    made = rows("keys", "create", "--tenant", "unlimited", cwd=here)
    hosts.keys["revoked"] = made["key"]
    end = time.monotonic() + 10
    while (await hosts.ask(1, "revoked"))[0] == 401:
        assert time.monotonic() < end
    done = llmgw("keys", "revoke", made["id"], cwd=here)
    assert done.returncode == 0, done.stderr
    began = time.monotonic()
    good = 0
    # Connections fall on one worker or the other: ten refusals in a row are both.
    while good < 10:
        good = good + 1 if (await hosts.ask(1, "revoked"))[0] == 401 else 0
        assert time.monotonic() - began < 10
    return time.monotonic() - began


async def heard(hosts: Hosts, host: int) -> float:
    """How many notices the workers of a host have heard."""
    text = await asyncio.to_thread(hosts.gateways[host].admin, "/metrics")
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("llmgw_key_notices "))


async def test_d03_a_key_that_is_revoked_on_one_host(hosts: Hosts) -> None:
    """Refused on every worker of the other one within a second, by notice."""
    before = await heard(hosts, 1)
    took = sorted([await revoked_after(hosts) for _ in range(3)])

    assert await heard(hosts, 1) > before
    # A second, and what this machine is busy with.
    assert took[1] < 1
    assert took[2] < 2


async def test_m10_d03_notices_that_are_lost(hosts: Hosts) -> None:
    """Workers that are told nothing look at the key store, and find out in the same time."""
    wire = hosts.wires[1]
    wire.deafens = lambda data: b"SUBSCRIBE" in data
    wire.close()
    wire.open()
    try:
        took = sorted([await revoked_after(hosts) for _ in range(3)])
    finally:
        wire.deafens = lambda data: False
        wire.close()
        wire.open()

    assert took[1] < 1
    assert took[2] < 5


async def test_d03_a_key_that_is_revoked_while_redis_is_away(hosts: Hosts) -> None:
    """The one who revokes is not kept, and the key ends all the same."""
    for wire in hosts.wires:
        wire.close()
    try:
        assert await revoked_after(hosts) < 5
    finally:
        for wire in hosts.wires:
            wire.open()


async def test_l16_a_host_that_was_suspended(tmp_path: Path) -> None:
    """What it held stays its own, what others used meanwhile is gone, and no window begins anew."""
    with two_hosts(tmp_path, workers=2, limit=LIMIT) as hosts:
        gateway = hosts.gateways[1]
        for tenant in ("rated", "bought"):
            assert await hosts.race(tenant, 10) == {200: 10}
        pids = [gateway.pid, *workers_of(gateway)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        meanwhile = dict.fromkeys(("rated", "bought"), 0)
        for tenant in meanwhile:
            for _ in range(20):
                meanwhile[tenant] += (await hosts.ask(0, tenant))[0] == 200
        # Longer than a host is waited for.
        await asyncio.sleep(7)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        found = {}
        for tenant in meanwhile:
            # It may have to find its Redis again.
            found[tenant] = 30 + (await hosts.race(tenant, 20))[200]
            await asyncio.sleep(2)
            found[tenant] += (await hosts.race(tenant, 2 * LIMIT))[200]
        verified = llmgw("usage", "verify", cwd=hosts.gateways[0].directory)

    assert meanwhile == {"rated": 20, "bought": 20}
    assert found["bought"] == LIMIT
    assert 0.95 * LIMIT <= found["rated"] <= 1.05 * LIMIT
    assert verified.returncode == 0, verified.stdout


ALONE = """
version: 1
storage: {{redis: "{redis}"}}
providers: {{demo: {{kind: echo}}}}
"""


def started(place: Path, url: str) -> tuple[int, str]:
    """How a gateway with this Redis ends that cannot start."""
    (place / "llmgw.yaml").write_text(ALONE.format(redis=url))
    done = llmgw("serve", cwd=place, env={"LLMGW_SERVER__LISTEN": "127.0.0.1:0"})
    return done.returncode, done.stderr


def test_wrong_credentials_end_the_start_with_one_line(tmp_path: Path) -> None:
    with redis_server(tmp_path, requirepass="hunter2") as redis:
        code, said = started(tmp_path, f"redis://:nonsense@127.0.0.1:{redis.port}")
        assert code == 1
        assert "refuses the credentials of storage.redis" in said
        code, said = started(tmp_path, f"redis://127.0.0.1:{redis.port}")
        assert code == 1
        assert "refuses the credentials of storage.redis" in said
        assert "hunter2" not in said
        assert "nonsense" not in said


def test_a_redis_that_is_not_there_ends_the_start_with_one_line(tmp_path: Path) -> None:
    code, said = started(tmp_path, "redis://127.0.0.1:1")

    assert code == 1
    assert "Redis at 127.0.0.1:1 cannot be reached" in said
    assert "Traceback" not in said


def test_a_redis_without_scripts_ends_the_start_with_one_line(tmp_path: Path) -> None:
    with redis_server(tmp_path, rename_command=("EVAL", "")) as redis:
        code, said = started(tmp_path, redis.url)

    assert code == 1
    assert "runs no scripts" in said


def test_m09_a_redis_that_may_forget_limits_is_told_of(tmp_path: Path) -> None:
    with redis_server(tmp_path, maxmemory="100mb", maxmemory_policy="allkeys-lru") as redis:
        (tmp_path / "llmgw.yaml").write_text(ALONE.format(redis=redis.url))
        with GatewayProcess(tmp_path) as gateway:
            end = time.monotonic() + 5
            while "may evict counters" not in gateway.err.read_text():
                assert time.monotonic() < end
                time.sleep(0.02)
