"""A quota without Redis: a host spends the share it has, then answers 503; no budget is exceeded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmgw.stores.redis_blocking import BlockingRedis
from tests.fakes.hosts import Hosts, two_hosts
from tests.fakes.process import rows

LIMIT = 2_000
SHARE = 9
"""1 % of what is left, of two hosts."""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with two_hosts(tmp_path, workers=2, limit=LIMIT) as hosts:
        yield hosts


def shares(hosts: Hosts) -> int:
    """How many requests all hosts hold as shares."""
    redis = BlockingRedis(hosts.redis.parsed())
    try:
        owners = [one for one in redis.call("SMEMBERS", b"llmgw:{limits}:owners") if one.endswith(b":share")]
        return sum(int(amount) for owner in owners for amount in redis.call("HVALS", owner))
    finally:
        redis.close()


async def until(holds: Callable[[], bool], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


def quota(hosts: Hosts) -> tuple[int, int]:
    """Used and held, as commands show them."""
    (row,) = rows("quota", "show", "--tenant", "bought", cwd=hosts.gateways[0].directory)
    return int(row["used"]), int(row["held"])


async def let_on_without_redis(hosts: Hosts) -> int:
    """How many requests a host that is cut off answers before it refuses."""
    await hosts.race("bought", 100)
    await until(lambda: shares(hosts) >= 2 * SHARE)
    hosts.wires[0].close()
    answers = [await hosts.answer(0, "bought") for _ in range(40)]
    served = [answer for answer in answers if answer.status == 200]
    assert {answer.status for answer in answers} == {200, 503}
    assert any(answer.headers.get("x-llmgw-degraded") == "quota" for answer in served)
    return len(served)


async def test_f10_a_host_that_is_cut_off_spends_its_share(hosts: Hosts) -> None:
    served = await let_on_without_redis(hosts)

    assert 1 <= served <= 3 * SHARE
    hosts.wires[0].open()
    await until(lambda: quota(hosts)[0] == 100 + served)
    found = await hosts.race("bought", 2 * LIMIT)
    assert found[200] <= LIMIT - 100 - served
    # What the hosts held they gave up.
    await until(lambda: shares(hosts) == 0)
    rest = (await hosts.race("bought", 100))[200]
    assert 100 + served + found[200] + rest == LIMIT
    assert quota(hosts) == (LIMIT, 0)


async def test_g12_a_gateway_is_killed_while_it_is_cut_off(hosts: Hosts) -> None:
    """What it answered meanwhile is charged when it starts again."""
    served = await let_on_without_redis(hosts)
    await asyncio.to_thread(hosts.gateways[0].kill)
    hosts.wires[0].open()

    await asyncio.to_thread(hosts.gateways[0].start)

    await until(lambda: quota(hosts)[0] == 100 + served)
