"""Limits and quotas on counters that all hosts share: one trip for both, before a request goes on.

The verdict is waited for. While the counters cannot be reached it is the host's own, and the
answer says so (`x-llmgw-degraded`); what may not be decided alone is refused with 503.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, cast

from llmgw.core.claim import BALANCE, Claim, Verdict
from llmgw.core.clock import Clock
from llmgw.core.errors import Unavailable
from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.core.reply import Reply
from llmgw.engine.strand import Pause
from llmgw.policies.client_address import ClientAddress
from llmgw.policies.idempotency import KEY
from llmgw.policies.places import Places
from llmgw.policies.quota import Allowance, Group, Quota, charges
from llmgw.policies.rate_limit import Arranged, Levels, RateLimit, only_places
from llmgw.ports.alerts import Alerter
from llmgw.ports.counters import CounterStore, SharedCounters
from llmgw.ports.policy import Policy, Ticket
from llmgw.tokens.prices import UnitPrices

_RETRY_S = 1


class SharedQuota(Quota):
    """The quotas of one plan. local: the host's counters, which hold no balances."""

    def __init__(
        self,
        shared: SharedCounters,
        local: CounterStore,
        allowances: Callable[[Principal], Sequence[Allowance]],
        prices: Callable[[], Sequence[UnitPrices | None]],
        clock: Clock,
        alerter: Alerter,
    ) -> None:
        super().__init__(local, allowances, prices, clock, alerter)
        self._shared = shared
        self._held: dict[str, Ticket] = {}

    def admit(self, ex: Exchange) -> Ticket | Reply | Awaitable[Ticket | Reply | None] | None:
        held = self._held.pop(ex.request_id, None)
        if held is not None:
            return held
        asked = self.asked(ex)
        return None if asked is None else self._ask(ex, *asked)

    def keep(self, ex: Exchange, group: Group, claims: Sequence[Claim], verdict: Verdict) -> None:
        """Have what was held in the limits' trip be there when the request comes by here."""
        self._held[ex.request_id] = self.conclude(ex, group, claims, verdict)

    def conclude(self, ex: Exchange, group: Group, claims: Sequence[Claim], verdict: Verdict) -> Ticket:
        _refuse_unknown(verdict)
        return super().conclude(ex, group, claims, verdict)

    async def _ask(self, ex: Exchange, group: Group, claims: Sequence[Claim]) -> Ticket:
        verdict = await taken(self._shared, claims, ex.request_id, Pause())
        _tell(ex, verdict)
        return self.conclude(ex, group, claims, verdict)

    def settle(
        self, ex: Exchange, allowances: Sequence[Allowance], claims: Sequence[Claim], verdict: Verdict
    ) -> None:
        told = None
        if ex.opened and any(allowance.alert_at for allowance in allowances):
            told = partial(self._look, allowances, claims)
        self._shared.settle(charges(ex, claims), verdict, told)

    def _look(self, allowances: Sequence[Allowance], claims: Sequence[Claim]) -> None:
        for allowance, claim in zip(allowances, claims, strict=True):
            if allowance.alert_at:
                self.watch(allowance, claim)

    def spent(self, key: str) -> int:
        return self._shared.balance(key)[0]


