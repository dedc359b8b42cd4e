"""The counters in Redis for people who ask, and for making them ready. Blocking: not for requests."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from struct import Struct as Packing
from typing import TypeVar

from llmgw.config.redis_url import RedisUrl
from llmgw.core.claim import BALANCE, CONCURRENCY, Claim, Rule, Step
from llmgw.core.errors import Unavailable
from llmgw.ports.counters import CounterStore
from llmgw.stores.alone_log import logs, read
from llmgw.stores.redis_blocking import BlockingRedis, RedisRefusal, with_redis
from llmgw.stores.redis_claims import (
    ALONE,
    COUNTER,
    EPOCH,
    NEXT,
    OWNER,
    OWNERS,
    SHARE_OWNER,
    Codec,
    counter_key,
)
from llmgw.stores.redis_script import ACQUIRE, ENTER, FINISH, KINDS, SEED, SETTLE
from llmgw.stores.redis_share_script import ADOPT

_T = TypeVar("_T")

_AT_ONCE = 500
_ASKED_S = 0.5
_OLDEST = 5
_SEEDED_WITHIN_S = 15.0
_LOOK_S = 0.05
_BALANCE = float(KINDS[BALANCE])
_ENDED = Rule(name="ended", counts="", algorithm=BALANCE, unit="", limit=0)

Balances = Mapping[str, tuple[int, int]]
"""Spent, and the end of the period in UTC microseconds, by key."""


class RedisView:
    """What commands ask of the counters, in a thread of their own: it waits.

    local: the host's. on_loop: has something done in the thread that those belong to.
    utc_offset_ns: the counters' clock's.
    """

    def __init__(
        self,
        url: RedisUrl,
        local: CounterStore,
        utc_offset_ns: int,
        on_loop: Callable[[Callable[[], list[Step]]], list[Step]],
    ) -> None:
        self._url = url
        self._local = local
        self._on_loop = on_loop
        self._codec = Codec(OWNER + b"view", utc_offset_ns)
        self._seen: dict[str, tuple[int, int]] = {}
        self._seen_at = 0.0

    def peek(self, claims: Sequence[Claim]) -> list[Step]:
        """What each claim alone would do. Raises Unavailable."""

        def look(redis: BlockingRedis) -> list[Step]:
            self._codec.epoch = redis.call("GET", EPOCH) or b""
            steps: list[Step] = []
            for claim in claims:
                if claim.rule.algorithm == CONCURRENCY:
                    steps += self._on_loop(partial(self._local.peek, [claim]))
                    continue
                keys, arguments = self._codec.words([claim], "", dry=True)
                steps += self._codec.verdict([claim], redis.script(ACQUIRE, keys, arguments)).steps
            return steps

        return self._asked(look)

    def balance(self, key: str) -> tuple[int, int]:
        """Spent and held of one balance. Raises Unavailable."""
        return self._all().get(key, (0, 0))

    def balances(self) -> Iterable[tuple[str, int, int]]:
        """Key, spent and held of every balance. Raises Unavailable."""
        self._seen_at = 0.0
        return [(key, spent, held) for key, (spent, held) in self._all().items()]

    def _all(self) -> dict[str, tuple[int, int]]:
        if time.monotonic() - self._seen_at > _ASKED_S:
            self._seen = self._asked(lambda redis: dict(_balances(redis)))
            self._seen_at = time.monotonic()
        return self._seen

    def _asked(self, work: Callable[[BlockingRedis], _T]) -> _T:
        try:
            return with_redis(self._url, work, _ASKED_S)
        except RedisRefusal as refusal:
            raise Unavailable(f"Redis at {self._url.where} refuses: {str(refusal)[:120]}") from refusal


def counters(redis: BlockingRedis) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Key and state of every counter; the last number says of which kind it is."""
    cursor = b"0"
    while True:
        cursor, found = redis.call("SCAN", cursor, "MATCH", COUNTER + b"*", "COUNT", 1_000)
        values = redis.call("MGET", *found) if found else []
        for key, value in zip(found, values, strict=True):
            if value is not None:
                name = key.removeprefix(COUNTER).decode("utf-8", "surrogatepass")
                yield name, Packing(f"<{len(value) // 8}d").unpack(value)
        if cursor == b"0":
            return


def _balances(redis: BlockingRedis) -> Iterator[tuple[str, tuple[int, int]]]:
    for key, state in counters(redis):
        if state[-1] == _BALANCE:
            yield key, (int(state[0]), int(state[1]))


