"""Gives the answer again that the same request got before, or waits for the one that is under way.

Comes after everything that may refuse a request, so that a kept answer is given only to who could
have asked for it. A caller can only tighten with `Cache-Control`: `no-store` neither gives nor keeps,
`no-cache` asks anew, `max-age=N` takes nothing older. A store that does not answer is a miss.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass

from llmgw.core.exchange import Exchange
from llmgw.core.reply import Reply
from llmgw.core.stored_reply import CACHE, Replay, StoredReply, again, from_bytes, to_bytes
from llmgw.core.target import Target
from llmgw.dialects.keepable import depends_on_itself, is_keepable
from llmgw.dialects.registry import reads_otherwise
from llmgw.engine.recording import Recording, record_for
from llmgw.engine.strand import Pause
from llmgw.policies.cache_key import cache_key, material_of, scope_of
from llmgw.policies.single_flight import ALONE, LEAD, SingleFlight
from llmgw.ports.cache import CacheKey, CacheStore, Kept
from llmgw.ports.policy import Ticket

MAX_BODY = 1024 * 1024
"""Requests above this are not looked up: what they are kept under would take too long to make."""
_MAX_AGE = re.compile(rb"max-age=\"?(\d{1,10})\"?")
_MISS = b"x-llmgw-cache: miss\r\n"
_BYPASS = b"x-llmgw-cache: bypass\r\n"
_AWAY = b"x-llmgw-degraded: cache\r\n"
_HIT = b"x-llmgw-cache: hit\r\nage: %d\r\nx-llmgw-cost: 0.000000000\r\n"
_DEADLINE = b"x-llmgw-timeout"
_OFF_LOOP_BYTES = 64 * 1024
"""An answer above this is looked through in a thread: a stream of 1 MiB takes 15 ms."""
_OF_THE_REQUEST = frozenset({400, 404, 413, 422})
"""Statuses that say that the request is wrong, and with it all that are the same."""


@dataclass(frozen=True, slots=True)
class Terms:
    """scope: `tenant`, `user` or `key`, who share answers. tool_calls: keep those that call tools too.

    wait_s: for the same request that is under way.
    """

    ttl_s: float
    max_entry: int
    scope: str
    tool_calls: bool
    wait_s: float


class Shelf:
    """What the caches of all generations share: the store, and what is under way.

    hits, misses, bypassed, stored: requests so far, and answers that were kept.
    """

    def __init__(self, store: CacheStore) -> None:
        self.store = store
        self.flights = SingleFlight()
        self.hits = 0
        self.misses = 0
        self.bypassed = 0
        self.stored = 0
        self.spare_secret = secrets.token_bytes(32)


class ResponseCache:
    """The cache of one plan.

    fingerprint: changes with all that the configuration does to such requests.
    targets: the model's own. forwards: names of header fields that go on to them.
    answerers: provider and model of each; what a fallback said is not kept, as not everybody may
    ask that, nor anybody later.
    """

    def __init__(
        self,
        shelf: Shelf,
        terms: Terms,
        fingerprint: bytes,
        targets: Iterable[Target],
        forwards: Iterable[bytes],
    ) -> None:
        self.shelf = shelf
        self.terms = terms
        self._fingerprint = fingerprint
        self._targets = tuple(targets)
        self.answerers = frozenset((one.provider, one.model) for one in self._targets)
        self._forwards = tuple(forwards)

    def admit(self, ex: Exchange) -> Ticket | Reply | Awaitable[Ticket | Reply | None] | None:
        principal = ex.principal
        assert principal is not None
        store, anew, max_age_s = _directives(ex.fields.get(b"cache-control"))
        scope = scope_of(principal, self.terms.scope)
        if (
            not store
            or scope is None
            or ex.envelope is None
            or len(ex.body) > MAX_BODY
            or not depends_on_itself(ex.endpoint, ex.envelope)
        ):
            self._pass(ex)
            return None
        secret = self.shelf.store.secret
        agent = ex.fields.get(b"user-agent", b"")
        otherwise = any(reads_otherwise(ex.endpoint, target, agent) for target in self._targets)
        material = material_of(ex, self._fingerprint, self._forwards, reads_otherwise=otherwise)
        key = cache_key(secret or self.shelf.spare_secret, principal, scope, material)
        if anew:
            record_for(ex, _Keeper(self, key, leads=False))
            self._pass(ex)
            return None
        if secret is None:
            ex.limit_head += _AWAY
        if not self.shelf.flights.begin(key):
            if not self.terms.wait_s or _DEADLINE in ex.fields:
                self._miss(ex, key, leads=False)
                return None
            return self._wait(ex, key)
        return self._look(ex, key, max_age_s)

    def _look(
        self, ex: Exchange, key: CacheKey, max_age_s: float | None
    ) -> Replay | Awaitable[Replay | None] | None:
        """Ask the store. The request is in the lead of its flight."""
        pause = Pause()
        answers: list[Kept | None] = []

        def found(kept: Kept | None) -> None:
            answers.append(kept)
            pause.wake()

        try:
            self.shelf.store.get(key, found)
        except Exception:
            self.shelf.flights.land(key, LEAD)
            raise
        if answers:
            return self._found(ex, key, answers[0], max_age_s)
        return self._look_later(ex, key, pause, answers, max_age_s)

    async def _look_later(
        self, ex: Exchange, key: CacheKey, pause: Pause, answers: list[Kept | None], max_age_s: float | None
    ) -> Replay | None:
        try:
            await pause
        except BaseException:
            self.shelf.flights.land(key, LEAD)
            raise
        return self._found(ex, key, answers[0], max_age_s)

    def _found(
        self, ex: Exchange, key: CacheKey, kept: Kept | None, max_age_s: float | None
    ) -> Replay | None:
        oldest_s = self.terms.ttl_s if max_age_s is None else min(max_age_s, self.terms.ttl_s)
        stored = from_bytes(kept.value) if kept is not None and kept.age_s < oldest_s else None
        if kept is None or stored is None:
            self._miss(ex, key, leads=True)
            return None
        self.shelf.flights.land(key, stored)
        return self._hit(stored, kept.age_s)

    async def _wait(self, ex: Exchange, key: CacheKey) -> Replay | None:
        """Have what the same request gets that is under way."""
        value = await self.shelf.flights.wait(key, self.terms.wait_s)
        if isinstance(value, StoredReply):
            return self._hit(value, 0.0)
        self._miss(ex, key, leads=value is LEAD)
        return None

    def _hit(self, stored: StoredReply, age_s: float) -> Replay:
        self.shelf.hits += 1
        return again(stored, CACHE, _HIT % age_s)

    def _miss(self, ex: Exchange, key: CacheKey, *, leads: bool) -> None:
        self.shelf.misses += 1
        ex.limit_head += _MISS
        record_for(ex, _Keeper(self, key, leads=leads))

    def _pass(self, ex: Exchange) -> None:
        self.shelf.bypassed += 1
        ex.limit_head += _BYPASS


class _Keeper:
    """Implements `engine.recording.Keeper`. leads: others may wait for this answer."""

    outlasts_s = 0.0

    def __init__(self, cache: ResponseCache, key: CacheKey, *, leads: bool) -> None:
        self.most_bytes = cache.terms.max_entry
        self._cache = cache
        self._key = key
        self._leads = leads

    def keep(self, ex: Exchange, recording: Recording) -> Awaitable[None] | None:
        try:
            return self._keep(ex, recording)
        except Exception:
            self._land(ALONE)
            raise

    def _keep(self, ex: Exchange, recording: Recording) -> Awaitable[None] | None:
        if not recording.succeeded(ex):
            # What is wrong with this request may be wrong with all that are the same.
            self._land(ALONE if recording.status in _OF_THE_REQUEST else LEAD)
            return None
        reply = recording.reply(ex, self.most_bytes)
        if reply is None or reply.status != 200 or (reply.provider, reply.model) not in self._cache.answerers:
            self._land(ALONE)
            return None
        if len(reply.body) > _OFF_LOOP_BYTES:
            return self._keep_later(ex, reply)
        self._conclude(reply, keepable=self._is_keepable(ex, reply))
        return None

    async def _keep_later(self, ex: Exchange, reply: StoredReply) -> None:
        keepable = False
        try:
            loop = asyncio.get_running_loop()
            keepable = await loop.run_in_executor(None, self._is_keepable, ex, reply)
        finally:
            self._conclude(reply, keepable=keepable)

    def _is_keepable(self, ex: Exchange, reply: StoredReply) -> bool:
        return is_keepable(
            ex.endpoint,
            reply.body,
            streamed=reply.streamed,
            agent=ex.fields.get(b"user-agent", b""),
            tool_calls=self._cache.terms.tool_calls,
        )

    def _conclude(self, reply: StoredReply, *, keepable: bool) -> None:
        """The flight lands first: whoever waits has the answer, whether it can be kept or not."""
        shelf = self._cache.shelf
        self._land(reply if keepable else ALONE)
        if keepable and shelf.store.secret is not None:
            shelf.store.put(self._key, to_bytes(reply), self._cache.terms.ttl_s)
            shelf.stored += 1

    def _land(self, value: object) -> None:
        """Once, or the others would wait in vain for what is over."""
        if self._leads:
            self._leads = False
            self._cache.shelf.flights.land(self._key, value)


def _directives(value: bytes | None) -> tuple[bool, bool, float | None]:
    """Whether the answer may be kept, whether it must be new, and how old it may be.

    RFC 9111 section 5.2.1. Only what tightens is heard; an age that cannot be read is none at all.
    """
    if value is None:
        return True, False, None
    store, anew, max_age_s = True, False, None
    for part in value.lower().split(b","):
        directive = part.strip()
        if directive == b"no-store":
            store = False
        elif directive.startswith(b"no-cache"):
            anew = True
        elif directive.startswith(b"max-age"):
            found = _MAX_AGE.fullmatch(directive)
            age_s = float(found[1]) if found is not None else 0.0
            max_age_s = age_s if max_age_s is None else min(age_s, max_age_s)
    return store, anew or max_age_s == 0, max_age_s
