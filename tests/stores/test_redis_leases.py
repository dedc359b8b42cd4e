"""What requests hold in Redis, told apart from what they used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from llmgw.core.claim import BALANCE, FIXED_WINDOW
from llmgw.stores.redis_blocking import BlockingRedis
from llmgw.stores.redis_claims import ALONE, OWNER, OWNERS, Codec, counter_key
from llmgw.stores.redis_leases import leases
from llmgw.stores.redis_script import ACQUIRE, SETTLE
from llmgw.stores.redis_view import enter
from tests.contracts.counters import claim
from tests.fakes.redis import redis_server


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[BlockingRedis]:
    with redis_server(tmp_path) as server, closing(BlockingRedis(server.parsed())) as made:
        enter(made, {})
        yield made


def test_those_of_every_process_until_they_are_charged(redis: BlockingRedis) -> None:
    budget, limit = claim(BALANCE, 10), claim(FIXED_WINDOW)
    codecs = []
    for member in (b"a:0:1", b"b:3:7"):
        codec = Codec(OWNER + member, 0)
        codec.epoch = redis.call("GET", b"llmgw:{limits}:epoch")
        redis.call("SADD", OWNERS, codec.owner)
        redis.script(ACQUIRE, *codec.words([budget, limit], f"r-{member[:1].decode()}", dry=False))
        codecs.append(codec)
    assert sorted(leases(redis)) == [("r-a", budget.key), ("r-b", budget.key)]

    redis.script(SETTLE, *codecs[0].settle_words([(budget, 7, 0, "r-a", True)]))

    assert list(leases(redis)) == [("r-b", budget.key)]


def test_a_request_that_was_decided_alone_has_its_own_name(redis: BlockingRedis) -> None:
    redis.call("SADD", OWNERS, OWNER + b"a:0:1")
    redis.call("HSET", OWNER + b"a:0:1", b"r1%b|%b" % (ALONE.encode(), counter_key("quota|acme")), 5)

    assert list(leases(redis)) == [("r1", "quota|acme")]
