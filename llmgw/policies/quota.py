"""Holds the worst a request can cost against every quota it falls under, before it is dispatched.

All quotas of a request are held in one operation, or none. At the end each hold becomes what the
request's record says, so that a balance is always the sum of the records of its period; a request
that left no record leaves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from llmgw.core.alert import Alert
from llmgw.core.claim import BALANCE, Claim, Refusal, Rule, Verdict
from llmgw.core.clock import Clock
from llmgw.core.errors import LimitExceeded, PermissionDenied
from llmgw.core.exchange import Exchange
from llmgw.core.principal import Principal
from llmgw.core.reply import Reply
from llmgw.limits.calendar import period
from llmgw.policies.rate_limit import ENFORCE, SHADOW
from llmgw.ports.alerts import Alerter
from llmgw.ports.counters import CounterStore, Settlement
from llmgw.ports.policy import Ticket
from llmgw.tokens.need import Need, need_of
from llmgw.tokens.prices import UnitPrices, worst_cost_nano_usd

WARN = "warn"

_REMEMBERED = 8192
_HELD_WAIT_S = 2
"""When holds are in the way: about as long as a request takes, and within 1 to 30 seconds."""
_PPM = 1_000_000
_NS = 1_000_000_000
_MONEY = "cost"
_WORDS = {
    "requests": "requests",
    "tokens": "tokens",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
}


@dataclass(frozen=True, slots=True, eq=False)
class Allowance:
    """One quota of one subject.

    key: names its balances, all but the period.
    subject: whose: `tenant`, and `user` or `key`.
    model: the pattern of the models that it counts, None for all.
    alert_at: parts per million of the limit, ascending.
    reserve_output: output tokens to hold for a request that names no cap.
    clamp: cap such a request at that.
    """

    name: str
    key: str
    subject: Mapping[str, str]
    unit: str
    limit: int
    window: str
    zone: tzinfo
    model: str | None
    alert_at: tuple[int, ...] = ()
    warn: bool = False
    shadow: bool = False
    reserve_output: int = 4096
    clamp: bool = False
    on_store_error: str = "deny"
    _now: list[_Period] = field(default_factory=list)

    def at(self, utc_ns: int, utc_offset_ns: int) -> _Period:
        """The period of a moment."""
        if self._now and self._now[0].start_ns <= utc_ns < self._now[0].end_ns:
            return self._now[0]
        start, end = period(self.window, self.zone, utc_ns // _NS)
        rule = Rule(
            name=self.name,
            counts=self.key,
            algorithm=BALANCE,
            unit=self.unit,
            limit=self.limit,
            shadow=self.shadow,
            warn=self.warn,
            on_store_error=self.on_store_error,
        )
        key, until = f"{self.key}|{start}", end * _NS - utc_offset_ns
        made = _Period(start * _NS, end * _NS, key, rule, until, Claim(rule, key, 1, until))
        self._now[:] = [made]
        return made

    @property
    def lenient(self) -> bool:
        """It refuses nobody."""
        return self.warn or self.shadow


@dataclass(frozen=True, slots=True, eq=False)
class _Period:
    """until: its end on the counters' clock. one: the claim of one request."""

    start_ns: int
    end_ns: int
    key: str
    rule: Rule
    until: int
    one: Claim


class Group:
    """The quotas of one caller, with the claims of one request of each in the current periods.

    The caller is kept, so that its id names no other meanwhile. by_request: all count requests.
    noted: some have something to say in the request or its answer.
    """

    __slots__ = ("allowances", "by_request", "end_ns", "noted", "ones", "principal", "start_ns")

    def __init__(self, principal: Principal, allowances: Sequence[Allowance]) -> None:
        self.principal = principal
        self.allowances = allowances
        self.by_request = all(one.unit == "requests" for one in allowances)
        self.noted = any(one.unit == _MONEY or one.clamp for one in allowances)
        self.ones: tuple[Claim, ...] = ()
        self.start_ns = self.end_ns = 0


