"""Answers kept in Redis, for all hosts: on a connection of its own, so that no decision waits for them.

All keys are in one slot of a cluster, and none is a limit's. Each entry has its time to live; what
they take together is bounded by a sum kept beside them, and those that end soonest go first.

A Redis that is away, slow or full is no error: nothing is found there, and nothing kept.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from llmgw.config.redis_url import RedisUrl
from llmgw.core.errors import Unavailable
from llmgw.ports.cache import CacheKey, Found, Kept
from llmgw.stores.cache_entry import sealed, unsealed
from llmgw.stores.cache_memory import SECRET_BYTES
from llmgw.stores.redis_blocking import RedisRefusal
from llmgw.stores.redis_claims import command
from llmgw.stores.redis_link import Late, Link, Lost, connect
from llmgw.stores.redis_script import digest_of

SPACE: Final = b"llmgw:{cache}:"
"""Apart from `redis_claims.SPACE`, which is what is counted."""
SECRET = SPACE + b"secret"
ORDER = SPACE + b"order"
TOTAL = SPACE + b"bytes"
_PUT_S = 1.0
_UNSENT_BYTES = 8 * 1024 * 1024
_LATE_IN_A_ROW = 8
_BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)
_STEADY_S = 10.0

PUT = """
local order, total = KEYS[2], KEYS[3]
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local ttl_ms, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local function forget(member)
  redis.call('ZREM', order, member)
  redis.call('DECRBY', total, string.match(member, ':(%d+)$'))
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', order, '-inf', now_ms, 'LIMIT', 0, 64)) do
  forget(member)
