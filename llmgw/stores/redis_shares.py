"""A small share of each quota in use, held for this host, to be spent while Redis is away.

A host's share of a balance is held in Redis under the host's name, and what of it is left is a
counter of the host, so that all its workers spend the same. It is the larger of one request's
need and 1 % of what is free among the hosts, and nothing where that were more than 5 %. It is
looked at each second, beside the heartbeat, never on a request's way. It is given back when the
quota was not used for minutes, when the period is over, at the end of the process, and before a
request is refused because of it.

What keeps a budget from being exceeded:

1. What is left of a share on its host, with what was let on from it and Redis has no lease for,
   is never more than Redis holds for it. So a share grows in Redis first and on the host then,
   and shrinks the other way round.
2. What was let on from a share becomes a lease in Redis (`MOVE`) before anything else is done
   with it; the share shrinks by as much, so that what is held does not change. The lease is then
   charged as any other, once. Its amount is what the request may use, or used if it has ended;
   from the moment it was sent it stays, and what the request did not use of it is Redis's again.
3. Whoever dies leaves a file (`stores.alone_log`) with what it let on. It is there as long as
   Redis may have no lease, and no longer than a charge can follow, so nothing counts twice.
   Whoever follows makes the leases and charges them with what the records say.
4. A share is of one epoch and one life of the host (`tag`, `life`). In a new epoch nothing is
   left of it: what was let on is declared as leases before anybody is admitted.
5. A command that may have been lost is sent again under its number, which Redis does once.
6. A host that has not heard of Redis for `SPEND_S` spends nothing; after `GONE_S`, which is
   longer, its share is free for the others.

Not kept: when Redis loses its data while a host is down that has let on requests meanwhile, or
is cut off from it, their use is known when that host is back: so much, a share at most, may be
granted again. When a worker is killed between an answer and the counter, or knew of a quota as
the only one, its share stays held until the gateway starts again or the period ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import Struct as Packing

from msgspec import Struct

from llmgw.core.claim import BALANCE, Claim, Refusal, Rule, Verdict
from llmgw.core.clock import Clock
from llmgw.ports.counters import CounterStore
from llmgw.stores.alone_log import SHARE_KEYS, AloneLog, AloneTake
from llmgw.stores.redis_claims import (
    ALONE,
    EPOCH,
    OWNER,
    OWNERS,
    SHARE_OWNER,
    SHARES,
    TOLD,
    Codec,
    Word,
    command,
    counter_key,
)
from llmgw.stores.redis_link import Link
from llmgw.stores.redis_settlements import Settlements
from llmgw.stores.redis_share_script import BEGIN, FREE, GIVE, MOVE, SHARE

SPEND_S = 3_000.0
GONE_S = 3_600.0
IDLE_S = 600.0
_ASKED_S = 1.0
_SOON_S = 0.05
_AT_ONCE = 500
_TICKS_TO_FREE = 60
_RULE = Rule(name="share", counts="", algorithm=BALANCE, unit="", limit=0, on_store_error="deny")
"""Of what is left of a share: a balance of nothing, of which less than nothing was spent."""
_WISH = Packing("<3d")
_CHANGE = Packing("<2d")
_ALL = 9e15

Heard = Callable[[bytes | None], None]


class Shares:
    """Those of one host, as one of its workers sees them.

    link: to Redis; None while it is away. hosts: how many there are. local: the host's counters.
    log: where what is let on is written first. life: of the host's counters.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        codec: Codec,
        local: CounterStore,
        clock: Clock,
        settlements: Settlements,
        log: AloneLog,
        life: str,
    ) -> None:
        self.link: Link | None = None
        self.hosts = 1
        self._loop = loop
        self._codec = codec
        self._local = local
        self._clock = clock
        self._settlements = settlements
        self._log = log
        self._life = life
        member = codec.owner.removeprefix(OWNER)
        self._told = TOLD + member
        self._owner = OWNER + member.partition(b":")[0] + SHARE_OWNER
        self._tag = ""
        self._kept_at = -SPEND_S
        self._uses: dict[str, _Use] = {}
        self._takes: dict[tuple[str, str], _Take] = {}
        self._numbers = 0
        self._heard = 0
        self._unheard: deque[_Numbered] = deque()
        self._asks = False
        self._ends = False
        self._soon: asyncio.TimerHandle | None = None
        self._ticks = 0

    def used(self, claim: Claim) -> None:
        """A request has held this in Redis: of such a quota there should be a share."""
        use = self._uses.get(claim.key)
        if use is None:
            if not _is_shared(claim.rule):
                return
            use = self._uses[claim.key] = _Use(claim, 0, 0, 0.0)
            if self._soon is None:
                self._soon = self._loop.call_later(_SOON_S, self._look_soon)
        use.at = self._loop.time()
        use.claim = claim
        if claim.cost > use.most:
            use.most = claim.cost

    def claim(self, claim: Claim) -> Claim | None:
        """What a claim takes from the host's counters in Redis's place; None when nothing may be taken."""
        if not self._tag or not _is_shared(claim.rule) or self._loop.time() - self._kept_at > SPEND_S:
            return None
        return self._of_host(claim.key, claim.cost, claim.until)

    def keep(self, request_id: str, claims: Sequence[Claim]) -> bool:
        """Write down that these were taken from shares. False when it cannot be: then they must not be."""
        until = self._codec.utc_us
        takes = [
            AloneTake(request_id, self._tag, claim.key, claim.cost, until(claim.until)) for claim in claims
        ]
        try:
            self._log.took(takes)
        except (OSError, ValueError):
            return False
        for claim, take in zip(claims, takes, strict=True):
            self._takes[request_id, claim.key] = _Take(take, claim)
            self._settlements.leases[request_id + ALONE, claim.key] = claim
        if self.link is not None:
            # This one was decided alone because an answer was late.
            self._loop.call_soon(self._move)
        return True

    def settled(self, request_id: str, claim: Claim, charge: int) -> int:
        """A request that was let on from a share has ended. Returns what the share has less."""
        take = self._takes[request_id, claim.key]
        take.charge = charge
        if not take.sent:
            try:
                self._log.ended(request_id, claim.key, charge)
                take.amount = charge
            except (OSError, ValueError):
                # Its file says that it took all of it, so it did.
                take.sent = True
        if take.moved:
            # A turn later, as `RedisCounters.settle` does.
            self._loop.call_soon(self._charge, [take])
        elif not take.amount:
            del self._takes[request_id, claim.key]
            self._settlements.leases.pop((request_id + ALONE, claim.key), None)
        return take.amount

    def give_up(self, refusals: Sequence[Refusal], link: Link) -> bool:
        """Give back shares of what these were refused. Whether there were any."""
        if not self._tag or not all(one.held and _is_shared(one.claim.rule) for one in refusals):
            return False
        claims = [refusal.claim for refusal in refusals]
        left = {claim.key: self._take_back(claim.key, claim.until) for claim in claims}
        given = {key: amount for key, amount in left.items() if amount}
        self._give(link, given)
        return bool(given)

    async def begin(self, link: Link, epoch: str) -> None:
        """Count in a new epoch. Before anybody is admitted in it."""
        self._tag = f"share-{epoch[-16:]}"
        self._unheard.clear()
        self._asks = False
        for take in self._takes.values():
            take.moving = False
        await link.call("EVAL", BEGIN, 1, self._owner, self._tag, "", "", self._codec.given)

    def use(self, link: Link) -> None:
        """Redis is there."""
        self.link = link
        for one in self._unheard:
            link.ask(one.packed, one.again(self._loop.time() + _ASKED_S))
        self._move()

    def tick(self, link: Link) -> None:
        """Called each second while Redis is there."""
        self._forget(link)
        self._move()
        self._ask(link)
        self._ticks += 1
        if self._ticks % _TICKS_TO_FREE == 1:
            free = command("EVAL", FREE, 2, SHARES, OWNERS, int(GONE_S * 1e6), "", "", self._codec.given)
            link.ask(free, _Numbered(0, b"", _nothing, self._loop.time() + _ASKED_S))

    def end(self, link: Link) -> None:
        """Give back what is known of, as a worker that goes."""
        self._ends = True
        if self._soon is not None:
            self._soon.cancel()
        left = {key: self._take_back(key, use.claim.until) for key, use in self._uses.items()}
        self._uses.clear()
        self._give(link, {key: amount for key, amount in left.items() if amount})

    def _of_host(self, key: str, amount: int, until: int) -> Claim:
        return Claim(_RULE, f"{SHARE_KEYS}{self._life}|{self._tag}|{key}", amount, until)

    def _take_back(self, key: str, until: int, most: int | None = None) -> int:
        """Take what is left of a share from the host, so that nobody spends it."""
        ((_, left, _),) = self._local.peek([self._of_host(key, 0, until)])
        amount = left if most is None else min(left, most)
        if amount <= 0:
            return 0
        claim = self._of_host(key, amount, until)
        verdict = self._local.acquire([claim], "")
        if verdict.refusals:
            return 0
        self._local.settle([(claim, amount)], verdict)
        return amount

    def _give(self, link: Link, amounts: Mapping[str, float]) -> None:
        if amounts:
            packed = b"".join(Packing("<d").pack(amount) for amount in amounts.values())
            keys = [counter_key(key) for key in amounts]
            self._send(link, GIVE, keys, [self._tag, packed], _nothing)

    def _forget(self, link: Link) -> None:
        """Give back shares that nobody uses any more."""
        now, steady = self._loop.time(), self._clock.steady_ns()
        given: dict[str, float] = {}
        for key, use in list(self._uses.items()):
            over = use.claim.until <= steady
            if over or now - use.at > IDLE_S:
                del self._uses[key]
                left = self._take_back(key, use.claim.until)
                given[key] = _ALL if over else left
        self._give(link, {key: amount for key, amount in given.items() if amount})

    def _look_soon(self) -> None:
        self._soon = None
        if self.link is not None:
            self._ask(self.link)

    def _ask(self, link: Link) -> None:
        """See to the shares that were looked at longest ago."""
        if self._asks or self._ends or not self._tag:
            return
        self._asks = True
        looked = list(self._uses.items())[:_AT_ONCE]
        wishes = []
        for key, use in looked:
            # To the end of the line.
            self._uses[key] = self._uses.pop(key)
            use.need = max(use.most, use.need * 7 // 8)
            use.most = 0
            claim = use.claim
            wishes.append(_WISH.pack(use.need, claim.rule.limit, self._codec.utc_us(claim.until)))
        uses = [use for _, use in looked]
        self._send(
            link,
            SHARE,
            [OWNERS, SHARES, *(counter_key(key) for key, _ in looked)],
            [self._tag, max(1, self.hosts), b"".join(wishes)],
            lambda reply: self._changed(uses, reply),
        )

    def _changed(self, uses: Sequence[_Use], reply: bytes | None) -> None:
        self._asks = False
        if reply is None:
            return
        self._kept_at = self._loop.time()
        given: dict[str, float] = {}
        for use, (more, less) in zip(uses, _CHANGE.iter_unpack(reply), strict=True):
            key, until = use.claim.key, use.claim.until
            if more and self._ends:
                given[key] = more
            elif more:
                grown = self._of_host(key, 0, until)
                self._local.settle([(grown, -int(more))], Verdict([], self._clock.steady_ns()))
            elif less and (amount := self._take_back(key, until, int(less))):
                given[key] = amount
        if self.link is not None:
            self._give(self.link, given)

    def _move(self) -> None:
        """Have Redis hold leases for what was let on here."""
        link = self.link
        takes = [take for take in self._takes.values() if not (take.moving or take.moved)]
        if link is None:
            return
        files = self._log.turn()
        if not takes:
            if all(take.moved for take in self._takes.values()):
                # What they tell of has ended and used nothing.
                self._log.remove(files)
            return
        keys: dict[str, int] = {}
        words: list[Word] = []
        for take in takes:
            take.moving = take.sent = True
            request, tag, key, _, until_us = take.logged
            place = keys.setdefault(key, len(keys) + 1)
            words += [b"%b%b|%b" % (request.encode(), ALONE.encode(), counter_key(key)), tag, place]
            words += [take.amount, until_us]

        def moved(reply: bytes | None) -> None:
            for take in takes:
                take.moving, take.moved = False, reply is not None
            if reply is not None:
                # First, so that what is charged is in no file.
                self._log.remove(files)
                self._charge([take for take in takes if take.charge is not None])

        keyed = [self._codec.owner, OWNERS, *(counter_key(key) for key in keys)]
        self._send(link, MOVE, keyed, words, moved)

    def _charge(self, takes: Iterable[_Take]) -> None:
        """Settle what has a lease and has ended."""
        now = self._clock.steady_ns()
        for take in takes:
            request = take.logged.request
            assert take.charge is not None
            self._takes.pop((request, take.claim.key), None)
            self._settlements.add([(take.claim, take.charge, now, request + ALONE, True)])

    def _send(
        self, link: Link, script: str, keys: Sequence[bytes], arguments: Sequence[Word], heard: Heard
    ) -> None:
        self._numbers += 1
        number = self._numbers

        def told(reply: bytes | None) -> None:
            if one in self._unheard:
                self._unheard.remove(one)
                self._heard = number
                heard(reply)

        given = [self._codec.epoch, number, self._heard, self._codec.given, *arguments]
        every = [EPOCH, self._told, self._owner, *keys]
        packed = command("EVAL", script, len(every), *every, *given)
        one = _Numbered(number, packed, told, self._loop.time() + _ASKED_S)
        self._unheard.append(one)
        link.ask(packed, one)


class _Use(Struct):
    """A quota in use. need: of its largest requests. most: of those since it was looked at last."""

    claim: Claim
    need: int
    most: int
    at: float


class _Take(Struct, eq=False):
    """What a request took from a share. amount: what Redis is to hold for it.

    sent: the amount stays. moving: under way to Redis. moved: there is a lease. charge: once it has ended.
    """

    logged: AloneTake
    claim: Claim
    amount: int = -1
    charge: int | None = None
    sent: bool = False
    moving: bool = False
    moved: bool = False

    def __post_init__(self) -> None:
        self.amount = self.logged.amount


class _Numbered:
    """A command that is sent until its answer is heard."""

    __slots__ = ("_heard", "deadline", "expired", "number", "packed")

    def __init__(self, number: int, packed: bytes, heard: Heard, deadline: float) -> None:
        self.number = number
        self.packed = packed
        self.deadline = deadline
        self.expired = False
        self._heard = heard

    def again(self, deadline: float) -> _Numbered:
        """To be asked once more."""
        return _Numbered(self.number, self.packed, self._heard, deadline)

    def answered(self, reply: object) -> None:
        self._heard(reply if type(reply) is bytes else None)

    def failed(self, error: Exception) -> None:
        """It is sent again on the next link."""


def _is_shared(rule: Rule) -> bool:
    return rule.algorithm == BALANCE and rule.on_store_error == "deny" and not (rule.shadow or rule.warn)


def _nothing(reply: bytes | None) -> None:
    """Nothing follows from the answer."""
