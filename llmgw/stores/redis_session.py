"""Keeps a worker's link to Redis: connects, joins what is counted there, and notices when it is gone.

The counters in Redis belong to an epoch: one server's life, as long as nobody wipes it. In a new
epoch nothing is admitted before balances are what the ledger and every process say they are at
least, rate limits what any process last knew of them, and leases what requests hold. Whoever comes
first leads that; it waits for the others, but not for ever.

A server that comes and goes is left alone for longer each time.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from struct import Struct as Packing

from llmgw.config.redis_url import RedisUrl
from llmgw.core.claim import Claim
from llmgw.core.errors import Unavailable
from llmgw.stores.redis_blocking import RedisRefusal, addresses
from llmgw.stores.redis_claims import EPOCH, JOINED, MEMBERS, NEXT, OWNERS, counter_key
from llmgw.stores.redis_counters import RedisCounters
from llmgw.stores.redis_link import Late, Link, Lost, connect
from llmgw.stores.redis_script import ACQUIRE, BEAT, ENTER, FINISH, JOIN, KINDS, SETTLE
from llmgw.stores.redis_settlements import unleased

_BEAT_S = 1.0
_GONE_US = 5_000_000
_SENTINEL_S = 0.3
_HOLD_S = 0.3
_HOLD_MAX_S = 3.0
_STEADY_S = 15.0
_PROBE_S = 0.05
_BACKOFF_S = (0.05, 0.1, 0.2, 0.4)
_GRACE_S = 1.5
_SEEDED_WITHIN_S = 15.0
_RENEW_S = 2.0
_LEADS_MS = 10_000
"""As in the script ENTER: after so long without a word another process leads."""
_KNOWN = Packing("<8d")
_KNOWN_AT_ONCE = 4_000

Tell = Callable[[str, dict[str, object]], None]


class Session:
    """One worker's life with Redis.

    member: `host:worker:pid`. seed: makes balances what the ledger says; blocking.
    tell: told of what happened, `redis_lost`, `redis_back` or `redis_seeded`.
    hosts: how many share the limits, as last heard.
    """

    def __init__(
        self, url: RedisUrl, counters: RedisCounters, member: str, seed: Callable[[], None], tell: Tell
    ) -> None:
        self.hosts = 1
        self._url = url
        self._counters = counters
        self._member = member
        self._seed = seed
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._gone = asyncio.Event()
        self._up = asyncio.Event()
        self._why = ""
        self._epoch = ""
        self._processes = 1
        self._was_up = self._said_lost = self._ends = False
        self._hold_s = _HOLD_S
        self._since = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self, within_s: float) -> None:
        """Begin, and wait for Redis, but not longer than that."""
        self._task = self._loop.create_task(self._run())
        try:
            async with asyncio.timeout(within_s):
                await self._up.wait()
        except TimeoutError:
            # Begins without it, as it would go on without it.
            pass

    async def close(self) -> None:
        """Once nothing is under way: what is unsent is sent."""
        self._ends = True
        link = self._counters.link
        if link is not None:
            self._counters.end(link)
            try:
                await link.call("HDEL", MEMBERS, self._member, within_s=0.5)
            except (Late, Lost, RedisRefusal):
                # It is forgotten by itself a little later.
                pass
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def left(self, why: str) -> None:
        """The counters do without Redis from now on."""
        self._why = why
        self._gone.set()

    async def _run(self) -> None:
        tries = 0
        while True:
            link: Link | None = None
            try:
                link = await connect(self._url, self._made)
                await self._enter(link)
                tries = 0
                await self._use(link)
            except (OSError, Unavailable, RedisRefusal, Late, Lost, TimeoutError) as error:
                self._say_lost(str(error) or type(error).__name__)
            finally:
                self._counters.link = None
                if link is not None:
                    link.abort()
            await asyncio.sleep(_BACKOFF_S[min(tries, len(_BACKOFF_S) - 1)])
            tries += 1

    def _made(self) -> Link:
        return Link(self._loop)

    async def _use(self, link: Link) -> None:
        """Count with Redis until it is lost."""
        counters = self._counters
        self._gone.clear()
        link.lost = lambda: counters.leave("the connection is gone")
        counters.use(link)
        self._since = self._loop.time()
        if self._said_lost:
            self._tell("redis_back", {"hosts": self.hosts})
        self._said_lost = False
        self._was_up = True
        self._up.set()
        beating = self._loop.create_task(self._beats(link))
        try:
            await self._gone.wait()
        finally:
            beating.cancel()
        steady = self._loop.time() - self._since > _STEADY_S
        self._hold_s = _HOLD_S if steady else min(_HOLD_MAX_S, self._hold_s * 2)
        self._say_lost(self._why)

    async def _beats(self, link: Link) -> None:
        while not self._ends:
            try:
                await self._beat(link)
            except (Late, Lost, RedisRefusal) as error:
                self._counters.leave(str(error) or "no heartbeat")
                return
            if await self._is_elsewhere(link):
                self._counters.leave("Sentinel names another primary")
                return
            await asyncio.sleep(_BEAT_S)

    async def _is_elsewhere(self, link: Link) -> bool:
        """Whether the Sentinels name another primary: the one of before takes writes for seconds more."""
        if self._url.kind != "sentinel":
            return False
        try:
            named = await self._loop.run_in_executor(None, lambda: [*addresses(self._url, _SENTINEL_S)])
        except Unavailable:
            # Nobody says so.
            return False
        return link.node not in named

    async def _beat(self, link: Link) -> None:
        found = await _script(
            link, BEAT, [MEMBERS, EPOCH], [self._member, _GONE_US, self._counters.codec.epoch]
        )
        assert isinstance(found, list)
        self.hosts, self._processes = max(1, int(found[0])), max(1, int(found[1]))
        self._counters.sharing.hosts = self._counters.shares.hosts = self.hosts
        if self._counters.permits is not None:
            self._counters.permits.processes = self._processes
        if self._counters.link is link:
            self._counters.shares.tick(link)
        self._counters.look(link)
        self._send_owed()

    async def _enter(self, link: Link) -> None:
        """Make the counters there this process's own, and see that Redis keeps up for a while."""
        server = await _server(link)
        for script in (ACQUIRE, SETTLE):
            await link.call("SCRIPT", "LOAD", script)
        candidate = f"{server}/{secrets.token_hex(8)}"
        how, found = await _entered(link, server, candidate)
        epoch = found.decode()
        if how != "live":
            await self._seeded(link, epoch, leads=how == "lead")
        self._counters.codec.epoch = epoch.encode()
        before = self._epoch
        await self._join(link, epoch)
        if how == "live" and before not in ("", epoch):
            # A server of before may be the one that counts again, with balances of before.
            await self._loop.run_in_executor(None, self._seed)
        if self._was_up:
            self._counters.settlements.send(link)
            await self._held(link)
            # What was let on meanwhile.
            await self._join(link, epoch)
        await self._beat(link)

    async def _seeded(self, link: Link, epoch: str, *, leads: bool) -> None:
        """Have balances, limits and leases be what everybody knows of them."""
        expected = self._processes
        await self._join(link, epoch)
        until = self._loop.time() + (_GRACE_S if leads else _SEEDED_WITHIN_S)
        while True:
            live = await link.call("GET", EPOCH)
            if live == epoch.encode():
                return
            if leads:
                joined = await link.call("SCARD", JOINED + epoch.encode())
                if joined >= expected or self._loop.time() > until:  # type: ignore[operator]
                    # Once the others have said what they hold: the ledger may have the records of
                    # requests that are still to be settled.
                    await self._seed_and_lead(link)
                    if not await _script(link, FINISH, [EPOCH, NEXT], [epoch]):
                        raise Lost("another epoch has begun")
                    self._tell("redis_seeded", {"processes": joined})
                    return
            elif live is not None or self._loop.time() > until:
                raise Lost("another epoch has begun")
            await asyncio.sleep(_PROBE_S)

    async def _seed_and_lead(self, link: Link) -> None:
        """Seed, and have the others wait for it however long it takes."""
        seeding = self._loop.run_in_executor(None, self._seed)
        while not (await asyncio.wait([seeding], timeout=_RENEW_S))[0]:
            await link.call("PEXPIRE", NEXT, _LEADS_MS)
        await seeding

    async def _held(self, link: Link) -> None:
        """Wait until Redis has answered in time for a while. Raises what it does instead."""
        end = self._loop.time() + self._hold_s
        while self._loop.time() < end:
            await link.call("PING", within_s=0.1)
            await asyncio.sleep(_PROBE_S)

    async def _join(self, link: Link, epoch: str) -> None:
        """Say what requests hold here, and what is known to be used. What Redis has not heard of follows."""
        counters = self._counters
        codec = counters.codec
        keys: dict[str, int] = {}
        records: list[bytes] = []

        def place(claim: Claim) -> int:
            return keys.setdefault(claim.key, len(keys) + 1)

        def record(claim: Claim, used: int, at: int) -> None:
            kind, _, limit, window, segments = codec.terms(claim.rule)
            until = codec.utc_us(claim.until) if claim.until else 0
            records.append(
                _KNOWN.pack(kind, limit, used, window, segments, until, codec.utc_us(at), place(claim))
            )

        spent = {claim.key: (claim, amount) for claim, amount in counters.settlements.spent.values()}
        leases: list[str | int] = []
        for field, claim in counters.leases():
            leases += [field, place(claim), claim.cost]
            spent.setdefault(claim.key, (claim, 0))
        for claim, amount in spent.values():
            record(claim, amount, 0)
        for claim, step in list(counters.known())[-_KNOWN_AT_ONCE:]:
            if claim.rule.algorithm in KINDS and claim.key not in spent:
                used = claim.rule.limit - max(0, step[1])
                record(claim, used if claim.until == 0 else 0, step[2])
        await _script(
            link,
            JOIN,
            [
                EPOCH,
                NEXT,
                JOINED + epoch.encode(),
                codec.owner,
                OWNERS,
                MEMBERS,
                *(counter_key(key) for key in keys),
            ],
            [
                epoch,
                self._member,
                codec.given,
                "1" if epoch == self._epoch else "",
                len(leases) // 3,
                *leases,
                b"".join(records),
            ],
        )
        if epoch != self._epoch:
            await counters.shares.begin(link, epoch)
        self._epoch = epoch
        self._send_owed()

    def _send_owed(self) -> None:
        """Have Redis count what was let on without it."""
        owed = self._counters.sharing.take_owed()
        if owed:
            self._counters.settlements.add(unleased(owed, self._counters.clock.steady_ns()))

    def _say_lost(self, why: str) -> None:
        self._up.clear()
        if not self._said_lost:
            self._said_lost = True
            self._tell("redis_lost", {"error": why, "where": self._url.where})


async def _script(link: Link, text: str, keys: list[bytes], arguments: list[bytes | str | int]) -> object:
    return await link.call("EVAL", text, len(keys), *keys, *arguments)


async def _entered(link: Link, server: str, candidate: str) -> tuple[str, bytes]:
    found = await _script(link, ENTER, [EPOCH, NEXT], [server, candidate])
    assert isinstance(found, list)
    return found[0].decode(), found[1]


async def _server(link: Link) -> str:
    """Which server's life this is. Raises Lost for one that takes no writes."""
    found = await link.call("INFO", "server")
    assert isinstance(found, bytes)
    run_id = next(line for line in found.decode().splitlines() if line.startswith("run_id:"))
    role = await link.call("INFO", "replication")
    assert isinstance(role, bytes)
    if b"role:master" not in role:
        raise Lost("it is a replica, which takes no writes")
    return run_id.partition(":")[2].strip()