class Quota:
    """The quotas of one plan.

    allowances: those of a principal here.
    prices: of every target the plan may go to; None for one whose prices are not known.
    """

    def __init__(
        self,
        counters: CounterStore,
        allowances: Callable[[Principal], Sequence[Allowance]],
        prices: Callable[[], Sequence[UnitPrices | None]],
        clock: Clock,
        alerter: Alerter,
    ) -> None:
        self._counters = counters
        self._allowances = allowances
        self._prices = prices
        self._clock = clock
        self._alerter = alerter
        self._known: dict[int, Group] = {}

    def admit(self, ex: Exchange) -> Ticket | Reply | Awaitable[Ticket | Reply | None] | None:
        asked = self.asked(ex)
        if asked is None:
            return None
        group, claims = asked
        return self.conclude(ex, group, claims, self._counters.acquire(claims, ex.request_id))

    def asked(self, ex: Exchange) -> tuple[Group, Sequence[Claim]] | None:
        """What the request is to hold; None where no quota applies."""
        principal = ex.principal
        assert principal is not None
        known = self._known.get(id(principal))
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[id(principal)] = Group(principal, self._allowances(principal))
        allowances = known.allowances
        if not allowances:
            return None
        clock = self._clock
        offset = clock.utc_offset_ns
        ex.at_ns = now = clock.steady_ns() + offset
        if known.start_ns <= now < known.end_ns:
            claims: Sequence[Claim] = known.ones
        else:
            periods = [allowance.at(now, offset) for allowance in allowances]
            claims = known.ones = tuple(this.one for this in periods)
            known.start_ns = max(this.start_ns for this in periods)
            known.end_ns = min(this.end_ns for this in periods)
        if not known.by_request:
            claims = [
                one
                if one.rule.unit == "requests"
                else Claim(one.rule, one.key, self._hold(ex, allowance), one.until)
                for one, allowance in zip(claims, allowances, strict=True)
            ]
        return known, claims

    def conclude(self, ex: Exchange, group: Group, claims: Sequence[Claim], verdict: Verdict) -> Ticket:
        """What was held, to be settled. Raises LimitExceeded."""
        if verdict.shadows:
            ex.limited += tuple(
                (refusal.claim.rule.name, WARN if refusal.claim.rule.warn else SHADOW)
                for refusal in verdict.shadows
            )
        if verdict.refusals:
            raise self._refused(ex, verdict)
        if group.noted:
            self._note(ex, group.allowances, verdict)
        return _Hold(self, group.allowances, claims, verdict)

    def settle(
        self, ex: Exchange, allowances: Sequence[Allowance], claims: Sequence[Claim], verdict: Verdict
    ) -> None:
        """Turn the holds into what the request's record says."""
        self._counters.settle(charges(ex, claims), verdict)
        for allowance, claim in zip(allowances, claims, strict=True):
            if allowance.alert_at and ex.opened:
                # Not now: counters may settle at the end of this turn of the loop.
                asyncio.get_running_loop().call_soon(self.watch, allowance, claim)

    def _hold(self, ex: Exchange, allowance: Allowance) -> int:
        """The most that the request can use of an allowance."""
        need = need_of(ex)
        output = need.output(allowance.reserve_output)
        if allowance.unit == _MONEY:
            return self._worst_cost(ex, need, output, allowance)
        if allowance.unit == "input_tokens":
            return need.input
        return output if allowance.unit == "output_tokens" else need.input + output

    def _worst_cost(self, ex: Exchange, need: Need, output: int, allowance: Allowance) -> int:
        worst = 0
        for prices in self._prices():
            cost = worst_cost_nano_usd(prices, need.input, output) if prices is not None else None
            if cost is not None:
                worst = max(worst, cost)
            elif not allowance.lenient:
                raise PermissionDenied(
                    f"a budget applies here and the price of model '{ex.model}' is not known",
                    code="price_unknown",
                    detail="set it under prices.overrides",
                    param="model",
                )
        return worst

    def _note(self, ex: Exchange, allowances: Sequence[Allowance], verdict: Verdict) -> None:
        """What the request and its answer should carry."""
        budget: int | None = None
        for allowance, step in zip(allowances, verdict.steps, strict=True):
            if allowance.unit == _MONEY and not allowance.shadow:
                budget = step[1] if budget is None else min(budget, step[1])
            if allowance.clamp and not allowance.lenient:
                need = need_of(ex)
                if need.stated is None and not need.silent:
                    cap = allowance.reserve_output
                    ex.clamp = cap if ex.clamp is None else min(ex.clamp, cap)
        if budget is not None:
            ex.limit_head += b"x-llmgw-budget-remaining: %b\r\n" % _usd(max(0, budget)).encode()

    def _refused(self, ex: Exchange, verdict: Verdict) -> LimitExceeded:
        refusals = verdict.refusals
        ex.limited += tuple((refusal.claim.rule.name, ENFORCE) for refusal in refusals)
        names = ", ".join(refusal.claim.rule.name for refusal in refusals)
        spent = [refusal for refusal in refusals if not refusal.held]
        if not spent:
            return LimitExceeded(
                "the rest of this quota is held for requests under way. Please retry shortly.",
                code="quota_held",
                detail=names,
                retry_after_s=_HELD_WAIT_S,
            )
        worst = max(spent, key=lambda refusal: refusal.at)
        return LimitExceeded(
            _exhausted(worst, self._clock.utc_offset_ns),
            code="insufficient_quota",
            detail=names,
            retry_after_s=max(1, -((verdict.now - worst.at) // _NS)),
            headers=(("x-should-retry", "false"),),
        )

    def spent(self, key: str) -> int:
        """What is spent of a balance."""
        return self._counters.balance(key)[0]

    def watch(self, allowance: Allowance, claim: Claim) -> None:
        """Tell of the thresholds that are reached; who is told knows which are new."""
        spent = self.spent(claim.key)
        for ppm in allowance.alert_at:
            if allowance.limit * ppm <= spent * _PPM:
                self._alerter.crossed(alert(allowance, claim, spent, ppm, self._clock.utc_offset_ns))


class _Hold:
    """What a request holds."""

    __slots__ = ("_allowances", "_claims", "_policy", "_verdict")

    def __init__(
        self, policy: Quota, allowances: Sequence[Allowance], claims: Sequence[Claim], verdict: Verdict
    ) -> None:
        self._policy = policy
        self._allowances = allowances
        self._claims = claims
        self._verdict = verdict

    def settle(self, ex: Exchange) -> None:
        self._policy.settle(ex, self._allowances, self._claims, self._verdict)


def alert(allowance: Allowance, claim: Claim, spent: int, ppm: int, utc_offset_ns: int) -> Alert:
    """That a balance has reached a threshold."""
    return Alert(
        balance=claim.key,
        threshold_ppm=ppm,
        subject=dict(allowance.subject),
        unit=allowance.unit,
        window=allowance.window,
        model=allowance.model,
        used=spent,
        limit=allowance.limit,
        resets_at_s=(claim.until + utc_offset_ns) // _NS,
    )


def charges(ex: Exchange, claims: Sequence[Claim]) -> list[Settlement]:
    """What a request's record adds to the balances that it held something of."""
    return [(claim, _charge(ex, claim.rule.unit)) for claim in claims]


def _charge(ex: Exchange, unit: str) -> int:
    """What a request's record adds to a balance of `unit`."""
    if not ex.opened:
        return 0
    if unit == "requests":
        return 1
    if unit == _MONEY:
        return ex.cost_nano_usd or 0
    usage = ex.usage
    if usage is None:
        return 0
    if unit == "input_tokens":
        return usage.input_tokens
    return usage.output_tokens if unit == "output_tokens" else usage.input_tokens + usage.output_tokens


def _exhausted(refusal: Refusal, utc_offset_ns: int) -> str:
    rule = refusal.claim.rule
    resets = datetime.fromtimestamp((refusal.at + utc_offset_ns) // _NS, UTC)
    amounts = [
        f"{_usd(amount)} USD" if rule.unit == _MONEY else f"{amount} {_WORDS[rule.unit]}"
        for amount in (refusal.remaining, rule.limit, refusal.claim.cost)
    ]
    return (
        f"quota exceeded: {amounts[0]} of {amounts[1]} are left until {resets:%Y-%m-%dT%H:%M:%SZ}, "
        f"and this request may use {amounts[2]}"
    )


def _usd(nano: int) -> str:
    whole, fraction = divmod(nano, _NS)
    return f"{whole}.{fraction:09d}".rstrip("0").rstrip(".")
