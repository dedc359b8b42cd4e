"""What can be done with issued keys, for the command line and the admin API alike.

A key is whole only in the answer of `create` and `rotate`; nothing else ever holds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from llmgw.core.api_key import digest, generate, public_id, render_digest
from llmgw.core.errors import InvalidRequest, NotFound
from llmgw.ports.stores import IssuedKey, KeyRegistry

OVERLAP_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a new key may do. expires_at: UTC seconds; allow_models: None for all of the tenant's."""

    tenant: str
    user: str | None = None
    allow_models: tuple[str, ...] | None = None
    expires_at: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


class Keys:
    """tenants: those of the configuration; declared: ids of the keys that it declares."""

    def __init__(
        self,
        registry: KeyRegistry,
        tenants: Collection[str],
        declared: Collection[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._tenants = tenants
        self._declared = declared
        self._now = now

    def create(self, wanted: NewKey) -> tuple[IssuedKey, str]:
        """A new key and its whole text, to be shown once.

        Raises InvalidRequest for an unknown tenant, or for an expiry that has passed.
        """
        if wanted.tenant not in self._tenants:
            known = ", ".join(sorted(self._tenants))
            raise InvalidRequest(
                f'the configuration has no tenant "{wanted.tenant}"; it has {known}', param="tenant"
            )
        now = int(self._now())
        if wanted.expires_at is not None and wanted.expires_at <= now:
            raise InvalidRequest("the expiry has passed already", param="expires")
        issued, key = self._make(wanted, now)
        self._registry.add(issued)
        return issued, key

    def list(self, tenant: str | None = None) -> Sequence[IssuedKey]:
        return self._registry.list(tenant)

    def show(self, key_id: str) -> IssuedKey:
        """Raises NotFound."""
        found = self._registry.get(self._id(key_id))
        if found is None:
            raise self._unknown(key_id)
        return found

    def rotate(self, key_id: str, overlap_s: int = OVERLAP_S) -> tuple[IssuedKey, str]:
        """A successor with the same rights and expiry; the old key works for `overlap_s` more.

        Raises NotFound, or InvalidRequest when the key does not work any more or was rotated.
        """
        old = self.show(key_id)
        now = int(self._now())
        wanted = NewKey(old.tenant, old.user, old.allow_models, old.expires_at, old.labels)
        issued, key = self._make(wanted, now, rotated_from=old.key_id)
        if not self._registry.replace(old.key_id, issued, now + overlap_s):
            raise InvalidRequest(f"the key {old.key_id} is {self.state(self.show(old.key_id))}", param="id")
        return issued, key

    def revoke(self, key_id: str) -> IssuedKey:
        """The key, ended now and for good. Revoking twice changes nothing. Raises NotFound."""
        if not self._registry.revoke(self._id(key_id), int(self._now())):
            raise self._unknown(key_id)
        return self.show(key_id)

    def state(self, key: IssuedKey) -> str:
        """`active`, `rotated` (works until it expires), `expired` or `revoked`."""
        if key.revoked_at is not None:
            return "revoked"
        if key.expires_at is not None and key.expires_at <= self._now():
            return "expired"
        return "active" if key.rotated_to is None else "rotated"

    def row(self, key: IssuedKey) -> dict[str, object]:
        """The key as machines read it: stable names, times in ISO 8601."""
        return {
            "id": key.key_id,
            "tenant": key.tenant,
            "user": key.user,
            "state": self.state(key),
            "allow_models": None if key.allow_models is None else list(key.allow_models),
            "created_at": _iso(key.created_at),
            "expires_at": _iso(key.expires_at),
            "revoked_at": _iso(key.revoked_at),
            "rotated_from": key.rotated_from,
            "rotated_to": key.rotated_to,
            "labels": dict(key.labels),
            "hash": key.digest,
        }

    def _make(self, wanted: NewKey, now: int, rotated_from: str | None = None) -> tuple[IssuedKey, str]:
        key_id, key = generate()
        issued = IssuedKey(
            key_id,
            render_digest(digest(key)),
            wanted.tenant,
            wanted.user,
            wanted.allow_models,
            dict(wanted.labels),
            now,
            wanted.expires_at,
            rotated_from=rotated_from,
        )
        return issued, key

    def _id(self, text: str) -> str:
        """The public id, also when somebody pastes the whole key."""
        return public_id(text) or text

    def _unknown(self, text: str) -> NotFound:
        key_id = self._id(text)
        if key_id in self._declared:
            return NotFound(f"the key {key_id} is declared in the configuration file; change it there")
        # What is not an id may be a mistyped key, which a terminal's history has seen enough of.
        return NotFound(f"no key has the id {key_id!r}" if len(key_id) <= 64 else "no key has this id")


def _iso(seconds: int | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
