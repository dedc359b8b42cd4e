"""Holds requests to every rate limit at once: all are taken, or none.

A request that is refused further on, by a quota, gives its permits back, so that a refusal never
spends any.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from llmgw.core.claim import CONCURRENCY, Claim, Rule, Verdict
from llmgw.core.errors import LimitExceeded
from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.core.reply import Reply
from llmgw.dialects.endpoints import ANTHROPIC
from llmgw.dialects.limit_headers import LimitHead
from llmgw.policies.client_address import ClientAddress
from llmgw.policies.places import Places
from llmgw.ports.counters import CounterStore, Settlement, Settles
from llmgw.ports.policy import Ticket
from llmgw.tokens.need import need_of, used_tokens

MESSAGE = "Rate limit exceeded. Please retry after the specified delay."
ENFORCE, SHADOW = "enforce", "shadow"

_REMEMBERED = 8192
_ARRANGED = 1024
_PLACE_WAIT_S = 1
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Arranged:
    """The claims of requests that differ in nothing but their tokens.

    claims: what costs one request each, then the place among those under way, if any.
    tokens: one claim of no cost for each limit in tokens.
    release: what gives the place back.
    """

    claims: tuple[Claim, ...]
    tokens: tuple[Claim, ...]
    place: Claim | None
    release: tuple[Settlement, ...]
    head: LimitHead
    anthropic_head: LimitHead


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """The limits of one caller, outermost last.

    near: of the caller itself; far: of everybody.
    by_caller: rules that count the caller's address because nothing else is known of it.
    by_address: rules that count addresses, but for exempt ones.
    """

    near: tuple[Claim, ...]
    far: tuple[Claim, ...]
    by_address: tuple[Rule, ...]
    place: Claim | None
    by_caller: tuple[Rule, ...] = ()
    _arranged: dict[tuple[str | None, str | None], Arranged] = field(default_factory=dict)

    def arranged(self, address: str | None, caller: str | None = None) -> Arranged:
        """With the claims of an address, None for one that is exempt, and of an unknown caller."""
        known = self._arranged.get((address, caller))
        if known is None:
            if len(self._arranged) >= _ARRANGED:
                self._arranged.clear()
            known = self._arranged[address, caller] = self._arrange(address, caller)
        return known

    def _arrange(self, address: str | None, caller: str | None) -> Arranged:
        by_caller = [claim_of(rule, caller or "nowhere") for rule in self.by_caller]
        by_address = [] if address is None else [claim_of(rule, address) for rule in self.by_address]
        every = (*by_caller, *self.near, *by_address, *self.far)
        claims = tuple(claim for claim in every if claim.rule.unit != "tokens")
        tokens = tuple(claim for claim in every if claim.rule.unit == "tokens")
        if self.place is not None:
            claims = (*claims, self.place)
        rules = [claim.rule for claim in (*claims, *tokens)]
        release = () if self.place is None else ((self.place, 0),)
        return Arranged(
            claims, tokens, self.place, release, LimitHead(rules, None), LimitHead(rules, ANTHROPIC)
        )


def claim_of(rule: Rule, subject: str) -> Claim:
    """A claim on the counter of `subject`: of one request, or of tokens yet to be counted."""
    return Claim(rule, f"{rule.counts}|{subject}", 0 if rule.unit == "tokens" else 1)


class RateLimit:
    """The limits of one plan.

    levels: the limits of a principal here.
    address: whom an address is counted as; None when authenticated requests are not counted so.
    caller: the same for callers of whom nothing else is known; nobody is exempt.
    places: the line for a place among the requests under way.
    """

    def __init__(
        self,
        counters: CounterStore,
        levels: Callable[[Principal], Levels],
        address: ClientAddress | None,
        caller: ClientAddress,
        places: Places,
        utc_offset_ns: int,
    ) -> None:
        self._counters = counters
        self._settles: Settles = counters
        self._levels = levels
        self._address = address
        self._caller = caller
        self._places = places
        self._utc_offset_ns = utc_offset_ns
        self._known: dict[int, tuple[Principal, Levels]] = {}

    def admit(self, ex: Exchange) -> Ticket | Reply | Awaitable[Ticket | Reply | None] | None:
        principal = ex.principal
        assert principal is not None
        known = self._known.get(id(principal))
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            # The principal is kept beside its levels, so that its id names no other meanwhile.
            known = self._known[id(principal)] = (principal, self._levels(principal))
        address = self._address
        levels = known[1]
        arranged = levels.arranged(
            address.subject(ex) if address is not None else None,
            self._caller.subject(ex) if levels.by_caller else None,
        )
        claims = arranged.claims
        if arranged.tokens:
            need = need_of(ex).expected
            claims = (*claims, *(Claim(one.rule, one.key, need) for one in arranged.tokens))
        if not claims:
            return None
        return self._take(ex, arranged, claims)

    def _take(
        self, ex: Exchange, arranged: Arranged, claims: tuple[Claim, ...]
    ) -> Ticket | Awaitable[Ticket | Reply | None]:
        """Take the claims, at once if no line is to be stood in."""
        if arranged.place is not None and self._places.waiting:
            return self._wait(ex, arranged, claims)
        verdict = self._counters.acquire(claims, ex.request_id)
        if verdict.refusals and self._places.queue and only_places(verdict):
            return self._wait(ex, arranged, claims)
        return self._conclude(ex, arranged, claims, verdict)

    def _conclude(
        self, ex: Exchange, arranged: Arranged, claims: tuple[Claim, ...], verdict: Verdict
    ) -> Ticket:
        if verdict.shadows:
            ex.limited += tuple((refusal.claim.rule.name, SHADOW) for refusal in verdict.shadows)
        head = arranged.anthropic_head if ex.endpoint.dialect == ANTHROPIC else arranged.head
        if verdict.refusals:
            raise refused(ex, claims, verdict, head, self._utc_offset_ns)
        ex.limit_head = head.render(verdict.steps, verdict.now, self._utc_offset_ns)
        return _Permits(self, arranged, claims, verdict)

    async def _wait(self, ex: Exchange, arranged: Arranged, claims: tuple[Claim, ...]) -> Ticket:
        """Stand in line for a place. The other limits are not taken meanwhile."""
        assert ex.principal is not None

        def attempt() -> Verdict | None:
            verdict = self._counters.acquire(claims, ex.request_id)
            return None if verdict.refusals and only_places(verdict) else verdict

        def give_back(taken: Verdict) -> None:
            self._counters.settle(
                [(one, 0) for one, step in zip(claims, taken.steps, strict=True) if step[0] is not None],
                taken,
            )

        verdict = await self._places.take(ex.principal.tenant, attempt, give_back)
        if verdict is None:
            verdict = self._counters.acquire(claims, ex.request_id)
        try:
            return self._conclude(ex, arranged, claims, verdict)
        except LimitExceeded:
            self._places.freed()
            raise

    def settle(self, ex: Exchange, arranged: Arranged, claims: tuple[Claim, ...], verdict: Verdict) -> None:
        """Give back what a request took, as it ended."""
        if isinstance(ex.error, LimitExceeded) or verdict.shadows:
            self._settles.settle(self._all(ex, claims, verdict), verdict)
        elif arranged.tokens:
            self._settles.settle([*arranged.release, *self._tokens(ex, arranged, claims)], verdict)
        elif arranged.release:
            self._settles.settle(arranged.release, verdict)
        if arranged.place is not None and self._places.waiting:
            self._places.freed()

    def _all(self, ex: Exchange, claims: tuple[Claim, ...], verdict: Verdict) -> list[Settlement]:
        """What every claim comes to where not all were taken, or all are given back."""
        refused_later = isinstance(ex.error, LimitExceeded)
        settlements: list[Settlement] = []
        for claim, step in zip(claims, verdict.steps, strict=True):
            if step[0] is None:
                continue
            if refused_later or claim.rule.algorithm == CONCURRENCY:
                settlements.append((claim, 0))
            elif claim.rule.unit == "tokens":
                settlements.append((claim, used_tokens(ex)))
        return settlements

    def _tokens(self, ex: Exchange, arranged: Arranged, claims: tuple[Claim, ...]) -> list[Settlement]:
        used = used_tokens(ex)
        return [(claim, used) for claim in claims[len(arranged.claims) :]]


class _Permits:
    """What a request has taken."""

    __slots__ = ("_arranged", "_claims", "_policy", "_verdict")

    def __init__(
        self, policy: RateLimit, arranged: Arranged, claims: tuple[Claim, ...], verdict: Verdict
    ) -> None:
        self._policy = policy
        self._arranged = arranged
        self._claims = claims
        self._verdict = verdict

    def settle(self, ex: Exchange) -> None:
        self._policy.settle(ex, self._arranged, self._claims, self._verdict)


class UnprovedLimit:
    """The limits of requests that nobody is known to have sent: of everybody, and of addresses.

    So a flood of bad keys spends no tenant's and no user's permits.
    """

    def __init__(
        self, counters: CounterStore, levels: Levels, address: ClientAddress, utc_offset_ns: int
    ) -> None:
        self._counters = counters
        self._levels = levels
        self._address = address
        self._utc_offset_ns = utc_offset_ns

    def admit(self, ex: Exchange) -> None:
        """Count the request. Raises LimitExceeded."""
        arranged = self._levels.arranged(self._address.subject(ex))
        claims = arranged.claims
        if not claims:
            return
        verdict = self._counters.acquire(claims, ex.request_id)
        ex.limited += tuple((refusal.claim.rule.name, SHADOW) for refusal in verdict.shadows)
        if verdict.refusals:
            raise refused(ex, claims, verdict, arranged.head, self._utc_offset_ns)
        ex.limit_head = arranged.head.render(verdict.steps, verdict.now, self._utc_offset_ns)


def refused(
    ex: Exchange, claims: Sequence[Claim], verdict: Verdict, head: LimitHead, utc_offset_ns: int
) -> LimitExceeded:
    """The refusal, with the wait after which a lone caller is let on."""
    refusals = verdict.refusals
    ex.limited += tuple((refusal.claim.rule.name, ENFORCE) for refusal in refusals)
    places = only_places(verdict)
    never = any(refusal.never for refusal in refusals)
    longest = max(refusals, key=lambda refusal: refusal.at)
    wait_s = _PLACE_WAIT_S if places else max(1, -((verdict.now - longest.at) // _NS))
    ordered = sorted(refusals, key=lambda refusal: -refusal.at)
    indices = [claims.index(refusal.claim) for refusal in ordered]
    ex.limit_head = head.refused(verdict.steps, indices, wait_s, verdict.now, utc_offset_ns)
    return LimitExceeded(
        MESSAGE,
        code="concurrency_limit_exceeded" if places else None,
        detail=", ".join(refusal.claim.rule.name for refusal in ordered),
        retry_after_s=wait_s,
        headers=(("x-should-retry", "false"),) if never else (),
    )


def only_places(verdict: Verdict) -> bool:
    return all(refusal.claim.rule.algorithm == CONCURRENCY for refusal in verdict.refusals)
