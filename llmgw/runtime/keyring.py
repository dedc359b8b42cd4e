"""Keeps the keys this process knows in step with the key store.

Commands change the store; this asks for its sequence number a few times a second and loads the
keys when it has moved. Where notices of changes are heard it asks at once for each, and else once
a second, because a notice can be lost. While the store does not answer, the keys last seen stay
in force for a grace, and an unknown key is neither good nor bad: only a store that answers makes
it bad.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from llmgw.auth.api_key import ApiKeys
from llmgw.ports.stores import KeptKeys, KeyEntry, KeyNotices, KeyStore, NoKeptKeys, NoKeyNotices

POLL_S = 0.3
LISTENING_POLL_S = 1.0
_BETWEEN_S = 0.05
"""At the least between two looks, however many keys are made."""
AWAY_AFTER_S = 2.0
"""Without an answer for so long, the store may know keys that this process does not."""


class Keyring:
    """declared: keys of the configuration, which no command changes and no outage ends.

    trouble: told of the first failure in a row, and with None when the store answers again.
    stale_grace: seconds that issued keys stay in force without an answer of the store.
    kept: where a process that starts while the store is away finds the keys that others saw.
    notices: hears of changes.
    """

    def __init__(
        self,
        keys: ApiKeys,
        store: KeyStore,
        declared: Sequence[KeyEntry],
        trouble: Callable[[Exception | None], None],
        stale_grace: float = 300.0,
        kept: KeptKeys | None = None,
        notices: KeyNotices | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._store = store
        self._declared = list(declared)
        self._trouble = trouble
        self._now = now
        self._kept: KeptKeys = kept or NoKeptKeys()
        self._notices: KeyNotices = notices or NoKeyNotices()
        self._issued: list[KeyEntry] = []
        self._seq: int | None = None
        self._answered_at = now()
        self._failing = False
        self.stale_grace = stale_grace

    async def refresh(self) -> None:
        """Load the keys if they changed. Raises what the store raises."""
        if self._seq is None or await self._store.changed_seq() != self._seq:
            self._seq, self._issued = await self._store.load()
            self._keys.replace([*self._issued, *self._declared])
            await asyncio.get_running_loop().run_in_executor(None, self._kept.write, self._issued)
        else:
            self._kept.confirm()
        self._answered_at = self._now()
        self._keys.current_until = self._answered_at + AWAY_AFTER_S + self._poll_s - POLL_S

    def declare(self, declared: Sequence[KeyEntry]) -> None:
        """Know the keys of another configuration instead. Proved keys stay proved when nothing changed."""
        if list(declared) != self._declared:
            self._declared = list(declared)
            self._keys.replace([*self._issued, *self._declared])

    async def open(self) -> None:
        """Load the keys. A store that is away is asked again by `watch`; until then no key is unknown,
        and those work that this host saw within the grace.
        """
        self._keys.current_until = self._now()
        await self._try()
        found = self._kept.read() if self._failing else None
        if found is not None and found[0] <= self.stale_grace:
            self._answered_at -= found[0]
            self._issued = found[1]
            self._keys.replace([*self._issued, *self._declared])

    async def watch(self) -> None:
        """Refresh for ever."""
        told = asyncio.Event()
        listening = asyncio.ensure_future(self._notices.listen(told.set))
        try:
            while True:
                try:
                    async with asyncio.timeout(self._poll_s):
                        await told.wait()
                        await asyncio.sleep(_BETWEEN_S)
                except TimeoutError:
                    # Nothing was heard.
                    pass
                told.clear()
                await self._try()
        finally:
            listening.cancel()

    @property
    def _poll_s(self) -> float:
        return LISTENING_POLL_S if self._notices.listening else POLL_S

    async def _try(self) -> None:
        try:
            await self.refresh()
        except Exception as error:
            # The keys last seen stay in force; told once, until it answers again.
            if not self._failing:
                self._trouble(error)
            self._failing = True
            if self._issued and self._now() - self._answered_at > self.stale_grace:
                self._issued, self._seq = [], None
                self._keys.replace(self._declared)
        else:
            if self._failing:
                self._trouble(None)
            self._failing = False
