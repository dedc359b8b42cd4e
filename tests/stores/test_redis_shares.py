"""Standing shares of quotas, on real sockets and a real Redis."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from llmgw.core.clock import Clock, steady_ns
from llmgw.stores import redis_shares
from llmgw.stores.alone_log import AloneLog, logs
from llmgw.stores.host import HostCounters
from llmgw.stores.redis_blocking import BlockingRedis
from llmgw.stores.redis_claims import OWNER
from llmgw.stores.redis_view import adopt, release
from tests.fakes.redis import RedisServer, redis_server
from tests.fakes.sharing_hosts import Host, Records, Taken, balance, shares

LIMIT = 110_000
COST = 100
SHARE = 500
"""Whole requests in 1 % of the limit, of two hosts."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
async def hosts(server: RedisServer, tmp_path: Path) -> AsyncIterator[list[Host]]:
    records = Records()
    hosts = [Host(server, name, tmp_path, records) for name in ("a", "b")]
    for host in hosts:
        await host.start()
    for host in hosts:
        for worker in host.workers:
            await worker.session._beat(worker.counters.link)  # type: ignore[arg-type]
    yield hosts
    for host in hosts:
        await host.stop()


async def used(host: Host, worker: int = 0) -> None:
    """The host has a share of the quota."""
    taken = await host.workers[worker].take(COST, f"first-{host.name}", LIMIT)
    assert taken is not None
    taken.end(0)
    await host.tick()


async def spent_alone(host: Host, limit: int = LIMIT) -> list[Taken]:
    """What a host lets on while Redis is away, each worker in turn until there is no more."""
    let_on = []
    for number in range(1_000):
        worker = host.workers[number % len(host.workers)]
        taken = await worker.take(COST, f"{host.name}-{number}-{random.random()}", limit)
        if taken is None:
            break
        let_on.append(taken)
    return let_on


async def settled(server: RedisServer, hosts: list[Host], records: Records) -> None:
    """Redis has heard of all that was used."""
    for _ in range(200):
        for host in hosts:
            await host.tick()
        if balance(server) == (records.spent(), sum(shares(server).values())):
            return
        await asyncio.sleep(0.02)
    assert balance(server) == (records.spent(), sum(shares(server).values()))


