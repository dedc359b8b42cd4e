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
from llmgw.stores.alone_log import AloneLog, NoAloneLog
from llmgw.stores.redis_alone import Alone
from llmgw.stores.redis_asking import Asking, Look, RedisGrant
from llmgw.stores.redis_claims import MAX_CLAIMS, Codec, Item, counter_key
from llmgw.stores.redis_link import Link, Lost
from llmgw.stores.redis_permits import Permits
from llmgw.stores.redis_settlements import Settlements, load
from llmgw.stores.redis_shares import Shares

BUDGET_S = 0.02
_LATE_IN_A_ROW = 3
_KNOWN = 16_384
_LOOKED_AT = 512
_LOOK_S = 1.0


class RedisCounters:
    """Implements `ports.counters.SharedCounters` for one worker.

    link: the connection; None while Redis cannot be used. lost: told why it is not, from now on.
    log, life: of `stores.redis_shares`. leases: whether permits are taken in advance.
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
        log: AloneLog | None = None,
        life: str = "",
        *,
        leases: bool = False,
    ) -> None:
        self.clock = clock
        self.codec = codec
        self.local = local
        self.link: Link | None = None
        self.late = 0
        self.alone = 0
        self._loop = loop
        self._lost = lost
        self._budget_s = budget_s
        self._in_a_row = 0
        self._known: dict[str, tuple[Claim, Step]] = {}
        self._touched: set[str] = set()
        self.settlements = Settlements(loop, codec, self.leave)
        self.shares = Shares(loop, codec, local, clock, self.settlements, log or NoAloneLog(), life)
        self.sharing = Alone(local, clock.steady_ns, self.shares)
        self.permits: Permits | None = None
        if leases:
            self.permits = Permits(codec, clock.steady_ns, loop.time, self.settlements.add)

    def use(self, link: Link) -> None:
        """Decide with Redis from now on."""
        self._in_a_row = 0
        self.link = self.settlements.link = link
        self.shares.use(link)
        self.settlements.send(link)

    def leave(self, why: str) -> None:
        """Decide without Redis from now on."""
        if self.link is not None:
            self.link = self.settlements.link = self.shares.link = None
            self.sharing.begin()
            if self.permits is not None:
                self.permits.leave()
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
        permits = self.permits
        if permits is not None and not dry and (verdict := permits.take(shared)) is not None:
            return asking.whole(verdict)
        asking.deadline = self._loop.time() + self._budget_s
        link.ask(self.codec.acquire(shared, request_id, dry=dry), asking)
        if permits is not None and not dry:
            permits.fill(shared, link)
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
        if self.permits is not None:
            self.permits.sweep()
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

    def end(self, link: Link) -> None:
        """This process goes: give back what it has in advance."""
        self.shares.end(link)
        if self.permits is not None:
            self.permits.end()

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
                self.shares.used(claim)

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
                look = Look(self, claims, self._loop.time() + _LOOK_S)
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

    def give_up(self, asking: Asking, verdict: Verdict) -> bool:
        """Ask again without this host's shares, if they are what this was refused for."""
        if self.link is None or not self.shares.give_up(verdict.refusals, self.link):
            return False
        self.link.ask(self.codec.acquire(asking.shared, asking.request_id), asking)
        return True

    def ask_again(self, asking: Asking) -> None:
        """Redis has forgotten the scripts, so they are sent before the question is once more."""
        if self.link is None:
            asking.failed(Lost("no link"))
            return
        load(self.link, asking.deadline)
        self.link.ask(self.codec.acquire(asking.shared, asking.request_id, dry=asking.dry), asking)


def _field(request_id: str, key: str) -> str:
    return f"{request_id}|{counter_key(key).decode('utf-8', 'surrogatepass')}"
