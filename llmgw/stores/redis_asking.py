"""Questions to Redis that wait for their answers: a request's, and how counters stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from llmgw.core.claim import CONCURRENCY, Claim, Refusal, Verdict
from llmgw.stores.redis_alone import AloneGrant
from llmgw.stores.redis_link import Late, Lost

if TYPE_CHECKING:
    from llmgw.stores.redis_counters import RedisCounters


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
        if verdict.refusals and not self.dry and not self._forgone and store.give_up(self, verdict):
            return
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
        refusals, shadows = verdict.refusals, verdict.shadows
        if place.refusals:
            refusals = self._in_order(refusals + place.refusals)
        if place.shadows:
            shadows = self._in_order(shadows + place.shadows)
        if refusals and not place.refusals and place.steps[0][0] is not None:
            self._store.local.settle(((claim, 0),), place)
        grant = RedisGrant(self.request_id, place if not refusals else None, alone)
        return Verdict(steps, verdict.now, refusals, shadows, grant, verdict.degraded)

    def _in_order(self, refusals: tuple[Refusal, ...]) -> tuple[Refusal, ...]:
        return tuple(sorted(refusals, key=lambda one: self._whole.index(one.claim)))

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


class Look:
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
