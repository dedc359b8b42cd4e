"""Issued keys, as the road reads them: one connection, two statements."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from llmgw.core.api_key import parse_digest
from llmgw.ports.stores import KeyEntry
from llmgw.stores.asker import Asker, open_asker

SELECT_SEQ = "SELECT value FROM meta WHERE name = 'keys_changed_seq'"
SELECT_KEYS = (
    'SELECT key_id, tenant, "user", digest, allow_models, expires_at, labels FROM keys '
    "WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)"
)


class SqlKeyStore:
    """Implements `ports.stores.KeyStore`. Raises Unavailable when the database does not answer."""

    def __init__(self, url: str, now: Callable[[], float] = time.time) -> None:
        self._asker: Asker = open_asker(url, writes=False)
        self._now = now

    async def load(self) -> tuple[int, list[KeyEntry]]:
        # The number first: a change between the two is then loaded twice rather than never.
        seq = await self.changed_seq()
        rows = await self._asker.rows(SELECT_KEYS, {"now": int(self._now())})
        return seq, [_entry(*row) for row in rows]

    async def changed_seq(self) -> int:
        rows = await self._asker.rows(SELECT_SEQ, {})
        return int(rows[0][0]) if rows else 0

    async def close(self) -> None:
        await self._asker.close()


def _entry(
    key_id: str,
    tenant: str,
    user: str | None,
    digest: str,
    allow_models: str | None,
    expires_at: int | None,
    labels: str,
) -> KeyEntry:
    return KeyEntry(
        key_id,
        tenant,
        user,
        parse_digest(digest),
        None if allow_models is None else tuple(json.loads(allow_models)),
        expires_at,
        json.loads(labels),
    )
