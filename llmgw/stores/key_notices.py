"""Tells every worker of every host that issued keys changed, by Redis's pub/sub.

Whoever changes a key tells of it after the commit. Pub/sub loses what nobody hears, so a worker
that begins to listen looks once, and goes on looking now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from llmgw.config.redis_url import RedisUrl
from llmgw.core.errors import Unavailable
from llmgw.ports.stores import IssuedKey, KeyRegistry
from llmgw.stores.redis_blocking import RedisRefusal, with_redis
from llmgw.stores.redis_link import Late, Link, Lost, Subscription, connect

CHANNEL = "llmgw:keys"
_PROBE_S = 1.0
_PAUSE_S = 0.5
_TELL_S = 0.5


class RedisKeyNotices:
    """Implements `ports.stores.KeyNotices`."""

    def __init__(self, url: RedisUrl) -> None:
        self.heard = 0
        self.listening = False
        self._url = url

    async def listen(self, changed: Callable[[], None]) -> None:
        while True:
            # Whatever it is, whoever wants to know looks more often until this listens again.
            with suppress(OSError, Unavailable, RedisRefusal, Late, Lost):
                await self._listen(changed)
            await asyncio.sleep(_PAUSE_S)

    async def _listen(self, changed: Callable[[], None]) -> None:
        """Listen until the connection is gone, or silent for a second."""
        loop = asyncio.get_running_loop()

        def told() -> None:
            self.heard += 1
            changed()

        gone = asyncio.Event()
        link: Link = await connect(self._url, lambda: Subscription(loop, told))
        link.lost = gone.set
        try:
            await link.call("SUBSCRIBE", CHANNEL)
            self.listening = True
            # What was told while nobody listened.
            changed()
            while not gone.is_set():
                await link.call("PING")
                await _either(gone, _PROBE_S)
        finally:
            self.listening = False
            link.abort()


class ToldRegistry:
    """A `ports.stores.KeyRegistry` that calls `changed` after each change."""

    def __init__(self, registry: KeyRegistry, changed: Callable[[], None]) -> None:
        self._registry = registry
        self._changed = changed

    def add(self, key: IssuedKey) -> None:
        self._registry.add(key)
        self._changed()

    def get(self, key_id: str) -> IssuedKey | None:
        return self._registry.get(key_id)

    def list(self, tenant: str | None = None) -> Sequence[IssuedKey]:
        return self._registry.list(tenant)

    def replace(self, key_id: str, successor: IssuedKey, expires_at: int) -> bool:
        done = self._registry.replace(key_id, successor, expires_at)
        if done:
            self._changed()
        return done

    def revoke(self, key_id: str, at: int) -> bool:
        done = self._registry.revoke(key_id, at)
        if done:
            self._changed()
        return done


def tell_changed(url: RedisUrl) -> None:
    """Tell whoever listens. Blocking, for half a second a node at most.

    A Redis that cannot be told keeps no key alive: gateways look at the key store all the same.
    """
    with suppress(Unavailable, RedisRefusal):
        with_redis(url, lambda redis: redis.call("PUBLISH", CHANNEL, "changed"), _TELL_S)


async def _either(told: asyncio.Event, within_s: float) -> None:
    """Wait for it, but only so long."""
    try:
        async with asyncio.timeout(within_s):
            await told.wait()
    except TimeoutError:
        return
