"""Asks a second target when the first is slow to begin; whichever speaks first is heard.

At most one more call, within the retry budget, and none once a byte has reached the client. The
other call is cancelled, and what it cost is added to the request's one record.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from msgspec import structs

from llmgw.core.errors import ClientGone, GatewayError
from llmgw.core.exchange import Exchange
from llmgw.core.operation import ON_TOKENS
from llmgw.core.usage import ESTIMATED, NO_USAGE, Usage
from llmgw.dialects.taps import Tap
from llmgw.engine.call import FAILURES, Failure, call
from llmgw.engine.count import count
from llmgw.engine.plan import Lane, Plan
from llmgw.engine.road import Road
from llmgw.engine.settle import is_uncounted, price
from llmgw.engine.silence import Contender
from llmgw.engine.strand import Pause, Strand, sheltered
from llmgw.ports.client import Client, Flow
from llmgw.ports.transport import Timeouts
from llmgw.tokens.need import input_tokens

_RESULT = (
    "attempts",
    "cost_nano_usd",
    "dispatched",
    "error",
    "first_byte",
    "hide_usage",
    "opened",
    "outcome",
    "redactions",
    "status",
    "target",
    "unit_prices",
    "upstream_id",
    "usage",
)
"""What an attempt leaves on its exchange."""


class BothFailed(Exception):
    """failures: of the first two targets, in their order."""

    def __init__(self, *failures: Failure) -> None:
        super().__init__(*failures)
        self.failures = failures


async def hedged(
    ex: Exchange, plan: Plan, lanes: Sequence[Lane], client: Client, road: Road, now: float
) -> Tap | None:
    """As `call`, of the first lane, and of the second when that takes too long.

    Raises what `call` does when the first failed before the second was asked, BothFailed after.
    """
    if len(lanes) < 2 or ex.endpoint.operation not in ON_TOKENS:
        return await call(ex, plan, lanes[0], client, road, plan.timeouts, now)
    race = _Race(ex, plan, lanes, client, road)
    try:
        await race.run()
    except GatewayError as error:
        # The client is gone, or the process stops.
        race.interrupt(error)
        await race.over()
        race.heed_unfailed()
    return await race.result()


class _Race:
    """One request's two calls."""

    def __init__(self, ex: Exchange, plan: Plan, lanes: Sequence[Lane], client: Client, road: Road) -> None:
        self.client = client
        self.plan = plan
        self.road = road
        self.winner: _Runner | None = None
        self._ex = ex
        self._lanes = lanes
        self._over = Pause()
        self._decided = False
        self._ended = False
        self._runners: list[_Runner] = []

    async def run(self) -> None:
        """Until there is a result."""
        road = self.road
        assert self.plan.hedge_after_s is not None
        timer = road.loop.call_later(self.plan.hedge_after_s, self._hedge)
        try:
            self._send(0, self.plan.timeouts)
            await self._over
        finally:
            timer.cancel()
            road.repeats.repeating -= len(self._runners) - 1

    def interrupt(self, error: BaseException) -> None:
        """End both calls."""
        for runner in self._runners:
            runner.interrupt(error)

    async def over(self) -> None:
        """Wait for what an interrupted call does all the same."""
        while not self._ended:
            with suppress(GatewayError):
                await self._over

    def speaks(self, runner: _Runner) -> bool:
        """Whether `runner` is the one to be heard. The first to ask is; the other's call ends."""
        if self.winner is None:
            self.winner = runner
            for other in self._runners:
                if other is not runner:
                    other.interrupt(ClientGone("another target was quicker"))
        return self.winner is runner

    def heed_unfailed(self) -> None:
        """The calls were interrupted: what one of them failed with before is not the request's end."""
        if self.winner is None:
            self.winner = next((runner for runner in self._runners if runner.failure is None), None)

    def is_alone(self, runner: _Runner) -> bool:
        """Whether only `runner` may be heard."""
        if self.winner is not None:
            return self.winner is runner
        return self._decided and all(other.over for other in self._runners if other is not runner)

    def ended(self) -> None:
        """A runner has come to its end."""
        winner = self.winner
        if (winner is not None and winner.over) or all(runner.over for runner in self._runners):
            self._ended = True
            self._over.wake()

    async def result(self) -> Tap | None:
        """What the one that was heard carried; its outcome, and the cost of both, go to the request."""
        runners = self._runners
        heard = self.winner or runners[0]
        ex = self._ex
        if is_uncounted(heard.ex, heard.tap):
            counting = self.road.loop.run_in_executor(None, count, heard.ex, heard.tap)
            heard.ex.usage = await sheltered(counting)
        price(heard.ex)
        for name in _RESULT:
            setattr(ex, name, getattr(heard.ex, name))
        ex.opened = any(runner.ex.opened for runner in runners)
        ex.attempts = sum(runner.ex.attempts for runner in runners)
        for runner in runners:
            if runner is not heard and runner.ex.dispatched is not None and runner.failure is None:
                self._add(runner.ex)
        failures = [runner.failure for runner in runners if runner.failure is not None]
        if len(failures) == 2:
            raise BothFailed(*failures)
        if heard.error is not None:
            raise heard.error
        return heard.tap

    def _hedge(self) -> None:
        """The first has said nothing for long: ask the second, if it and the budget allow."""
        self._decided = True
        road, plan = self.road, self.plan
        now = road.loop.time()
        if self.winner is not None or not road.repeats.admits(plan.retry.budget):
            return
        if self._runners[0].ex.dispatched is None or not self._lanes[1].health.is_clear(now):
            return
        road.repeats.repeating += 1
        whole = plan.timeouts
        left = max(0.001, self._ex.body_read + whole.total_s - now)
        self._send(1, Timeouts(whole.connect_s, whole.first_byte_s, whole.idle_s, left))

    def _send(self, index: int, timeouts: Timeouts) -> None:
        copy = _copied(self._ex)
        if self._runners:
            # The journal has the request already.
            copy.opened, copy.at_ns = True, self._runners[0].ex.at_ns
        runner = _Runner(self, copy, self._lanes[index], timeouts)
        self._runners.append(runner)
        runner.start()

    def _add(self, lost: Exchange) -> None:
        """What the call that was cancelled cost: its prompt, which the provider has read."""
        ex = self._ex
        if lost.usage is NO_USAGE:
            # It never got there.
            return
        more = lost.usage or Usage(input_tokens(lost), 0, source=ESTIMATED)
        lost.usage = more
        price(lost)
        if ex.usage is not None:
            ex.usage = structs.replace(
                ex.usage,
                input_tokens=ex.usage.input_tokens + more.input_tokens,
                output_tokens=ex.usage.output_tokens + more.output_tokens,
                source=ESTIMATED,
            )
        if ex.cost_nano_usd is not None and lost.cost_nano_usd is not None:
            ex.cost_nano_usd += lost.cost_nano_usd


