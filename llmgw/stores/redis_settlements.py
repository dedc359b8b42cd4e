"""What requests used, on its way to Redis: one script for all that end in one turn of the loop.

Until Redis has answered, a lease is known here. A batch that may have been lost is sent again:
a charge ends the lease that it stands for, so it counts once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from llmgw.core.claim import Claim
from llmgw.stores.redis_claims import Codec, Item, command, spents
from llmgw.stores.redis_link import Late, Link
from llmgw.stores.redis_script import ACQUIRE, SETTLE

_SETTLE_S = 1.0
_UNSENT = 100_000
_BATCH = 256

Told = Callable[[], None]


class Settlements:
    """Those of one worker.

    link: where they go; None keeps them. leases: what requests hold, by request and key.
    spent: what Redis last said was spent of a balance. lost: told why Redis cannot be used.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, codec: Codec, lost: Callable[[str], None]) -> None:
        self.link: Link | None = None
        self.leases: dict[tuple[str, str], Claim] = {}
        self.spent: dict[str, tuple[Claim, int]] = {}
        self.lost = lost
        self._loop = loop
        self._codec = codec
        self._unsent: list[Item] = []
        self._told: list[Told] = []
        self._batch: _Batch | None = None

    def add(self, items: Sequence[Item], told: Told | None = None) -> None:
        """Settle these at the end of this turn. told: called when it is done."""
        self._unsent += items
        if told is not None:
            self._told.append(told)
        if self.link is not None:
            self.send(self.link)

    def put_back(self, items: Sequence[Item], told: Sequence[Told]) -> None:
        """A batch that may not have arrived. What has no lease and gives something back is let go."""
        self._unsent += [item for item in items if item[4] or item[1] >= item[0].cost]
        self._told += told
        del self._unsent[:-_UNSENT]

    def send(self, link: Link) -> None:
        """Send on `link` what is unsent, at the end of this turn."""
        while self._unsent:
            batch = self._batch
            if batch is None or batch.expired or batch.link is not link or len(batch.items) >= _BATCH:
                batch = self._batch = _Batch(self, link, self._loop.time() + _SETTLE_S)
                link.ask(batch.packed, batch)
                if batch.expired:
                    return
            room = _BATCH - len(batch.items)
            batch.items += self._unsent[:room]
            del self._unsent[:room]
            if not self._unsent:
                batch.told += self._told
                self._told = []

    def packed(self, batch: _Batch) -> bytes:
        """The batch as it leaves."""
        if self._batch is batch:
            self._batch = None
        return self._codec.settle(batch.items)

    def again(self, link: Link, items: Sequence[Item], told: Sequence[Told]) -> None:
        """Redis has forgotten the scripts: send them, and the batch once more."""
        load(link, self._loop.time() + _SETTLE_S)
        self._unsent += items
        self._told += told
        self.send(link)

    def acknowledged(self, items: Sequence[Item], reply: bytes) -> None:
        """A batch has been settled."""
        for (claim, _, _, request_id, leased), spent in zip(items, spents(len(items), reply), strict=True):
            if leased:
                self.leases.pop((request_id, claim.key), None)
            if spent >= 0:
                self.spent[claim.key] = (claim, spent)

    def forget(self, now: int) -> None:
        """Forget balances whose period is over."""
        for key in [key for key, (claim, _) in self.spent.items() if claim.until <= now]:
            del self.spent[key]


class _Batch:
    """Settlements that go together. items: more may come until it leaves."""

    __slots__ = ("_store", "deadline", "expired", "items", "link", "told")

    def __init__(self, store: Settlements, link: Link, deadline: float) -> None:
        self.deadline = deadline
        self.expired = False
        self.link = link
        self.items: list[Item] = []
        self.told: list[Told] = []
        self._store = store

    def packed(self) -> bytes:
        return self._store.packed(self)

    def answered(self, reply: object) -> None:
        store = self._store
        if self.expired:
            return
        if type(reply) is bytes:
            store.acknowledged(self.items, reply)
            for tell in self.told:
                tell()
        elif str(reply).startswith("NOSCRIPT"):
            store.again(self.link, self.items, self.told)
        else:
            store.put_back(self.items, self.told)
            store.lost(str(reply)[:120])

    def failed(self, error: Exception) -> None:
        self._store.put_back(self.items, self.told)
        if isinstance(error, Late):
            self._store.lost("it does not settle within a second")


class _Ignored:
    """A question whose answer says nothing new."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expired = False

    def answered(self, reply: object) -> None:
        """Whatever it is."""

    def failed(self, error: Exception) -> None:
        """What was asked together fails as well."""


def load(link: Link, deadline: float) -> None:
    """Send the scripts."""
    for script in (ACQUIRE, SETTLE):
        link.ask(command("SCRIPT", "LOAD", script), _Ignored(deadline))


def unleased(settlements: Iterable[tuple[Claim, int]], now: int) -> list[Item]:
    """Charges that no lease stands for."""
    return [(claim, charge, now, "", False) for claim, charge in settlements]
