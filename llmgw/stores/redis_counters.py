"""Counters that all hosts share, in Redis: one script, one round trip for all claims of a request.

A place among the requests under way is a host's own, so it is taken from the host's counters
first. While there is no link, claims are decided by `stores.redis_alone` at once.

What a request holds of a balance is a lease in Redis under this process's name, and a charge ends
it. So a settlement can be sent again when nobody knows whether it arrived, and what a dead
process held is found and charged with what its records say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from llmgw.core.claim import BALANCE, CONCURRENCY, Claim, Step, Verdict
from llmgw.core.clock import Clock
from llmgw.ports.counters import CounterStore, Settlement
from llmgw.stores.redis_alone import Alone, AloneGrant
from llmgw.stores.redis_claims import MAX_CLAIMS, Codec, Item, counter_key
from llmgw.stores.redis_link import Late, Link, Lost
from llmgw.stores.redis_settlements import Settlements, load

BUDGET_S = 0.02
_LATE_IN_A_ROW = 3
_KNOWN = 16_384
_LOOKED_AT = 512
_LOOK_S = 1.0


class RedisGrant(int):
    """A verdict's handle. place: what the host's counters took; alone: what was decided without Redis."""

    place: Verdict | None
    alone: AloneGrant | None
    request_id: str

    def __new__(cls, request_id: str, place: Verdict | None, alone: AloneGrant | None) -> RedisGrant:
        grant = super().__new__(cls, 1)
        grant.request_id = request_id
        grant.place = place
        grant.alone = alone
        return grant


class RedisCounters:
    """Implements `ports.counters.SharedCounters` for one worker.

    link: the connection; None while Redis cannot be used. lost: told why it is not, from now on.
    late: decisions that took too long. alone: decisions that were made without Redis.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        codec: Codec,
        local: CounterStore,
        clock: Clock,
        lost: Callable[[str], None],
        budget_s: float = BUDGET_S,
    ) -> None:
        self.clock = clock
        self.codec = codec
        self.local = local
        self.link: Link | None = None
        self.late = 0
        self.alone = 0
        self.sharing = Alone(local, clock.steady_ns)
        self._loop = loop
        self._lost = lost
        self._budget_s = budget_s
        self._in_a_row = 0
        self._known: dict[str, tuple[Claim, Step]] = {}
        self._touched: set[str] = set()
        self.settlements = Settlements(loop, codec, self.leave)

    def use(self, link: Link) -> None:
        """Decide with Redis from now on."""
        self._in_a_row = 0
        self.link = self.settlements.link = link
        self.settlements.send(link)

    def leave(self, why: str) -> None:
        """Decide without Redis from now on."""
        if self.link is not None:
            self.link = self.settlements.link = None
            self.sharing.begin()
            self._lost(why)

    def acquire(
        self,
        claims: Sequence[Claim],
        request_id: str,
        decided: Callable[[Verdict], None],
        place: Verdict | None = None,
    ) -> Verdict | Asking:
        shared = claims
        dry = False
        for claim in claims:
            if claim.rule.algorithm == CONCURRENCY:
                place = place or self.local.acquire((claim,), request_id)
                shared = [one for one in claims if one is not claim]
                dry = bool(place.refusals)
                break
        asking = Asking(self, claims, shared, place, request_id, decided, dry)
        link = self.link
        if link is None:
            return asking.alone()
        if not shared:
            assert place is not None
            return asking.whole(Verdict([], place.now))
        asking.deadline = self._loop.time() + self._budget_s
        link.ask(self.codec.acquire(shared, request_id, dry=dry), asking)
        return asking

    def settle(
        self,
        settlements: Sequence[Settlement],
        verdict: Verdict,
        settled: Callable[[], None] | None = None,
    ) -> None:
        grant = verdict.grant
        if not isinstance(grant, RedisGrant):
            return
        items: list[Item] = []
        if grant.alone is not None:
            places = [one for one in settlements if one[0].rule.algorithm == CONCURRENCY]
            rest = [one for one in settlements if one[0].rule.algorithm != CONCURRENCY]
            for claim, charge in self.sharing.settle(rest, grant.alone):
                items.append((claim, charge, verdict.now, grant.request_id, False))
            if places and grant.place is not None:
                self.local.settle(places, grant.place)
        else:
            for claim, charge in settlements:
                if claim.rule.algorithm == CONCURRENCY:
                    if grant.place is not None:
                        self.local.settle(((claim, charge),), grant.place)
                else:
                    leased = claim.rule.algorithm == BALANCE
                    items.append((claim, charge, verdict.now, grant.request_id, leased))
        if items:
            # A turn later, when the journal has written the request's record: a process that is
            # killed in between leaves its lease, which is then charged with what the record says.
            self._loop.call_soon(self.settlements.add, items, settled)

    async def peek(self, claims: Sequence[Claim]) -> list[Step]:
        """What each claim alone would do, taking nothing."""
        steps: list[Step] = []
        for claim in claims:
            waiting: asyncio.Future[Verdict] = self._loop.create_future()
            if claim.rule.algorithm == CONCURRENCY or self.link is None:
                steps += self.local.peek([claim])
                continue
            asking = Asking(self, [claim], [claim], None, "", waiting.set_result, True)
            asking.deadline = self._loop.time() + 1.0
            self.link.ask(self.codec.acquire([claim], "", dry=True), asking)
            verdict = await waiting
            steps += verdict.steps
        return steps

    def balance(self, key: str) -> tuple[int, int]:
        """What is known here of a balance: what was spent at its last settlement."""
        known = self.settlements.spent.get(key)
        return (known[1], 0) if known is not None else (0, 0)

    def sweep(self) -> None:
        """Called each second."""
        self.local.sweep()
        now = self.clock.steady_ns()
        if len(self._known) > _KNOWN:
            for key in [key for key, (_, step) in self._known.items() if step[2] <= now][: _KNOWN // 2]:
                del self._known[key]
        self.settlements.forget(now)

    def known(self) -> Iterable[tuple[Claim, Step]]:
        """What was last known of counters whose window goes on, of each a claim and its step."""
        now = self.clock.steady_ns()
        return [one for one in self._known.values() if one[1][2] > now]

    def known_of(self, key: str) -> tuple[Claim, Step] | None:
        return self._known.get(key)

    def leases(self) -> Iterable[tuple[str, Claim]]:
        """What requests under way hold: field and claim of each lease."""
        return [
            (_field(request_id, key), claim) for (request_id, key), claim in self.settlements.leases.items()
        ]

    def taken(self, claims: Sequence[Claim], verdict: Verdict, request_id: str) -> None:
        """Remember what Redis said."""
        known, touched = self._known, self._touched
        refused = bool(verdict.refusals)
        for claim, step in zip(claims, verdict.steps, strict=True):
            known[claim.key] = (claim, step)
            touched.add(claim.key)
            if not refused and claim.rule.algorithm == BALANCE and step[0] is not None:
                self.settlements.leases[request_id, claim.key] = claim

    def look(self, link: Link) -> None:
        """Ask how the counters stand that were used since the last time: other hosts use them too."""
        keys = [*self._touched][:_LOOKED_AT]
        self._touched.clear()
        for first in range(0, len(keys), MAX_CLAIMS):
            claims = [
                Claim(known[0].rule, key, 0, known[0].until)
                for key in keys[first : first + MAX_CLAIMS]
                if (known := self._known.get(key)) is not None
            ]
            if claims:
                look = _Look(self, claims, self._loop.time() + _LOOK_S)
                link.ask(self.codec.acquire(claims, "", dry=True), look)

    def stands(self, claims: Sequence[Claim], verdict: Verdict) -> None:
        """What a look has found."""
        for claim, step in zip(claims, verdict.steps, strict=True):
            self._known[claim.key] = (claim, step)

    def answered(self) -> None:
        self._in_a_row = 0

    def was_late(self) -> None:
        self.late += 1
        self._in_a_row += 1
        if self._in_a_row >= _LATE_IN_A_ROW:
            self.leave("it does not answer within its budget")

    def ask_again(self, asking: Asking) -> None:
        """Redis has forgotten the scripts, so they are sent before the question is once more."""
        if self.link is None:
            asking.failed(Lost("no link"))
            return
        load(self.link, asking.deadline)
        self.link.ask(self.codec.acquire(asking.shared, asking.request_id, dry=asking.dry), asking)


class Asking:
    """A request that waits for its verdict. deadline: of the loop's clock."""

    __slots__ = (
        "_again",
        "_decided",
        "_forgone",
        "_let_on",
        "_place",
        "_store",
        "_whole",
        "deadline",
        "dry",
        "expired",
        "request_id",
        "shared",
    )

    def __init__(
        self,
        store: RedisCounters,
        whole: Sequence[Claim],
        shared: Sequence[Claim],
        place: Verdict | None,
        request_id: str,
        decided: Callable[[Verdict], None],
        dry: bool,
    ) -> None:
        self.shared = shared
        self.request_id = request_id
        self.dry = dry
        self.deadline = 0.0
        self.expired = False
        self._store = store
        self._whole = whole
        self._place = place
        self._decided = decided
        self._forgone = False
        self._again = False
        self._let_on = False

    def forgo(self) -> None:
        """The request ended before its verdict: what it takes is given back."""
        self._forgone = True

    def answered(self, reply: object) -> None:
        store = self._store
        if type(reply) is not bytes:
            if self.expired:
                return
            text = str(reply)
            if text.startswith("NOSCRIPT") and not self._again:
                self._again = True
                store.ask_again(self)
                return
            store.leave(text[:120])
            self.failed(Lost(text))
            return
        verdict = store.codec.verdict(self.shared, reply)
        if not self.dry:
            store.taken(self.shared, verdict, self.request_id)
        if self.expired:
            self._too_late(verdict)
            return
        store.answered()
        whole = self.whole(verdict)
        if self._forgone:
            self._settle_all(whole)
        else:
            self._decided(whole)

    def failed(self, error: Exception) -> None:
        self.expired = True
        if isinstance(error, Late):
            self._store.was_late()
        whole = self.alone()
        if self._forgone:
            self._settle_all(whole)
        else:
            self._decided(whole)

    def alone(self) -> Verdict:
        """The verdict without Redis."""
        store = self._store
        store.alone += 1
        if self.dry:
            return self.whole(Verdict(store.local.peek(self.shared), store.clock.steady_ns()))
        verdict = store.sharing.acquire(self.shared, store.known_of, self.request_id)
        self._let_on = not verdict.refusals
        grant = verdict.grant
        return self.whole(verdict, grant if isinstance(grant, AloneGrant) else None)

    def whole(self, verdict: Verdict, alone: AloneGrant | None = None) -> Verdict:
        """With the place among those under way, which is given back when the rest is refused."""
        place = self._place
        if place is None:
            grant = RedisGrant(self.request_id, None, alone)
            return Verdict(
                verdict.steps, verdict.now, verdict.refusals, verdict.shadows, grant, verdict.degraded
            )
        index, claim = next(
            (index, one) for index, one in enumerate(self._whole) if one.rule.algorithm == CONCURRENCY
        )
        steps = list(verdict.steps)
        steps.insert(index, place.steps[0])
        refusals = verdict.refusals
        if place.refusals:
            refusals = tuple(
                sorted((*refusals, *place.refusals), key=lambda one: self._whole.index(one.claim))
            )
        if refusals and not place.refusals and place.steps[0][0] is not None:
            self._store.local.settle(((claim, 0),), place)
        grant = RedisGrant(self.request_id, place if not refusals else None, alone)
        return Verdict(steps, verdict.now, refusals, verdict.shadows + place.shadows, grant, verdict.degraded)

    def _too_late(self, verdict: Verdict) -> None:
        """The request was decided without this answer."""
        store = self._store
        if self.dry or verdict.refusals:
            return
        # What was let on here is counted there after all; the rest is given back.
        kept = store.sharing.heard(self.shared) if self._let_on else set()
        grant = RedisGrant(self.request_id, None, None)
        taken = [
            (claim, 0)
            for claim, step in zip(self.shared, verdict.steps, strict=True)
            if step[0] is not None and claim.key not in kept
        ]
        store.settle(taken, Verdict(verdict.steps, verdict.now, grant=grant))

    def _settle_all(self, verdict: Verdict) -> None:
        if not verdict.refusals and not self.dry:
            taken = [
                (one, 0) for one, step in zip(self._whole, verdict.steps, strict=True) if step[0] is not None
            ]
            self._store.settle(taken, verdict)


class _Look:
    """A question how counters stand."""

    def __init__(self, store: RedisCounters, claims: Sequence[Claim], deadline: float) -> None:
        self.deadline = deadline
        self.expired = False
        self._store = store
        self._claims = claims

    def answered(self, reply: object) -> None:
        if type(reply) is bytes:
            self._store.stands(self._claims, self._store.codec.verdict(self._claims, reply))

    def failed(self, error: Exception) -> None:
        """Whoever asks for more than a look finds out."""


def _field(request_id: str, key: str) -> str:
    return f"{request_id}|{counter_key(key).decode('utf-8', 'surrogatepass')}"
