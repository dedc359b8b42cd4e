"""Runs a request once for each `Idempotency-Key` of a caller, and gives its answer again.

A key is a caller's own: the same key of another tenant, user or API key is another key. What came
first under it holds: a request that differs is refused, one that is the same gets the answer that
was kept, byte for byte, or has to wait for it. Kept is what succeeded, and what the provider
refused because of the request itself; after any other failure the key is free again.

While a request is under way its name is leased, so that a process that dies frees it in time.
(draft-ietf-httpapi-idempotency-key-header)
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from hashlib import sha256
from math import inf
from typing import Any

from llmgw.core.errors import (
    IdempotencyKeyInUse,
    IdempotencyKeyInvalid,
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
    IdempotencyResultUnavailable,
    Unavailable,
)
from llmgw.core.exchange import Exchange
from llmgw.core.reply import Reply
from llmgw.core.stored_reply import REPLAY, StoredReply, again, from_bytes, to_bytes
from llmgw.dialects.base import CONTENT_FILTER, CONTEXT_LENGTH, INVALID
from llmgw.dialects.registry import target_failure
from llmgw.engine.match import PATH, PREFIX
from llmgw.engine.recording import Recording, record_for
from llmgw.policies.client_address import ClientAddress
from llmgw.ports.idempotency import LEASE_S, Found, Held, IdempotencyStore
from llmgw.ports.policy import Ticket
from llmgw.wire.multipart import parse_boundary

KEY = b"idempotency-key"
OUTLASTS_S = 120.0
"""How long a call goes on after its client has left."""
MISSING, REPLAYED, STORED = 6001, 6002, 6003

Tell = Callable[[str, str, dict[str, object]], None]
"""Told of an event: its level, name and fields."""

_UUID4 = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_OPAQUE = re.compile(rb"[\x21-\x7e]{1,255}")
_FORMS = {"uuid4": "a UUID of version 4", "opaque": "1 to 255 visible ASCII characters"}
_ABOUT_THE_REQUEST = frozenset({400, 413, 422})
_SAID_OF_THE_REQUEST = frozenset({INVALID, CONTEXT_LENGTH, CONTENT_FILTER})
"""Refusals of a provider that the same request gets every time, by status and by what they say: some
tell with status 400 of a credential or of an account that is empty.
"""
_DEADLINE = b"x-llmgw-timeout"
_SECONDS = re.compile(rb"\s*(\d{1,6}(?:\.\d{1,6})?)s?\s*")
_HASHED_OFF_LOOP_BYTES = 1024 * 1024
_FIRST_LOOK_S, _LAST_LOOK_S = 0.05, 0.25
_RENEWED_EACH_S = LEASE_S / 3
_KEPT_WITHIN_S = 60.0
_TRIED_EACH_S = 1.0
_CLOSED_WITHIN_S = 2.0
_SWEPT_EACH_S = 60.0
_BETWEEN_SWEEPS_S = 0.05


class Names:
    """The names that this process has taken, and their store. One for each process.

    tell: of what was kept, and of trouble with the store.
    """

    def __init__(self, store: IdempotencyStore, tell: Tell = lambda level, event, fields: None) -> None:
        self.tell = tell
        self._store = store
        self._held: dict[str, Held] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lost = False
        self._swept_at = 0.0

    async def take(self, held: Held) -> Found | None:
        """As `IdempotencyStore.claim`. A name that was taken is renewed until it is given up."""
        try:
            found = await self._store.claim(held)
        except BaseException as error:
            if isinstance(error, Unavailable) and error.code == Unavailable.code:
                self._tell_lost(error)
            else:
                # Whoever asked has left, or this process stops, and the name may be taken for it.
                self._in_background(self._freed(held))
            raise
        self._tell_back()
        if found is None:
            self._held[held.token.hex()] = held
            self._renew_later()
        return found

    async def keep(self, held: Held, answer: bytes, ttl_s: float, about: dict[str, object]) -> None:
        """Have the answer found under the name. Only the first of several tries is awaited.

        about: what is told of it.
        """
        if not await self._kept(held, answer, ttl_s, about):
            self._in_background(self._keep_trying(held, answer, ttl_s, about))

    async def free(self, held: Held) -> None:
        """Give the name up."""
        self._held.pop(held.token.hex(), None)
        await self._freed(held)

    def sweep(self) -> None:
        """Called each second: remove what is past its time, now and then."""
        if asyncio.get_running_loop().time() >= self._swept_at:
            self._swept_at = inf
            self._in_background(self._swept())

    async def close(self) -> None:
        """Once nothing is under way."""
        if self._timer is not None:
            self._timer.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSED_WITHIN_S)
        for task in self._tasks:
            task.cancel()
        await self._store.close()

    async def _kept(self, held: Held, answer: bytes, ttl_s: float, about: dict[str, object]) -> bool:
        """Whether there is no more to be done about it."""
        try:
            kept = await self._store.keep(held, answer, ttl_s)
        except Unavailable as error:
            self._tell_lost(error)
            return False
        self._held.pop(held.token.hex(), None)
        if kept:
            self.tell("debug", "idempotency_stored", {"event_id": STORED, **about})
        else:
            self._tell_not_stored("another request has the key by now", about)
        return True

    def _tell_not_stored(self, reason: str, about: dict[str, object]) -> None:
        self.tell("warning", "idempotency_not_stored", {"reason": reason, **about})

    async def _keep_trying(self, held: Held, answer: bytes, ttl_s: float, about: dict[str, object]) -> None:
        end = asyncio.get_running_loop().time() + _KEPT_WITHIN_S
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(_TRIED_EACH_S)
            if await self._kept(held, answer, ttl_s, about):
                return
        self._held.pop(held.token.hex(), None)
        self._tell_not_stored("the store does not answer", about)

    async def _freed(self, held: Held) -> None:
        try:
            await self._store.free(held)
        except Unavailable as error:
            # Its lease ends by itself.
            self._tell_lost(error)

    async def _swept(self) -> None:
        try:
            while await self._store.sweep():
                # Others have their turn between.
                await asyncio.sleep(_BETWEEN_SWEEPS_S)
        except Unavailable as error:
            # What is past its time is found by nobody, and removed another time.
            self._tell_lost(error)
        self._swept_at = asyncio.get_running_loop().time() + _SWEPT_EACH_S

    def _renew_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_RENEWED_EACH_S, self._renew)

    def _renew(self) -> None:
        self._timer = None
        if self._held:
            self._in_background(self._renewed())
            self._renew_later()

    async def _renewed(self) -> None:
        try:
            await self._store.renew([*self._held.values()])
        except Unavailable as error:
            self._tell_lost(error)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tell_lost(self, error: Unavailable) -> None:
        if not self._lost:
            self._lost = True
            self.tell("error", "idempotency_store_unreachable", {"error": error.detail or error.message})

    def _tell_back(self) -> None:
        if self._lost:
            self._lost = False
            self.tell("info", "idempotency_store_answers_again", {})


class Idempotency:
    """The policy of one plan.

    required: requests without a key are refused. form: of keys, `uuid4` or `opaque`.
    address: whom a caller is told from others by, of whom nothing else is known.
    """

    def __init__(
        self,
        names: Names,
        *,
        required: bool,
        form: str,
        ttl_s: float,
        wait_s: float,
        max_body: int,
        address: ClientAddress,
    ) -> None:
        self.names = names
        self.ttl_s = ttl_s
        self.max_body = max_body
        self._required = required
        self._form = form
        self._wait_s = wait_s
        self._address = address

    def admit(self, ex: Exchange) -> Ticket | Reply | Awaitable[Ticket | Reply | None] | None:
        field = ex.fields.get(KEY)
        if field is not None:
            return self._once(ex, parse_key(field, self._form))
        if not self._required:
            return None
        self.names.tell("warning", "idempotency_key_missing", {"event_id": MISSING, **_about(ex)})
        raise IdempotencyKeyRequired

    async def _once(self, ex: Exchange, key: bytes) -> Reply | None:
        """The answer that was kept; None when the request is to run. Raises what it is refused with."""
        loop = asyncio.get_running_loop()
        name = name_of(ex, key, self._address.subject(ex))
        if len(ex.body) > _HASHED_OFF_LOOP_BYTES:
            fingerprint = await loop.run_in_executor(None, fingerprint_of, ex)
        else:
            fingerprint = fingerprint_of(ex)
        held = Held(name, secrets.token_bytes(16), fingerprint)
        end = min(loop.time() + self._wait_s, _deadline(ex))
        look_s = _FIRST_LOOK_S
        while (found := await self.names.take(held)) is not None:
            if found.fingerprint != fingerprint:
                raise IdempotencyKeyReused
            if found.answer is not None:
                return self._replayed(ex, found.answer)
            left_s = end - loop.time()
            if left_s <= 0:
                raise IdempotencyKeyInUse
            await asyncio.sleep(min(look_s, left_s))
            look_s = min(_LAST_LOOK_S, look_s * 2)
        record_for(ex, _Keeping(self, held))
        return None

    def _replayed(self, ex: Exchange, answer: bytes) -> Reply:
        stored = from_bytes(answer)
        if stored is None:
            raise IdempotencyResultUnavailable
        self.names.tell("info", "idempotency_replayed", {"event_id": REPLAYED, **_about(ex)})
        return again(stored, REPLAY, b"Idempotent-Replayed: true\r\n")


class _Keeping:
    """Implements `engine.recording.Keeper` for one request."""

    outlasts_s = OUTLASTS_S

    def __init__(self, policy: Idempotency, held: Held) -> None:
        self.most_bytes = policy.max_body
        self._policy = policy
        self._held = held

    def keep(self, ex: Exchange, recording: Recording) -> Awaitable[None]:
        names = self._policy.names
        reply = recording.reply(ex, self.most_bytes)
        if not (recording.succeeded(ex) or _is_final(ex, recording, reply)):
            return names.free(self._held)
        about = {
            **_about(ex),
            "status": recording.status,
            "bytes": recording.size,
            "whole": reply is not None,
        }
        # An answer that is too long is remembered as none, so that it is never paid for twice.
        answer = to_bytes(reply) if reply is not None else b""
        return names.keep(self._held, answer, self._policy.ttl_s, about)


def parse_key(field: bytes, form: str) -> bytes:
    """The key in the header's value; quotes around it mean nothing. Raises IdempotencyKeyInvalid."""
    key = field.strip()
    if len(key) > 1 and key[:1] == key[-1:] == b'"':
        key = key[1:-1]
    if form == "uuid4":
        key = key.lower()
    if not (_UUID4 if form == "uuid4" else _OPAQUE).fullmatch(key):
        raise IdempotencyKeyInvalid(f"header 'Idempotency-Key' must be {_FORMS[form]}")
    return key


