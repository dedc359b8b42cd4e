"""Tries targets until one answers: the next target first, then fallbacks, then the same one again.

Nothing is tried again once a byte of an answer has reached the client, nor what the caller did
wrong. A target that failed is not asked again while another one may be.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from llmgw.core.errors import (
    ClientGone,
    GatewayError,
    InvalidRequest,
    NoTarget,
    UpstreamError,
    UpstreamLimited,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from llmgw.core.exchange import Exchange
from llmgw.core.operation import ON_TOKENS
from llmgw.core.reply import Reply
from llmgw.core.usage import NO_USAGE
from llmgw.dialects.base import (
    AUTH,
    CONTENT_FILTER,
    CONTEXT_LENGTH,
    NOT_FOUND,
    OVERLOADED,
    PERMISSION,
    QUOTA,
    RATE_LIMIT,
    SERVER,
)
from llmgw.dialects.taps import Tap
from llmgw.engine.attempt import TurnedDown
from llmgw.engine.call import BROKEN, FAILURES, Failure, call
from llmgw.engine.choose import choose
from llmgw.engine.hedge import BothFailed, hedged
from llmgw.engine.mirror import offer
from llmgw.engine.plan import Lane, Plan
from llmgw.engine.road import Road
from llmgw.engine.strand import Pause
from llmgw.policies.access import allows
from llmgw.policies.redact import Redaction, redact_off_loop
from llmgw.policies.upstream_state import UpstreamState
from llmgw.ports.client import Client
from llmgw.ports.transport import Timeouts

_DEADLINE = b"x-llmgw-timeout"
_SECONDS = re.compile(rb"(\d{1,6}(?:\.\d{1,6})?)s?")
_REASONS = {
    RATE_LIMIT: "rate_limit",
    QUOTA: "rate_limit",
    CONTEXT_LENGTH: "context_length",
    CONTENT_FILTER: "content_filter",
    AUTH: "error",
    PERMISSION: "error",
    NOT_FOUND: "error",
    OVERLOADED: "error",
    SERVER: "error",
}
"""Failures that another target or model may not have, by what `fallbacks` calls them."""
_ELSEWHERE_ONLY = frozenset({CONTEXT_LENGTH, CONTENT_FILTER})
"""Asking the model's other targets would not help."""


async def forward(ex: Exchange, plan: Plan, client: Client, road: Road) -> Tap | None:
    """Have `ex` answered by one of the plan's targets.

    Returns what the answer carried. Raises GatewayError when nothing has reached the client.
    """
    repeats = road.repeats
    repeats.active += 1
    try:
        now = road.loop.time()
        lanes = choose(plan, ex, now, random.random)
        lane = lanes[0]
        if plan.mirror is not None:
            offer(ex, plan, plan.mirror, road, random.random)
        trip: Trip | None = None
        if _DEADLINE not in ex.fields and lane.health.is_clear(now):
            # As nearly every request: nothing is prepared for what does not happen.
            try:
                if plan.hedge_after_s is None:
                    return await call(ex, plan, lane, client, road, plan.timeouts, now)
                return await hedged(ex, plan, lanes, client, road, now)
            except FAILURES as error:
                trip = Trip(ex, plan, client, road, lanes)
                trip.failed_first(error)
            except BothFailed as both:
                trip = Trip(ex, plan, client, road, lanes)
                trip.failed_first(*both.failures)
        return await (trip or Trip(ex, plan, client, road, lanes)).run()
    except ClientGone:
        # Whoever leaves during a call is told of by the call. Between two, nothing is used.
        ex.usage = NO_USAGE
        raise
    finally:
        repeats.active -= 1