class SharedRateLimit(RateLimit):
    """The limits of one plan. quota: taken in the same trip, None for a trip of its own.

    strands: requests are `engine.strand`s here; False where they are tasks.
    """

    def __init__(
        self,
        shared: SharedCounters,
        local: CounterStore,
        levels: Callable[[Principal], Levels],
        address: ClientAddress | None,
        caller: ClientAddress,
        places: Places,
        utc_offset_ns: int,
        *,
        strands: bool,
    ) -> None:
        super().__init__(local, levels, address, caller, places, utc_offset_ns)
        self._shared = shared
        self._settles = shared
        self._strands = strands
        self.quota: SharedQuota | None = None

    def _take(
        self, ex: Exchange, arranged: Arranged, claims: tuple[Claim, ...]
    ) -> Awaitable[Ticket | Reply | None]:
        return self._ask(ex, arranged, claims)

    async def _ask(self, ex: Exchange, arranged: Arranged, claims: tuple[Claim, ...]) -> Ticket:
        # A request with a key may be one whose answer is known, which no quota is spent on.
        asked = self.quota.asked(ex) if self.quota is not None and KEY not in ex.fields else None
        every = claims if asked is None else (*claims, *asked[1])
        place: Verdict | None = None
        if arranged.place is not None and self._places.waiting:
            place = await self._place(ex, arranged.place)
        verdict = await self._taken(every, ex, place)
        if place is None and arranged.place is not None and self._places.queue and _lacks_place(verdict):
            place = await self._place(ex, arranged.place)
            if place is not None:
                verdict = await self._taken(every, ex, place)
        _tell(ex, verdict)
        if asked is None:
            return self._let_on(ex, arranged, claims, verdict)
        near, far = _split(verdict, len(claims))
        # Either may refuse, the limits first; then nothing was taken of both.
        permits = self._let_on(ex, arranged, claims, near)
        assert self.quota is not None
        self.quota.keep(ex, *asked, far)
        return permits

    def _let_on(
        self, ex: Exchange, arranged: Arranged, claims: tuple[Claim, ...], verdict: Verdict
    ) -> Ticket:
        _refuse_unknown(verdict)
        head = ex.limit_head
        try:
            return self._conclude(ex, arranged, claims, verdict)
        finally:
            ex.limit_head += head

    async def _taken(self, claims: Sequence[Claim], ex: Exchange, place: Verdict | None) -> Verdict:
        wait = Pause() if self._strands else _Turn()
        return await taken(self._shared, claims, ex.request_id, wait, place)

    async def _place(self, ex: Exchange, claim: Claim) -> Verdict | None:
        """Stand in line for a place of this host. The other limits are not taken meanwhile."""
        assert ex.principal is not None

        def attempt() -> Verdict | None:
            verdict = self._counters.acquire((claim,), ex.request_id)
            return None if verdict.refusals else verdict

        def give_back(taken: Verdict) -> None:
            self._counters.settle(((claim, 0),), taken)

        return await self._places.take(ex.principal.tenant, attempt, give_back)


class _Turn:
    """What a task waits for, as `engine.strand.Pause` is what a strand does."""

    def __init__(self) -> None:
        self._future: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def __await__(self) -> Generator[Any, None, object]:
        return self._future.__await__()

    def wake(self, value: object = None) -> None:
        if not self._future.done():
            self._future.set_result(value)


async def taken(
    shared: SharedCounters,
    claims: Sequence[Claim],
    request_id: str,
    wait: Pause | _Turn,
    place: Verdict | None = None,
) -> Verdict:
    """The verdict on the claims. When it is not waited for to its end, nothing stays taken."""
    given = shared.acquire(claims, request_id, wait.wake, place)
    if isinstance(given, Verdict):
        return given
    try:
        return cast("Verdict", await wait)
    except BaseException:
        given.forgo()
        raise


def together(policies: Sequence[Policy]) -> tuple[Policy, ...]:
    """The policies, with limits and the quotas right behind them taken in one trip."""
    for one, following in pairwise(policies):
        if isinstance(one, SharedRateLimit) and isinstance(following, SharedQuota):
            one.quota = following
    return tuple(policies)


def _split(verdict: Verdict, count: int) -> tuple[Verdict, Verdict]:
    """The verdicts on the first claims, which are limits, and on the rest, which are quotas."""
    parts = []
    for steps, quotas in ((verdict.steps[:count], False), (verdict.steps[count:], True)):
        refusals, shadows = (
            tuple(one for one in some if (one.claim.rule.algorithm == BALANCE) is quotas)
            for some in (verdict.refusals, verdict.shadows)
        )
        parts.append(Verdict(steps, verdict.now, refusals, shadows, verdict.grant, verdict.degraded))
    return parts[0], parts[1]


def _lacks_place(verdict: Verdict) -> bool:
    return bool(verdict.refusals) and only_places(verdict)


def _tell(ex: Exchange, verdict: Verdict) -> None:
    if verdict.degraded:
        ex.limit_head += b"x-llmgw-degraded: %b\r\n" % verdict.degraded


def _refuse_unknown(verdict: Verdict) -> None:
    """Raise Unavailable when a rule wants no decision without the shared counters."""
    if not verdict.degraded:
        return
    denied = [one.claim.rule for one in verdict.refusals if one.claim.rule.on_store_error == "deny"]
    if denied:
        quota = any(rule.algorithm == BALANCE for rule in denied)
        raise Unavailable(
            f"{'quotas' if quota else 'limits'} cannot be checked at the moment. Please retry shortly.",
            detail=", ".join(rule.name for rule in denied),
            retry_after_s=_RETRY_S,
        )