def check(redis: BlockingRedis, url: RedisUrl) -> list[str]:
    """What people should know of this server. Raises Unavailable when nothing can be counted there."""
    facts = dict(line.split(":", 1) for line in redis.call("INFO").decode().splitlines() if ":" in line)
    version = facts.get("redis_version", "0")
    if int(version.split(".")[0]) < _OLDEST:
        raise Unavailable(f"Redis at {url.where} is version {version}; llmgw needs {_OLDEST} or newer")
    if facts.get("role") not in (None, "master"):
        raise Unavailable(f"Redis at {url.where} is a replica, which takes no writes; name the master")
    try:
        redis.call("EVAL", "return 1", 0)
    except RedisRefusal as refusal:
        raise Unavailable(
            f"Redis at {url.where} runs no scripts ({str(refusal)[:80]}); llmgw counts with EVAL and "
            "EVALSHA, so allow them to the user of storage.redis"
        ) from refusal
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and facts.get("maxmemory", "0") != "0":
        return [
            f"Redis at {url.where} may evict counters of limits and quotas (maxmemory-policy {policy}); "
            "set maxmemory-policy noeviction, or give llmgw a Redis of its own"
        ]
    return []


def enter(redis: BlockingRedis, sums: Balances) -> None:
    """See that there is an epoch, and that no balance in it is below `sums`. Raises Unavailable."""
    server = _run_id(redis)
    until = time.monotonic() + _SEEDED_WITHIN_S
    while True:
        candidate = f"{server}/{secrets.token_hex(8)}"
        how, found = redis.script(ENTER, [EPOCH, NEXT], [server, candidate])
        if how == b"live":
            seed(redis, sums)
            return
        if how == b"lead":
            seed(redis, sums)
            redis.script(FINISH, [EPOCH, NEXT], [found])
        elif time.monotonic() > until:
            raise Unavailable("another llmgw has been making the counters in Redis ready for too long")
        else:
            time.sleep(_LOOK_S)


def seed(redis: BlockingRedis, sums: Balances) -> None:
    """Make every balance at least what the ledger says was spent."""
    items = list(sums.items())
    for first in range(0, len(items), _AT_ONCE):
        part = items[first : first + _AT_ONCE]
        numbers = [number for _, (spent, until) in part for number in (spent, until)]
        redis.script(SEED, [counter_key(key) for key, _ in part], numbers)


def release(
    redis: BlockingRedis,
    owners: bytes,
    charge: Callable[[str, str], tuple[int, int]],
    *,
    exactly: bool = False,
) -> None:
    """Turn what dead processes hold into what their records say.

    owners: whose name begins so, or is exactly that. charge: of a request and a key, what was used
    and when the period ends in UTC microseconds.
    """
    codec = Codec(b"", 0)
    for owner in redis.call("SMEMBERS", OWNERS):
        name = owner.removeprefix(OWNER)
        if not (name == owners if exactly else name.startswith(owners)):
            continue
        codec.owner = owner
        codec.epoch = redis.call("GET", EPOCH) or b""
        held = redis.call("HGETALL", owner)
        for field, amount in zip(held[::2], held[1::2], strict=True):
            written, _, place = field.decode("utf-8", "surrogatepass").partition("|")
            request = written.removesuffix(ALONE)
            key = place.removeprefix(COUNTER.decode())
            used, until_us = charge(request, key)
            claim = Claim(_ENDED, key, int(amount), until_us * 1_000)
            keys, arguments = codec.settle_words([(claim, used, 0, written, True)])
            redis.script(SETTLE, keys, arguments)
        redis.call("SREM", OWNERS, owner)


def adopt(redis: BlockingRedis, directory: Path, host: str, name: str = "*") -> None:
    """Have Redis hold leases for what dead processes let on from this host's shares.

    name: of one process, `index-pid`. Before `release`, which charges them.
    """
    share = OWNER + host.encode() + SHARE_OWNER
    for process, file in logs(directory, name):
        owner = OWNER + f"{host}:{process.replace('-', ':')}".encode()
        keys: dict[bytes, int] = {}
        words: list[bytes | str | int] = []
        for take in read(file):
            key = counter_key(take.key)
            place = keys.setdefault(key, len(keys) + 1)
            field = f"{take.request}{ALONE}|".encode() + key
            words += [field, take.tag, place, take.amount, take.until_us]
        redis.script(ADOPT, [b"", b"", share, owner, OWNERS, *keys], ["", "", "", "", *words])
        # First, so that what is charged is in no file.
        file.unlink()


def time_us(redis: BlockingRedis) -> int:
    """Redis's own clock: UTC microseconds."""
    seconds, micros = redis.call("TIME")
    return int(seconds) * 1_000_000 + int(micros)


def _run_id(redis: BlockingRedis) -> str:
    text: str = redis.call("INFO", "server").decode()
    return next(line for line in text.splitlines() if line.startswith("run_id:"))[7:].strip()
