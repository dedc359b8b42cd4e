"""API keys: found by public id, compared in constant time.

Promise: an id that does not exist costs the same work as one that does, and no answer tells
which part of a key was wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from collections.abc import Iterable, Mapping

from llmgw.core.api_key import public_id
from llmgw.core.errors import InvalidCredentials, Unavailable
from llmgw.core.principal import Principal
from llmgw.ports.stores import KeyEntry

_PLACES = (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key")
OTHER_PLACES = frozenset(_PLACES[1:])
"""Headers beside `Authorization` that may carry a credential."""
NO_KEY = b"client-certificate"
"""What an SDK that insists on a key is given where a certificate is the credential. It is no key."""
_MAX_KEY_LENGTH = 512
_REMEMBERED = 50_000
_NOBODY = hashlib.sha256(b"").digest()
_REFUSED = "the API key is not valid"


class ApiKeys:
    """The keys this process knows. `replace` swaps the whole set by one reference.

    A header that has been proved is remembered whole, until the next `replace`: looking it up
    again compares it only with what hashes alike under this process's own random seed.

    current_until: monotonic seconds until which the set is known to be what the store has; past
        that, a key that is not in it may be good all the same.
    """

    def __init__(self, entries: Iterable[KeyEntry] = ()) -> None:
        self._by_id: dict[str, tuple[KeyEntry, Principal]] = {}
        self._by_digest: dict[bytes, tuple[KeyEntry, Principal]] = {}
        self._proved: dict[bytes, tuple[KeyEntry, Principal]] = {}
        self.current_until = math.inf
        self.replace(entries)

    def replace(self, entries: Iterable[KeyEntry]) -> None:
        """Know these keys and no others."""
        known = [
            (
                entry,
                Principal(
                    entry.tenant, entry.user, entry.key_id, entry.allow_models, tuple(entry.labels.items())
                ),
            )
            for entry in entries
        ]
        self._by_id = {pair[0].key_id: pair for pair in known}
        self._by_digest = {pair[0].digest: pair for pair in known}
        self._proved = {}

    def knows(self, key: bytes) -> bool:
        """Whether this is the form of an issued key, or a key that is known."""
        return public_id(key.decode("latin-1")) is not None or hashlib.sha256(key).digest() in self._by_digest

    def principal(self, fields: Mapping[bytes, bytes]) -> Principal | None:
        """Who holds the key in these headers; None when there is none.

        Raises InvalidCredentials when the key is unknown, revoked or expired, or when two
        headers carry different keys. Raises Unavailable when it is unknown here and the store,
        which may know it, cannot be asked.
        """
        bearer = fields.get(b"authorization")
        if bearer is not None and OTHER_PLACES.isdisjoint(fields):
            proved = self._proved.get(bearer)
            if proved is not None and (proved[0].expires_at is None or time.time() < proved[0].expires_at):
                return proved[1]
        key = credential(fields)
        if key is None:
            return None
        if len(key) > _MAX_KEY_LENGTH:
            raise InvalidCredentials(_REFUSED)
        digest = hashlib.sha256(key).digest()
        key_id = public_id(key.decode("latin-1"))
        found = self._by_id.get(key_id) if key_id is not None else None
        if found is None:
            # A key that was declared by hash can have any form. Nobody can steer a digest.
            found = self._by_digest.get(digest)
        if (
            not hmac.compare_digest(digest, found[0].digest if found is not None else _NOBODY)
            or found is None
        ):
            if found is None and time.monotonic() > self.current_until:
                raise Unavailable("the key cannot be checked at the moment; try again", retry_after_s=2)
            raise InvalidCredentials(_REFUSED)
        expires_at = found[0].expires_at
        if expires_at is not None and time.time() >= expires_at:
            raise InvalidCredentials("the API key has expired")
        # Beside another header, this one may say no key at all, and proves nothing by itself.
        if bearer is not None and OTHER_PLACES.isdisjoint(fields) and len(self._proved) < _REMEMBERED:
            self._proved[bearer] = found
        return found[1]


def credential(fields: Mapping[bytes, bytes]) -> bytes | None:
    """The key in these headers, wherever the SDK in use puts it; None when there is none.

    Raises InvalidCredentials when two places disagree or the scheme is not Bearer.
    """
    found: bytes | None = None
    for place in _PLACES:
        value = fields.get(place)
        if value is None:
            continue
        if place == b"authorization":
            scheme, _, value = value.partition(b" ")
            if scheme.lower() != b"bearer":
                raise InvalidCredentials("the Authorization header must be 'Bearer <key>'")
        value = value.strip()
        if not value or value == NO_KEY:
            continue
        if found is not None and found != value:
            raise InvalidCredentials("two headers carry different API keys; send one")
        found = value
    return found