def name_of(ex: Exchange, key: bytes, address: str | None) -> str:
    """What a caller's key is kept under; tells neither the key nor the caller."""
    principal = ex.principal
    assert principal is not None
    parts: list[bytes | None] = [
        principal.tenant.encode(),
        principal.user.encode("utf-8", "surrogatepass") if principal.user is not None else None,
        principal.key_id.encode() if principal.key_id is not None else None,
        key,
    ]
    if principal.user is None and principal.key_id is None:
        parts.append((address or "").encode())
    return f"{principal.tenant}:{_digest(parts).hex()}"


def fingerprint_of(ex: Exchange) -> bytes:
    """What tells a request from another: method, path, and the body, which names the model.

    The boundary of a form is chosen anew each time it is sent, so it tells nothing.
    """
    fields = ex.fields
    body = ex.body
    if ex.form is not None:
        content_type = fields.get(b"content-type", b"").decode("latin-1")
        body = body.replace(parse_boundary(content_type), b"")
    path = fields.get(PREFIX, b"") + (fields.get(PATH) or ex.endpoint.path.encode())
    return _digest([b"POST", path, body])


def _digest(parts: list[bytes | None]) -> bytes:
    """Of parts that cannot be taken for each other."""
    digest = sha256()
    for part in parts:
        digest.update(b"-" if part is None else b"%d:" % len(part))
        digest.update(part or b"")
    return digest.digest()


def _deadline(ex: Exchange) -> float:
    """When the caller gives up. One that cannot be read is refused where the call is made."""
    found = _SECONDS.fullmatch(ex.fields.get(_DEADLINE, b""))
    return inf if found is None else ex.started + float(found[1])


def _is_final(ex: Exchange, recording: Recording, reply: StoredReply | None) -> bool:
    """Whether a provider refused the request for what it says, as it would again."""
    if not recording.ended or ex.dispatched is None or recording.status not in _ABOUT_THE_REQUEST:
        return False
    if reply is None or ex.target is None:
        return True
    failure = target_failure(ex.endpoint, ex.target, reply.status, reply.body)
    return failure.code in _SAID_OF_THE_REQUEST


def _about(ex: Exchange) -> dict[str, object]:
    principal = ex.principal
    return {
        "request_id": ex.request_id,
        "tenant": principal.tenant if principal is not None else None,
        "path": ex.endpoint.path,
    }
