"""A few permits of busy limits, taken from Redis in advance, so that most requests wait for no answer.

`storage.redis_mode: lease`. A worker takes some permits of a limit that it is asked for often, in
Redis and beside requests; a request that finds one of each of its limits goes on at once. Only
limits in requests are taken so; a request that a quota, or a limit in tokens or in shadow mode
applies to, asks Redis as in exact mode.

Bounds: all workers together hold at most 2 % of a limit (`_PART`), so a limit below 50 times the
workers is exact. What is held is counted in Redis, so no window admits more than its limit of what
was counted in it; a permit is used up to `_KEPT_NS` after it was counted, never beyond the end of a
fixed window, so that any interval of a sliding window or bucket admits at most what is held more.
What is held and not used is given back after that time: at most 2 % of a limit is left unused.
While a worker joins, shares are those of before for a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from llmgw.core.claim import FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, Claim, Step, Verdict
from llmgw.stores.redis_claims import TAKEN, Codec, Item
from llmgw.stores.redis_link import Link

_PART = 50
_KEPT_NS = 500_000_000
_BUSY_NS = 50_000_000
_REFUSED_NS = 200_000_000
_ASKED_S = 1.0
_RATES = frozenset({FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET})


class Permits:
    """Those of one worker. steady: the counters' clock. give_back: settles what was not used.

    processes: how many there are, of all hosts. used: requests that went on at once.
    """

    def __init__(
        self,
        codec: Codec,
        steady: Callable[[], int],
        time: Callable[[], float],
        give_back: Callable[[Sequence[Item]], None],
    ) -> None:
        self.processes = 1
        self.used = 0
        self._codec = codec
        self._steady = steady
        self._time = time
        self._give_back = give_back
        self._pockets: dict[str, _Pocket] = {}

    def take(self, claims: Sequence[Claim]) -> Verdict | None:
        """The verdict, where there is a permit for every claim; then all are taken."""
        now = self._steady()
        pockets = self._pockets
        found = []
        for claim in claims:
            pocket = pockets.get(claim.key)
            if pocket is None or not pocket.left or now >= pocket.until or not pocket.is_of(claim):
                return None
            found.append(pocket)
        steps: list[Step] = []
        for pocket in found:
            pocket.left -= 1
            pocket.asked_at = now
            steps.append((TAKEN, pocket.remaining + pocket.left, pocket.at))
        self.used += 1
        return Verdict(steps, now)

    def fill(self, claims: Sequence[Claim], link: Link) -> None:
        """Have there be permits for more requests like this one, which has asked Redis."""
        if not all(_can_wait(claim) for claim in claims):
            return
        now = self._steady()
        for claim in claims:
            pocket = self._pockets.get(claim.key)
            if pocket is None:
                pocket = self._pockets[claim.key] = _Pocket(claim, asked_at=now)
                continue
            busy, pocket.asked_at = now - pocket.asked_at < _BUSY_NS, now
            if pocket.left and now < pocket.until and pocket.is_of(claim):
                continue
            amount = claim.rule.limit // _PART // self.processes
            if busy and amount and not pocket.asking and now >= pocket.refused_until:
                self._return(pocket)
                pocket.claim = claim
                pocket.asking = True
                asked = Claim(claim.rule, claim.key, amount)
                link.ask(
                    self._codec.acquire([asked], ""), _Fill(self, pocket, asked, self._time() + _ASKED_S)
                )

    def filled(self, pocket: _Pocket, asked: Claim, reply: bytes) -> None:
        """Redis has answered."""
        verdict = self._codec.verdict([asked], reply)
        pocket.asking = False
        if verdict.refusals:
            pocket.refused_until = verdict.now + _REFUSED_NS
            return
        ((_, remaining, at),) = verdict.steps
        pocket.left, pocket.remaining, pocket.at = asked.cost, remaining, at
        pocket.taken_at = verdict.now
        pocket.until = verdict.now + _KEPT_NS
        if asked.rule.algorithm == FIXED_WINDOW:
            pocket.until = min(pocket.until, at)

    def sweep(self) -> None:
        """Give back what was not used in time. Called each second."""
        now = self._steady()
        for key, pocket in list(self._pockets.items()):
            if now >= pocket.until:
                self._return(pocket)
                if not pocket.asking and now - pocket.asked_at > _KEPT_NS:
                    del self._pockets[key]

    def end(self) -> None:
        """Give back all."""
        for pocket in self._pockets.values():
            self._return(pocket)
        self._pockets.clear()

    def leave(self) -> None:
        """Redis is lost; it counts what is held."""
        self._pockets.clear()

    def _return(self, pocket: _Pocket) -> None:
        if pocket.left:
            claim = Claim(pocket.claim.rule, pocket.claim.key, pocket.left)
            pocket.left = 0
            self._give_back([(claim, 0, pocket.taken_at, "", False)])


class _Pocket(Struct, eq=False):
    """Permits of one limit. remaining: what Redis said was left beside them. at: as in its step."""

    claim: Claim
    asked_at: int
    left: int = 0
    remaining: int = 0
    at: int = 0
    taken_at: int = 0
    until: int = 0
    refused_until: int = 0
    asking: bool = False

    def is_of(self, claim: Claim) -> bool:
        """Whether the permits are of the same rule: a limit may have changed."""
        return self.claim.rule is claim.rule or self.claim.rule == claim.rule


class _Fill:
    """A question for permits."""

    __slots__ = ("_asked", "_permits", "_pocket", "deadline", "expired")

    def __init__(self, permits: Permits, pocket: _Pocket, asked: Claim, deadline: float) -> None:
        self.deadline = deadline
        self.expired = False
        self._permits = permits
        self._pocket = pocket
        self._asked = asked

    def answered(self, reply: object) -> None:
        if type(reply) is bytes:
            self._permits.filled(self._pocket, self._asked, reply)
        else:
            self._pocket.asking = False

    def failed(self, error: Exception) -> None:
        """Its answer comes late, or the link is lost and with it every pocket."""


def _can_wait(claim: Claim) -> bool:
    rule = claim.rule
    return claim.cost == 1 and rule.algorithm in _RATES and rule.unit == "requests" and not rule.shadow