class Trip:
    """One request's way through the targets."""

    __slots__ = (
        "_again",
        "_asked",
        "_calls",
        "_client",
        "_deadline",
        "_ended",
        "_ex",
        "_failure",
        "_lanes",
        "_plan",
        "_reasons",
        "_redaction",
        "_road",
        "_seen",
        "_spared_for_s",
        "_timeouts",
    )

    def __init__(self, ex: Exchange, plan: Plan, client: Client, road: Road, lanes: Sequence[Lane]) -> None:
        self._ex = ex
        self._plan = plan
        self._redaction: Redaction | None = None
        self._client = client
        self._road = road
        self._calls = 0
        self._timeouts = plan.timeouts
        self._deadline = ex.body_read + plan.timeouts.total_s
        if _DEADLINE in ex.fields:
            self._deadline = min(self._deadline, ex.started + _seconds(ex.fields[_DEADLINE]))
        self._lanes = lanes
        self._asked = 0
        self._ended = False
        self._again: list[Lane] = []
        self._seen = {plan.model}
        self._reasons = {"error"}
        self._failure: TurnedDown | GatewayError | None = None
        self._spared_for_s: float | None = None

    def failed_first(self, *errors: Failure) -> None:
        """The first targets were asked, to no avail."""
        for error in errors:
            self._asked += 1
            self._calls += 1
            self._ended = not self._goes_on(self._lanes[self._asked - 1], error)
            if self._ended:
                return

    async def run(self) -> Tap | None:
        while not self._ended:
            lane = await self._next()
            if lane is None:
                lane = await self._same_again()
            if lane is None:
                break
            try:
                return await self._ask(lane)
            except FAILURES as error:
                self._ended = not self._goes_on(lane, error)
            except InvalidRequest:
                # It cannot be said in this target's dialect. The earlier failure is what counts.
                if self._failure is None:
                    raise
                self._calls -= 1
        self._give_up()
        return None

    async def _next(self) -> Lane | None:
        """The next target that has not been asked and may be; after the model's own, its fallbacks'.

        It may be the probe of a breaker then, so that nothing is waited for before it is asked.
        """
        now = self._road.loop.time()
        if now >= self._deadline:
            if self._failure is None:
                message = "the request's deadline had passed before it could be sent"
                self._failure = UpstreamTimeout(message, phase="connect")
            return None
        if self._calls >= self._plan.retry.attempts:
            return None
        while True:
            while self._asked < len(self._lanes):
                lane = self._lanes[self._asked]
                self._asked += 1
                wait_s = lane.health.spared_for_s(now)
                breaker = lane.health.breaker
                if not wait_s and (breaker is None or breaker.admits(now)):
                    return lane
                self._spare(wait_s)
                if lane.health.state.cooled_until > now:
                    self._reasons.add("rate_limit")
            if not self._fall_back(now):
                return None
            if self._redaction is not None:
                # The other model's targets are not to see what is not to be said to them.
                await redact_off_loop(self._redaction, self._ex)
                now = self._road.loop.time()

    def _spare(self, wait_s: float) -> None:
        known = self._spared_for_s
        self._spared_for_s = wait_s if known is None else min(known, wait_s)

    def _fall_back(self, now: float) -> bool:
        """Go on with the targets of the first fallback for what went wrong that has not been tried."""
        principal = self._ex.principal
        assert principal is not None
        for fallback in self._plan.fallbacks:
            if fallback.model in self._seen or self._reasons.isdisjoint(fallback.on):
                continue
            self._seen.add(fallback.model)
            plan = fallback.plan()
            if plan is None or not allows(fallback.model, principal.allow_models):
                continue
            if not all(one.lets(self._ex) for one in plan.policies if isinstance(one, UpstreamState)):
                continue
            self._lanes = choose(plan, self._ex, now, random.random)
            self._asked = 0
            self._redaction = plan.redaction
            return True
        return False

    async def _same_again(self) -> Lane | None:
        """The target that failed first, once it has had its rest; None when none is to be asked again."""
        road, rules = self._road, self._plan.retry
        if self._calls >= rules.attempts or not road.repeats.admits(rules.budget):
            return None
        now = road.loop.time()
        longest = min(rules.max_s, rules.base_s * 2 ** (self._calls - 1)) if self._calls else 0.0
        while self._again:
            lane = self._again.pop(0)
            if lane.health.breaker is not None and lane.health.breaker.retry_in_s(now):
                continue
            wait_s = max(lane.health.spared_for_s(now), random.random() * longest)
            if wait_s <= rules.max_s and now + wait_s < self._deadline:
                break
        else:
            return None
        road.repeats.repeating += 1
        try:
            pause = Pause()
            timer = road.loop.call_later(wait_s, pause.wake)
            try:
                await pause
            finally:
                timer.cancel()
        finally:
            road.repeats.repeating -= 1
        breaker = lane.health.breaker
        return lane if breaker is None or breaker.admits(road.loop.time()) else None

    async def _ask(self, lane: Lane) -> Tap | None:
        began = self._road.loop.time()
        timeouts = self._timeouts
        left = max(0.001, self._deadline - began)
        timeouts = Timeouts(timeouts.connect_s, timeouts.first_byte_s, timeouts.idle_s, left)
        self._calls += 1
        plan = self._plan
        if self._redaction is not None:
            # Nor are they to say what is not to be said by them or by this one's.
            plan = replace(plan, redaction=self._redaction.joined(plan.redaction))
        return await call(self._ex, plan, lane, self._client, self._road, timeouts, began)

    def _goes_on(self, lane: Lane, error: Failure) -> bool:
        """Take note of a failure; whether anything may still answer."""
        if isinstance(error, TurnedDown):
            code = error.failure.code
            self._failure = error
            reason = _REASONS.get(code)
            if reason is None:
                return False
            self._reasons = {reason}
            if code in _ELSEWHERE_ONLY:
                self._asked = len(self._lanes)
            elif code in BROKEN or code == RATE_LIMIT:
                self._again.append(lane)
            return True
        if isinstance(error, UpstreamError):
            self._failure = error
            self._reasons = {"error"}
            if isinstance(error, UpstreamTimeout) and self._road.loop.time() >= self._deadline:
                return False
            if self._ex.endpoint.operation not in ON_TOKENS and not isinstance(error, UpstreamUnreachable):
                return False
            self._again.append(lane)
            return True
        # This target cannot be asked that; another may.
        self._calls -= 1
        if self._failure is None:
            self._failure = error
        return True

    def _give_up(self) -> None:
        """Answer with the last failure. Raises GatewayError, or sends the upstream's own words."""
        failure = self._failure
        if failure is None:
            raise self._all_spared()
        if isinstance(failure, GatewayError):
            raise failure
        told = failure.told
        if isinstance(told, GatewayError):
            raise told
        self._send(told)

    def _send(self, told: Reply) -> None:
        ex = self._ex
        ex.status = told.status
        ex.outcome = "refused" if told.status < 500 else "upstream_error"
        self._client.send(told.status, told.head, told.body)

    def _all_spared(self) -> GatewayError:
        wait_s = max(1, ceil(self._spared_for_s or 0.0))
        now = self._road.loop.time()
        if all(lane.health.state.cooled_until > now for lane in self._plan.lanes):
            limited = UpstreamLimited("the provider asked to be spared for now", phase="connect")
            limited.retry_after_s = wait_s
            return limited
        return NoTarget(
            f"no target of model '{self._plan.model[:128]}' can be asked now", retry_after_s=wait_s
        )


def _seconds(value: bytes) -> float:
    """The deadline that a caller sets, in seconds from now. Raises InvalidRequest."""
    found = _SECONDS.fullmatch(value.strip())
    if found is None or not float(found[1]):
        raise InvalidRequest("header x-llmgw-timeout takes seconds, as in 30 or 2.5", param="x-llmgw-timeout")
    return float(found[1])
