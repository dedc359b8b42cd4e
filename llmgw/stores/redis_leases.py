"""What requests hold of balances in Redis, of every process of every host. Blocking."""

from __future__ import annotations

from collections.abc import Iterator

from llmgw.stores.redis_blocking import BlockingRedis
from llmgw.stores.redis_claims import ALONE, COUNTER, OWNERS


def leases(redis: BlockingRedis) -> Iterator[tuple[str, str]]:
    """Request and key of each lease: what the request used is not in the balance yet, and will be."""
    for owner in redis.call("SMEMBERS", OWNERS):
        for field in redis.call("HKEYS", owner):
            request_id, _, place = field.decode("utf-8", "surrogatepass").partition("|")
            yield request_id.removesuffix(ALONE), place.removeprefix(COUNTER.decode())
