"""Keeps the keys this process knows in step with the key store.

Commands change the store; this asks for its sequence number a few times a second and loads the
keys when it has moved. While the store does not answer, the keys last seen stay in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from llmgw.auth.api_key import ApiKeys
from llmgw.ports.stores import KeyEntry, KeyStore

POLL_S = 0.3


class Keyring:
    """declared: keys of the configuration, which no command changes.

    trouble: told of the first failure in a row, and with None when the store answers again.
    """

    def __init__(
        self,
        keys: ApiKeys,
        store: KeyStore,
        declared: Sequence[KeyEntry],
        trouble: Callable[[Exception | None], None],
    ) -> None:
        self._keys = keys
        self._store = store
        self._declared = list(declared)
        self._trouble = trouble
        self._issued: list[KeyEntry] = []
        self._seq: int | None = None
        self._failing = False

    async def refresh(self) -> None:
        """Load the keys if they changed. Raises what the store raises."""
        if self._seq is not None and await self._store.changed_seq() == self._seq:
            return
        self._seq, self._issued = await self._store.load()
        self._keys.replace([*self._issued, *self._declared])

    def declare(self, declared: Sequence[KeyEntry]) -> None:
        """Know the keys of another configuration instead. Proved keys stay proved when nothing changed."""
        if list(declared) != self._declared:
            self._declared = list(declared)
            self._keys.replace([*self._issued, *self._declared])

    async def watch(self) -> None:
        """Refresh for ever."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.refresh()
            except Exception as error:
                # The keys last seen stay in force; told once, until it answers again.
                if not self._failing:
                    self._trouble(error)
                self._failing = True
            else:
                if self._failing:
                    self._trouble(None)
                self._failing = False
