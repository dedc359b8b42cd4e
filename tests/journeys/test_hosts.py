"""Several hosts as one gateway: limits and budgets are exact across them, and outlive their Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.hosts import Hosts, two_hosts
from tests.fakes.process import GatewayProcess, llmgw, rows
from tests.fakes.redis import redis_server

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


async def test_d03_a_key_that_is_revoked_on_one_host(hosts: Hosts) -> None:
    """Refused on the other one within a second."""
    here, there = hosts.gateways[0].directory, hosts.gateways[1]
    made = rows("keys", "create", "--tenant", "rated", cwd=here)
    hosts.keys["revoked"] = made["key"]
    end = time.monotonic() + 10
    while (await hosts.ask(1, "revoked"))[0] == 401:
        assert time.monotonic() < end
    done = llmgw("keys", "revoke", made["id"], cwd=here)
    assert done.returncode == 0, done.stderr
    revoked = time.monotonic()

    while (await hosts.ask(1, "revoked"))[0] != 401:
        assert time.monotonic() - revoked < 5
    # A second, and what this machine is busy with.
    assert time.monotonic() - revoked < 2
    assert there.ready()


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