end
local member = ARGV[4] .. ':' .. #ARGV[1]
redis.call('SET', KEYS[1], ARGV[1], 'PX', ttl_ms)
if redis.call('ZADD', order, now_ms + ttl_ms, member) == 1 then
  redis.call('INCRBY', total, #ARGV[1])
end
local tries = 64
while tries > 0 and tonumber(redis.call('GET', total) or '0') > most do
  local first = redis.call('ZRANGE', order, 0, 0)[1]
  if not first then break end
  redis.call('UNLINK', ARGV[5] .. string.match(first, '^(.*):%d+$'))
  forget(first)
  tries = tries - 1
end
return redis.call('GET', total)
"""
_PUT_SHA = digest_of(PUT)

ERASE = """
for index = 2, #ARGV do
  if redis.call('ZREM', KEYS[1], ARGV[index]) == 1 then
    redis.call('UNLINK', ARGV[1] .. string.match(ARGV[index], '^(.*):%d+$'))
    redis.call('DECRBY', KEYS[2], string.match(ARGV[index], ':(%d+)$'))
  end
end
"""
_AT_ONCE = 200

Tell = Callable[[str, dict[str, object]], None]


class RedisCache:
    """Implements `ports.cache.CacheStore`. tell: told `cache_lost` and `cache_back`."""

    def __init__(self, url: RedisUrl, memory_bytes: int, tell: Tell) -> None:
        self.discarded = 0
        self.failed = 0
        self.size_bytes = 0
        self._url = url
        self._memory = memory_bytes
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._secret = b""
        self._late = 0
        self._unsent = 0
        self._gone = asyncio.Event()
        self._said_lost = False
        self._forgotten: frozenset[str] = frozenset()
        self._erasing: asyncio.Task[None] | None = None
        self._task = self._loop.create_task(self._run())

    @property
    def secret(self) -> bytes | None:
        return None if self._link is None else self._secret

    def get(self, key: CacheKey, found: Found) -> None:
        link = self._link
        if link is None:
            found(None)
            return
        question = _Get(self, self._secret, key, found, self._loop.time() + self._url.budget_s)
        link.ask(command("GET", _entry(key)), question)

    def put(self, key: CacheKey, value: bytes, ttl_s: float) -> None:
        link = self._link
        now = time.time()
        entry = sealed(self._secret, key, value, now, now + ttl_s) if link is not None else b""
        most = min(self._memory, _UNSENT_BYTES - self._unsent)
        if link is None or len(entry) > most:
            self.failed += 1
            return
        self._unsent += len(entry)
        ttl_ms = max(1, int(ttl_s * 1000))
        member = _name(key)
        words = (_PUT_SHA, 3, _entry(key), ORDER, TOTAL, entry, ttl_ms, self._memory, member, SPACE)
        link.ask(command("EVALSHA", *words), _Put(self, len(entry), self._loop.time() + _PUT_S))

    def forget(self, tenants: frozenset[str]) -> None:
        self._forgotten |= tenants
        if self._link is not None:
            self._erasing = self._loop.create_task(self._erase(self._link))

    def close(self) -> None:
        self._task.cancel()
        if self._erasing is not None:
            self._erasing.cancel()
        link, self._link = self._link, None
        if link is not None:
            link.abort()

    def answered(self) -> None:
        self._late = 0

    def sent(self, size: int, total: object) -> None:
        """What a put came to."""
        self._unsent -= size
        if isinstance(total, bytes):
            self.size_bytes = int(total)
        elif "OOM " in str(total):
            # There is no room; what is there can still be read.
            self.failed += 1
        else:
            self.refused(total)

    def refused(self, why: object) -> None:
        """Redis did not do what it was asked."""
        self.failed += 1
        if isinstance(why, Late):
            self._late += 1
        if not isinstance(why, Late) or self._late >= _LATE_IN_A_ROW:
            self._leave(str(why))

    def _leave(self, why: str) -> None:
        """Do without Redis until it is connected to again."""
        link, self._link = self._link, None
        if link is not None:
            self._say_lost(why)
            link.abort()
        self._gone.set()

    async def _run(self) -> None:
        tries = 0
        while True:
            link: Link | None = None
            since = self._loop.time()
            try:
                link = await connect(self._url, lambda: Link(self._loop), SECRET)
                await self._use(link)
            except (OSError, Unavailable, RedisRefusal, Late, Lost, TimeoutError) as error:
                self._say_lost(str(error) or type(error).__name__)
            finally:
                self._link = None
                if link is not None:
                    link.abort()
            tries = 0 if self._loop.time() - since > _STEADY_S else tries + 1
            await asyncio.sleep(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)])

    async def _use(self, link: Link) -> None:
        """Keep answers there until it is lost."""
        self._gone.clear()
        self._late = 0
        await link.call("SCRIPT", "LOAD", PUT)
        await link.call("SET", SECRET, secrets.token_bytes(SECRET_BYTES), "NX")
        secret = await link.call("GET", SECRET)
        if not isinstance(secret, bytes) or len(secret) != SECRET_BYTES:
            raise Lost("Redis does not keep what it is told")
        self._secret = secret
        link.lost = lambda: self._leave("the connection is gone")
        self._link = link
        if self._said_lost:
            self._tell("cache_back", {"where": self._url.where})
        self._said_lost = False
        if self._forgotten:
            await self._erase(link)
        await self._gone.wait()

    async def _erase(self, link: Link) -> None:
        """Remove what is kept for tenants that are gone, a little at a time. Begun again if it fails."""
        tenants = self._forgotten
        try:
            for tenant in tenants:
                cursor: bytes = b"0"
                while True:
                    words = ("ZSCAN", ORDER, cursor, "MATCH", _tenant(tenant) + b":*", "COUNT", _AT_ONCE)
                    found = await link.call(*words)
                    assert isinstance(found, list)
                    cursor, pairs = found
                    if pairs:
                        await link.call("EVAL", ERASE, 2, ORDER, TOTAL, SPACE, *pairs[::2])
                    if cursor == b"0":
                        break
        except (Late, Lost, RedisRefusal):
            # They end by themselves, if Redis does not come back.
            return
        self._forgotten -= tenants

    def _say_lost(self, why: str) -> None:
        if not self._said_lost:
            self._said_lost = True
            self._tell("cache_lost", {"error": why, "where": self._url.where})


class _Get:
    """A question for an entry."""

    def __init__(
        self, store: RedisCache, secret: bytes, key: CacheKey, found: Found, deadline: float
    ) -> None:
        self.deadline = deadline
        self.expired = False
        self._store = store
        self._secret = secret
        self._key = key
        self._found = found

    def answered(self, reply: object) -> None:
        if self.expired:
            return
        self._store.answered()
        if isinstance(reply, Exception):
            self._store.refused(reply)
        if not isinstance(reply, bytes):
            self._found(None)
            return
        entry = unsealed(self._secret, self._key, reply)
        now = time.time()
        if entry is None:
            self._store.discarded += 1
        if entry is None or now >= entry[2]:
            self._found(None)
            return
        self._found(Kept(entry[0], max(0.0, now - entry[1])))

    def failed(self, error: Exception) -> None:
        self._store.refused(error)
        self._found(None)


class _Put:
    """A value on its way."""

    def __init__(self, store: RedisCache, size: int, deadline: float) -> None:
        self.deadline = deadline
        self.expired = False
        self._store = store
        self._size = size

    def answered(self, reply: object) -> None:
        if not self.expired:
            self._store.answered()
            self._store.sent(self._size, reply)

    def failed(self, error: Exception) -> None:
        self._store.sent(self._size, error)


def _name(key: CacheKey) -> bytes:
    """Begins with the tenant, so that a tenant's entries can be told from others'."""
    return b"%b:%b" % (_tenant(key.tenant), key.digest.hex().encode())


def _tenant(name: str) -> bytes:
    return sha256(name.encode()).hexdigest()[:16].encode()


def _entry(key: CacheKey) -> bytes:
    return SPACE + _name(key)