async def test_a_quota_in_use_has_a_share_on_each_host(hosts: list[Host], server: RedisServer) -> None:
    """1 % among the hosts, held in Redis, and shown as held."""
    for host in hosts:
        await used(host)

    assert all(SHARE <= amount <= LIMIT // 200 for amount in shares(server).values())
    assert set(shares(server)) == {"a", "b"}
    assert balance(server) == (0, sum(shares(server).values()))


async def test_f10_a_share_is_spent_by_all_workers_of_the_host(
    hosts: list[Host], server: RedisServer
) -> None:
    """What remains beyond it is not: the answer is 503 then, and no budget is exceeded."""
    host, other = hosts
    await used(host)
    await host.cut()

    let_on = await spent_alone(host)

    assert len(let_on) == SHARE // COST
    assert {taken.worker.index for taken in let_on} == {0, 1}
    assert all(taken.verdict.degraded == b"quota" for taken in let_on)
    # The other host may have all that is left, and no more.
    held = shares(server)["a"]
    rest = await other.workers[0].take(LIMIT - held, "rest", LIMIT)
    assert rest is not None
    assert await other.workers[0].take(1, "more", LIMIT) is None
    rest.end(0)
    for taken in let_on:
        taken.end(COST)
    await host.join()
    await settled(server, hosts, host.records)
    assert balance(server)[0] == SHARE


async def test_what_a_request_did_not_use_of_a_share_can_be_used_again(hosts: list[Host]) -> None:
    host, _ = hosts
    await used(host)
    await host.cut()
    for number in range(20):
        taken = await host.workers[number % 2].take(COST, f"r{number}", LIMIT)
        assert taken is not None
        taken.end(10)
        await asyncio.sleep(0)

    assert len(await spent_alone(host)) == (SHARE - 200) // COST


async def test_requests_that_outlive_the_outage_are_charged_once(
    hosts: list[Host], server: RedisServer
) -> None:
    host, _ = hosts
    await used(host)
    await host.cut()
    let_on = await spent_alone(host)
    let_on.pop().end(30)
    await host.join()
    await host.tick()
    assert not logs(host.files)
    for taken in let_on:
        taken.end(70)

    await settled(server, hosts, host.records)

    assert balance(server)[0] == 30 + 4 * 70


async def test_what_a_lease_did_not_use_is_not_the_hosts_again(
    hosts: list[Host], server: RedisServer
) -> None:
    """It is free in Redis then, for whoever asks first."""
    host, _ = hosts
    await used(host)
    await host.cut()
    let_on = await spent_alone(host)
    await host.join()
    for taken in let_on:
        taken.end(10)
    await host.cut()

    # The share may have grown while the wire broke; the host hears of that later.
    left = shares(server).get("a", 0)
    assert len(await spent_alone(host)) <= left // COST


async def test_a_request_that_used_more_than_it_held_leaves_a_debt(
    hosts: list[Host], server: RedisServer
) -> None:
    host, _ = hosts
    await used(host)
    await host.cut()
    taken = await host.workers[0].take(COST, "large", LIMIT)
    assert taken is not None
    taken.end(5 * SHARE)
    await asyncio.sleep(0)

    assert not await spent_alone(host)
    await host.join()
    await settled(server, hosts, host.records)
    assert balance(server)[0] == 5 * SHARE


async def test_g12_a_host_crashes_in_an_outage(hosts: list[Host], server: RedisServer) -> None:
    """What it let on and recorded is charged at its next start, and its share is free."""
    host, other = hosts
    await used(host)
    await host.cut()
    let_on = await spent_alone(host)
    let_on[0].end(40)
    let_on[1].end(100)
    host.crash()
    assert balance(server) == (0, held := shares(server)["a"])
    # Meanwhile the others cannot have it.
    assert await other.workers[0].take(LIMIT - held + 1, "all", LIMIT) is None

    await host.start()

    assert balance(server) == (140, 0)
    assert not logs(host.files)
    await settled(server, hosts, host.records)


async def test_a_host_crashes_between_the_lease_and_the_charge(
    hosts: list[Host], server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is gone once there is a lease, so it counts once."""
    host, _ = hosts
    await used(host)
    await host.cut()
    first, second, *_ = await spent_alone(host)
    first.end(40)
    host.records.used[second.request] = 60
    monkeypatch.setattr(AloneLog, "remove", lambda log, files: host.crash())
    await host.proxy.accept()
    await host.until(lambda: not host.workers)
    assert server.call("HLEN", OWNER + first.worker.member.encode())
    assert logs(host.files)

    monkeypatch.undo()
    await host.start()

    assert balance(server) == (100, 0)
    assert not logs(host.files)


async def test_g02_redis_is_wiped_in_an_outage(hosts: list[Host], server: RedisServer) -> None:
    host, other = hosts
    for each in hosts:
        await used(each)
    server.stop()
    for each in hosts:
        await each.until(lambda each=each: not any(w.counters.link for w in each.workers))  # type: ignore[misc]
    let_on = [*await spent_alone(host), *await spent_alone(other)]
    assert 8 <= len(let_on) <= 10
    for taken in let_on[::2]:
        taken.end(90)
    server.start()
    for each in hosts:
        await each.until(lambda each=each: all(w.counters.link for w in each.workers))  # type: ignore[misc]

    left = LIMIT - sum(90 if number % 2 == 0 else COST for number in range(len(let_on)))
    assert await other.workers[0].take(left + 1, "too much", LIMIT) is None
    for taken in let_on[1::2]:
        taken.end(80)
    await settled(server, hosts, host.records)


async def test_shares_are_given_up_before_a_request_is_refused(
    hosts: list[Host], server: RedisServer
) -> None:
    """A host's own at once, another's when it looks at it."""
    host, other = hosts
    for each in hosts:
        await used(each)
    theirs = shares(server)["b"]

    most = await host.workers[1].take(LIMIT - theirs, "most", LIMIT)

    assert most is not None
    assert await host.workers[0].take(1, "held", LIMIT) is None
    await other.tick()
    await other.tick()
    assert shares(server) == {}
    assert await host.workers[0].take(theirs, "rest", LIMIT) is not None


async def test_a_small_budget_has_no_share(hosts: list[Host], server: RedisServer) -> None:
    """A share would be more than 5 % of it."""
    host, _ = hosts
    taken = await host.workers[0].take(COST, "r", 39 * COST)
    assert taken is not None
    taken.end(0)
    await host.tick()

    assert shares(server) == {}


async def test_a_share_that_nobody_uses_is_given_back(
    hosts: list[Host], server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _ = hosts
    await used(host)
    monkeypatch.setattr(redis_shares, "IDLE_S", -1.0)

    await host.tick()

    assert shares(server) == {}
    assert balance(server) == (0, 0)


async def test_shares_are_given_back_at_the_end(hosts: list[Host], server: RedisServer) -> None:
    host, _ = hosts
    await used(host)

    await host.stop()

    assert balance(server) == (0, 0)
    host.workers = []


async def test_a_host_that_never_comes_back(
    hosts: list[Host], server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops spending before its share is free."""
    host, other = hosts
    await used(host)
    await host.cut()
    monkeypatch.setattr(redis_shares, "SPEND_S", -1.0)
    assert not await spent_alone(host)
    monkeypatch.setattr(redis_shares, "GONE_S", 0.0)
    await asyncio.sleep(0.01)
    other.workers[0].counters.shares._ticks = 0

    await other.tick()

    assert balance(server) == (0, 0)


async def test_nothing_is_let_on_that_cannot_be_written_down(hosts: list[Host]) -> None:
    host, _ = hosts
    await used(host)
    await host.cut()
    host.files.parent.mkdir(exist_ok=True)
    host.files.write_text("not a directory")

    assert not await spent_alone(host)

    host.files.unlink()
    assert len(await spent_alone(host)) == SHARE // COST


async def test_an_answer_that_was_lost_changes_a_share_once(hosts: list[Host], server: RedisServer) -> None:
    """The share grew in Redis when the wire broke: the host has as much when it is back."""
    host, _ = hosts
    (worker, _) = host.workers
    taken = await worker.take(COST, "r", LIMIT)
    assert taken is not None
    taken.end(0)
    host.proxy.delay_s = 0.3
    assert worker.counters.link is not None
    worker.counters.shares.tick(worker.counters.link)
    await host.until(lambda: bool(shares(server)))
    held = shares(server)["a"]
    host.proxy.cut()
    host.proxy.delay_s = 0.0
    await host.cut()
    await host.join()
    await host.tick()
    await host.cut()

    assert len(await spent_alone(host)) == held // COST
    await host.join()


async def test_a_worker_is_killed_in_an_outage(server: RedisServer, tmp_path: Path) -> None:
    """Its requests hold what they may have used, until its records say what they did."""
    path = tmp_path / "counters"
    supervisor = HostCounters.create(path, 3, Clock(steady_ns, 0))
    views = {index: HostCounters.attach(path, index) for index in range(2)}
    host = Host(server, "a", tmp_path, Records())
    host.local = lambda index: views[index]
    await host.start()
    await used(host)
    await host.cut()
    let_on = await spent_alone(host)
    first, second = host.workers
    [taken.end(COST // 2) for taken in let_on if taken.worker is second]
    for taken in let_on:
        if taken.worker is first:
            host.records.used[taken.request] = 10
    first.crash()
    for one in supervisor.abandoned(0):
        charges = {claim.key: claim.cost for claim in one.claims}
        supervisor.release(0, one.request_id, charges, charges)
    host.workers = [second]
    # What the other one gave back is there; what the dead one's took is not.
    left = shares(server)["a"] - len(let_on) * COST
    left += sum(COST // 2 for taken in let_on if taken.worker is second)
    again = await spent_alone(host)
    assert len(again) == left // COST
    await host.join()
    redis = BlockingRedis(server.parsed())
    adopt(redis, host.files, "a", f"0-{first.pid}")
    release(redis, first.member.encode(), host.charged, exactly=True)
    redis.close()
    for taken in again:
        taken.end(COST)

    await settled(server, [host], host.records)

    await host.stop()
    for view in (supervisor, *views.values()):
        view.close()


@pytest.mark.parametrize("seed", range(8))
async def test_no_budget_is_exceeded_whatever_happens(server: RedisServer, tmp_path: Path, seed: int) -> None:
    """Outages of each host, crashes and late answers at random; what was used is what Redis says."""
    hand = random.Random(seed)
    limit = hand.choice([3_000, 10_000, 30_000])
    records = Records()
    hosts = [Host(server, name, tmp_path, records) for name in ("a", "b")]
    for host in hosts:
        await host.start()
    # A record of what a host let on while it is cut off would count until it says so, and then again.
    for host in hosts:
        host.sees = hosts
    away = dict.fromkeys(hosts, False)
    under_way: list[Taken] = []
    let_on_alone = 0

    async def ask(host: Host) -> None:
        nonlocal let_on_alone
        if host.workers:
            worker = hand.choice(host.workers)
            cost = hand.randint(1, 60)
            taken = await worker.take(cost, f"{len(records.used)}-{hand.random()}", limit)
            if taken is not None:
                let_on_alone += bool(taken.verdict.degraded)
                under_way.append(taken)

    for _ in range(40):
        host = hand.choice(hosts)
        what = hand.random()
        for _ in range(hand.randint(1, 30)):
            await ask(hand.choice(hosts))
        for taken in hand.sample(under_way, len(under_way) // 2):
            under_way.remove(taken)
            taken.end(hand.choice([0, taken.claim.cost // 3, taken.claim.cost]))
        if what < 0.2 and not away[host]:
            await host.cut()
            away[host] = True
        elif what < 0.5 and away[host]:
            await host.join()
            away[host] = False
        elif what < 0.6:
            host.crash()
            under_way = [taken for taken in under_way if taken.worker.host is not host]
            await host.start()
            away[host] = False
        elif what < 0.8:
            await host.tick()
        held = sum(taken.claim.cost for taken in under_way)
        assert records.spent() + held <= limit, seed
    for host in hosts:
        if away[host]:
            await host.join()
    for taken in under_way:
        taken.end(taken.claim.cost)
    await settled(server, hosts, records)
    assert records.spent() <= limit
    for host in hosts:
        await host.stop()
    assert balance(server) == (records.spent(), 0)
