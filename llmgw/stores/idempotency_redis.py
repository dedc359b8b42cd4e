"""Keyed requests of all hosts, in Redis: one script a step, each one round trip.

A value is `w` while its request is under way and `d` once it is answered, then the token, the
fingerprint and the answer. What becomes of it after its time is Redis's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from llmgw.core.errors import Unavailable
from llmgw.ports.idempotency import LEASE_S, Found, Held
from llmgw.stores.redis_blocking import RedisRefusal
from llmgw.stores.redis_link import Late, Link, Lost

SPACE = b"idempotency:{limits}:"
"""In the slot of the counters, so that a cluster keeps both where the link goes."""
_KEEP_S = 1.0
_LEASE_MS = int(LEASE_S * 1000)
_UNDER_WAY, _DONE = b"w", b"d"
_TOKEN = 16
_FINGERPRINT = 32
_ANSWER_AT = 1 + _TOKEN + _FINGERPRINT

_CLAIM = """
local kept = redis.call('GET', KEYS[1])
if kept then return kept end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
"""
_RENEW = """
for at = 1, #KEYS do
  if redis.call('GETRANGE', KEYS[at], 0, 16) == 'w' .. ARGV[1 + at] then
    redis.call('PEXPIRE', KEYS[at], ARGV[1])
  end
end
return 1
"""
_KEEP = """
local kept = redis.call('GETRANGE', KEYS[1], 0, 16)
if kept ~= '' and string.sub(kept, 2) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_FREE = """
if redis.call('GETRANGE', KEYS[1], 0, 16) == 'w' .. ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""


class RedisIdempotency:
    """Implements `ports.idempotency.IdempotencyStore` for one process.

    link: the connection, None while Redis cannot be used. budget_s: how long a claim may take.
    """

    def __init__(self, link: Callable[[], Link | None], budget_s: float) -> None:
        self._link = link
        self._budget_s = budget_s

    async def claim(self, held: Held) -> Found | None:
        value = _UNDER_WAY + held.token + held.fingerprint
        try:
            kept = await self._run(_CLAIM, [_key(held.name)], [value, _LEASE_MS], self._budget_s)
        except Unavailable:
            # It may have been taken all the same, and nobody would go on with it.
            self._forget(held)
            raise
        if not isinstance(kept, bytes):
            return None
        fingerprint = kept[1 + _TOKEN : _ANSWER_AT]
        return Found(fingerprint, kept[_ANSWER_AT:] if kept[:1] == _DONE else None)

    async def renew(self, held: Sequence[Held]) -> None:
        keys = [_key(one.name) for one in held]
        await self._run(_RENEW, keys, [_LEASE_MS, *(one.token for one in held)], _KEEP_S)

    async def keep(self, held: Held, answer: bytes, ttl_s: float) -> bool:
        value = b"".join((_DONE, held.token, held.fingerprint, answer))
        kept = await self._run(_KEEP, [_key(held.name)], [held.token, value, int(ttl_s * 1000)], _KEEP_S)
        return kept == 1

    async def free(self, held: Held) -> None:
        await self._run(_FREE, [_key(held.name)], [held.token], _KEEP_S)

    async def sweep(self) -> bool:
        return False  # Redis does it.

    async def close(self) -> None:
        """The link is somebody else's."""

    def _forget(self, held: Held) -> None:
        link = self._link()
        if link is not None:
            # Behind the claim on the same connection, so it comes after it.
            asked = link.call("EVAL", _FREE, 1, _key(held.name), held.token, within_s=_KEEP_S)
            asked.add_done_callback(asyncio.Future.exception)

    async def _run(
        self, script: str, keys: Sequence[bytes], arguments: Sequence[bytes | int], within_s: float
    ) -> object:
        link = self._link()
        if link is None:
            raise _unavailable("there is no link to Redis")
        try:
            return await link.call("EVAL", script, len(keys), *keys, *arguments, within_s=within_s)
        except (RedisRefusal, Late, Lost) as error:
            raise _unavailable(str(error)) from error


def _key(name: str) -> bytes:
    return SPACE + name.encode()


def _unavailable(why: str) -> Unavailable:
    return Unavailable(
        "idempotency keys cannot be looked up at the moment. Please retry shortly.",
        detail=why,
        retry_after_s=1,
    )
