"""The keys of an issuer, renewed beside the requests that use them.

A request that finds them due starts a renewal and goes on with what there is. Only where none are in
force, or a token names one that is not among them, do requests wait, all for the one renewal
under way. An issuer that fails is asked again after one second, then two, up to thirty; meanwhile
the keys last seen stay in force for a grace. A token with a key that nobody knows makes the
issuer asked at most once in 30 s, whoever sends it and however often.

Facts: OpenID Connect Discovery 1.0, section 4.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from llmgw.auth.fetch import NoDocument, Source
from llmgw.auth.key_set import Key, KeySet, parse_key_set
from llmgw.config.issuers import JwtSettings
from llmgw.ports.transport import Transport

REST_S = 30.0
_FIRST_REST_S = 1.0

Trouble = Callable[[str, str | None], None]
"""Told an issuer and what is wrong with it, at the first failure in a row, and None at the end of it."""


class Keys(Protocol):
    """What proves an issuer's tokens.

    epoch: changes with the keys. fresh_until: monotonic seconds until which nothing need be asked.
    is_failing: the issuer did not answer when it was last asked.
    """

    @property
    def epoch(self) -> int: ...
    @property
    def fresh_until(self) -> float: ...
    @property
    def is_failing(self) -> bool: ...

    def in_force(self) -> bool:
        """Whether there are keys that may be used now. Begins a renewal that is due."""

    def find(self, kid: object, algorithm: str) -> Key | None:
        """The key that a token's header means."""

    def sought(self) -> asyncio.Future[None] | None:
        """A renewal to wait for; None when the issuer was asked too lately to be asked again."""


class SharedSecret:
    """Implements `Keys` by one secret."""

    epoch = 0
    fresh_until = math.inf
    is_failing = False

    def __init__(self, secret: bytes, algorithms: Collection[str]) -> None:
        self._key = Key(None, frozenset(algorithms), b"", secret)

    def in_force(self) -> bool:
        """Always."""
        return True

    def find(self, kid: object, algorithm: str) -> Key | None:
        """The secret, whatever id a token gives it."""
        return self._key if algorithm in self._key.algorithms else None

    def sought(self) -> None:
        """Nobody can be asked."""


class IssuerKeys:
    """Implements `Keys` by an issuer's key set.

    fetch: gets the set. Raises NoDocument or ValueError. now: monotonic seconds.
    """

    def __init__(
        self,
        issuer: str,
        fetch: Callable[[], Awaitable[KeySet]],
        trouble: Trouble,
        *,
        refresh_s: float,
        stale_grace_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.epoch = 0
        self.fresh_until = -math.inf
        self.is_failing = False
        self._issuer = issuer
        self._fetch = fetch
        self._trouble = trouble
        self._refresh_s = refresh_s
        self._stale_grace_s = stale_grace_s
        self._now = now
        self._keys = KeySet(())
        self._answered_at = -math.inf
        self._trusted_until = -math.inf
        self._rests_until = -math.inf
        self._rest_s = _FIRST_REST_S
        self._flight: asyncio.Task[None] | None = None

    def in_force(self) -> bool:
        now = self._now()
        if now >= self.fresh_until and now >= self._rests_until:
            self.sought()
        return now < self._trusted_until

    def find(self, kid: object, algorithm: str) -> Key | None:
        return self._keys.find(kid, algorithm)

    def sought(self) -> asyncio.Future[None] | None:
        if self._flight is None and self._now() >= self._rests_until:
            self._flight = asyncio.get_running_loop().create_task(self._renew())
        return self._flight

    async def _renew(self) -> None:
        asked_at = self._now()
        try:
            found = await self._fetch()
        except Exception as error:
            # Whatever the issuer does, what it said before holds for the grace; told once in a row.
            known = isinstance(error, (NoDocument, ValueError))
            self._fail(str(error) if known else repr(error))
        else:
            self._take(found, asked_at)
        finally:
            self._flight = None

    def _take(self, found: KeySet, asked_at: float) -> None:
        if self.is_failing:
            self._trouble(self._issuer, None)
        if not found.proves_like(self._keys):
            self._keys = found
            self.epoch += 1
            if found.left_out:
                self._trouble(self._issuer, f"{found.left_out} of its keys cannot be used and are left out")
        self.is_failing = False
        self._rest_s = _FIRST_REST_S
        self._answered_at = asked_at
        self._rests_until = asked_at + min(REST_S, self._refresh_s)
        self.fresh_until = asked_at + self._refresh_s
        # After an idle time, longer than this, requests wait for what the issuer says now.
        self._trusted_until = asked_at + 2 * self._refresh_s

    def _fail(self, reason: str) -> None:
        if not self.is_failing:
            self._trouble(self._issuer, reason)
        self.is_failing = True
        now = self._now()
        self._rests_until = now + self._rest_s
        self._rest_s = min(REST_S, 2 * self._rest_s)
        self._trusted_until = self._answered_at + self._stale_grace_s
        self.fresh_until = min(self._rests_until, self._trusted_until)


def fetcher(settings: JwtSettings, transport: Transport) -> Callable[[], Awaitable[KeySet]]:
    """What gets an issuer's keys: from their URL, or from where its discovery document says."""

    async def listed() -> KeySet:
        return parse_key_set(await Source(settings.keys_url or "", settings, transport).get())

    async def discovered() -> KeySet:
        told = await Source(settings.keys_url or "", settings, transport).get()
        if told.get("issuer") != settings.issuer:
            raise NoDocument("its discovery document is of another issuer")
        url = told.get("jwks_uri")
        if not isinstance(url, str):
            raise NoDocument("its discovery document does not tell where its keys are")
        return parse_key_set(await Source(url, settings, transport).get())

    return discovered if settings.jwks_url is None else listed