class _Runner(Strand):
    """One call.

    error: what the call ended with, where it did not end well.
    """

    __slots__ = ("_race", "error", "ex", "over", "tap")

    def __init__(self, race: _Race, ex: Exchange, lane: Lane, timeouts: Timeouts) -> None:
        super().__init__(self._call(lane, timeouts))
        self._race = race
        self.ex = ex
        self.tap: Tap | None = None
        self.error: Exception | None = None
        self.over = False

    @property
    def failure(self) -> Failure | None:
        """Why another target should be asked, if one should."""
        return self.error if isinstance(self.error, FAILURES) else None

    async def _call(self, lane: Lane, timeouts: Timeouts) -> None:
        race = self._race
        try:
            self.tap = await call(
                self.ex, race.plan, lane, _Gate(race, self), race.road, timeouts, race.road.loop.time()
            )
        except Exception as error:
            self.error = error

    def ended(self, error: BaseException | None) -> None:
        self.over = True
        self._race.ended()


class _Gate(Contender):
    """The client as one of two calls sees it. Implements `ports.client.Client`."""

    def __init__(self, race: _Race, runner: _Runner) -> None:
        self._client = race.client
        self._race = race
        self._runner = runner
        self._flow: Flow | None = None
        self.closed = False

    @property
    def is_alone(self) -> bool:
        return self._race.is_alone(self._runner)

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """A whole response."""
        if self._is_heard():
            self._client.send(status, head, body)

    def start(self, status: int, head: bytes) -> None:
        """Begin a response."""
        if self._is_heard():
            self._client.start(status, head)

    def write(self, data: bytes) -> None:
        """Some body bytes."""
        if self._is_heard():
            self._client.write(data)

    def end(self) -> None:
        """The response is complete."""
        if self._is_heard():
            self._client.end()

    def abort(self) -> None:
        """Cut the connection."""
        if self._is_heard():
            self._client.abort()

    def attach(self, flow: Flow | None) -> None:
        """Who to pause."""
        self._flow = flow
        if self._race.winner is self._runner:
            self._client.attach(flow)

    def _is_heard(self) -> bool:
        if self._race.winner is None and self._flow is not None:
            self._client.attach(self._flow)
        return self._race.speaks(self._runner)


def _copied(ex: Exchange) -> Exchange:
    copy = Exchange.__new__(Exchange)
    for name in Exchange.__slots__:
        setattr(copy, name, getattr(ex, name))
    return copy
