"""What people see of the counters in Redis, and how they are made ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmgw.config.redis_url import RedisUrl
from llmgw.core.claim import BALANCE, CONCURRENCY, FIXED_WINDOW, Claim, Step
from llmgw.core.errors import Unavailable
from llmgw.stores.alone_log import AloneLog, AloneTake
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.redis_blocking import BlockingRedis
from llmgw.stores.redis_claims import EPOCH, OWNER, OWNERS, Codec, counter_key
from llmgw.stores.redis_script import ACQUIRE
from llmgw.stores.redis_view import RedisView, adopt, check, enter, release, seed
from tests.contracts.counters import START, claim, rule
from tests.fakes.redis import RedisServer, redis_server

OFFSET_NS = 1_700_000_000_000_000_000
UNTIL_US = 4_000_000_000_000_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def redis(server: RedisServer) -> Iterator[BlockingRedis]:
    connection = BlockingRedis(server.parsed(), 5.0)
    enter(connection, {})
    yield connection
    connection.close()


def at_once(work: Callable[[], list[Step]]) -> list[Step]:
    return work()


def view(server: RedisServer, local: MemoryCounters | None = None) -> RedisView:
    return RedisView(server.parsed(), local or MemoryCounters(lambda: START), OFFSET_NS, at_once)  # type: ignore[arg-type]


def hold(redis: BlockingRedis, owner: bytes, request: str, key: str, amount: int) -> None:
    """What a worker's request holds of a balance."""
    codec = Codec(owner, 0)
    codec.epoch = redis.call("GET", EPOCH)
    asked = Claim(rule(BALANCE), key, amount, UNTIL_US * 1_000)
    redis.script(ACQUIRE, *codec.words([asked], request, dry=False))
    redis.call("SADD", OWNERS, owner)


def test_balances_are_listed_with_what_is_held(server: RedisServer, redis: BlockingRedis) -> None:
    seed(redis, {"quota|a": (30, UNTIL_US), "quota|b": (5, UNTIL_US)})
    hold(redis, OWNER + b"h:0:1", "r", "quota|a", 20)

    seen = view(server)

    assert sorted(seen.balances()) == [("quota|a", 30, 20), ("quota|b", 5, 0)]
    assert seen.balance("quota|a") == (30, 20)
    assert seen.balance("quota|nobody") == (0, 0)


def test_limits_are_looked_at_where_they_are_counted(server: RedisServer, redis: BlockingRedis) -> None:
    """A place among the requests under way on the host, the rest in Redis."""
    local = MemoryCounters(lambda: START)
    place, window = claim(CONCURRENCY), claim(FIXED_WINDOW, 0)
    local.acquire([place], "r")
    asked = [Claim(place.rule, place.key, 0), window]

    steps = view(server, local).peek(asked)

    assert [remaining for _, remaining, _ in steps] == [99, 100]


async def test_a_redis_that_does_not_answer_keeps_only_who_asks() -> None:
    """Half a second, and the loop goes on meanwhile."""
    taken: list[asyncio.StreamWriter] = []
    quiet = await asyncio.start_server(lambda reader, writer: taken.append(writer), "127.0.0.1", 0)
    port = quiet.sockets[0].getsockname()[1]
    seen = RedisView(RedisUrl("single", (("127.0.0.1", port),)), MemoryCounters(lambda: 0), 0, at_once)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    turning = asyncio.create_task(turn())
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="does not answer"):
        await asyncio.to_thread(seen.balance, "quota|a")
    turning.cancel()
    quiet.close()
    for writer in taken:
        writer.transport.abort()
    await asyncio.sleep(0.01)

    assert time.monotonic() - begun < 3
    assert turns > 10


def test_an_error_is_told_as_one_line(server: RedisServer, redis: BlockingRedis) -> None:
    server.call("DEL", EPOCH)

    with pytest.raises(Unavailable, match=r"refuses: EPOCH"):
        view(server).peek([claim(FIXED_WINDOW)])


def test_f12_nothing_is_less_than_the_ledger_says(redis: BlockingRedis) -> None:
    seed(redis, {"quota|a": (30, UNTIL_US)})

    seed(redis, {"quota|a": (20, UNTIL_US), "quota|b": (7, UNTIL_US)})

    assert redis.call("EXISTS", counter_key("quota|b")) == 1
    hold(redis, b"o", "r", "quota|a", 70)
    assert redis.call("HLEN", b"o") == 1


def test_an_epoch_is_entered_once(redis: BlockingRedis) -> None:
    epoch = redis.call("GET", EPOCH)

    enter(redis, {"quota|a": (1, UNTIL_US)})

    assert redis.call("GET", EPOCH) == epoch


def test_m09_a_redis_that_may_forget(server: RedisServer, redis: BlockingRedis) -> None:
    assert check(redis, server.parsed()) == []
    server.call("CONFIG", "SET", "maxmemory", "100mb")
    server.call("CONFIG", "SET", "maxmemory-policy", "volatile-lru")

    (warning,) = check(redis, server.parsed())

    assert "volatile-lru" in warning
    assert "noeviction" in warning


def test_a_replica_is_no_place_to_count(server: RedisServer, redis: BlockingRedis) -> None:
    server.call("REPLICAOF", "127.0.0.1", 1)

    with pytest.raises(Unavailable, match="name the master"):
        check(redis, server.parsed())


def test_what_the_dead_held_is_charged_once(server: RedisServer, redis: BlockingRedis) -> None:
    """That of the named ones only, and with what the records say."""
    for owner in ("a:0:1", "a:0:12", "b:0:1"):
        hold(redis, OWNER + owner.encode(), f"r-{owner}", "quota|a", 20)

    for _ in range(2):
        release(redis, b"a:0:1", lambda request, key: (7, UNTIL_US), exactly=True)
    assert view(server).balance("quota|a") == (7, 40)

    release(redis, b"a:", lambda request, key: (0 if request == "r-a:0:12" else 99, UNTIL_US))
    assert view(server).balance("quota|a") == (7, 20)


def test_what_the_dead_let_on_without_redis_gets_a_lease(
    server: RedisServer, redis: BlockingRedis, tmp_path: Path
) -> None:
    """Of the share of their host, as far as there is one; the files are gone then."""
    files = tmp_path / "shares"
    share = OWNER + b"a:share"
    hold(redis, share, "share-1", "quota|a", 50)
    take = AloneTake("r", "share-1", "quota|a", 30, UNTIL_US)
    AloneLog(files, "0-7").took([take, take._replace(request="s")])

    adopt(redis, files, "a")

    assert view(server).balance("quota|a") == (0, 60)
    assert list(files.iterdir()) == []
    charged: list[tuple[str, str]] = []

    def charge(request: str, key: str) -> tuple[int, int]:
        charged.append((request, key))
        return 25, UNTIL_US

    release(redis, b"a:0:7", charge, exactly=True)
    assert sorted(charged) == [("r", "quota|a"), ("s", "quota|a")]
    assert view(server).balance("quota|a") == (50, 0)
