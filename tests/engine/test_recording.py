from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from llmgw.core.errors import ClientGone
from llmgw.core.exchange import Exchange
from llmgw.core.target import Target
from llmgw.dialects.endpoints import CHAT_COMPLETIONS
from llmgw.engine.recording import Recording, record_for
from llmgw.engine.strand import Strand
from llmgw.ports.client import Flow

HEAD = b"content-type: application/json\r\nx-request-id: r\r\n"


class Listener:
    """A client that notes what it is told."""

    closed = False

    def __init__(self) -> None:
        self.told: list[Any] = []

    def send(self, status: int, head: bytes, body: bytes) -> None:
        self.told.append((status, body))

    def start(self, status: int, head: bytes) -> None:
        self.told.append(status)

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def end(self) -> None:
        self.told.append("end")

    def abort(self) -> None:
        self.told.append("abort")

    def attach(self, flow: Flow | None) -> None:
        self.told.append(flow)


class Shelf:
    """Keeps what it is given, at once or when `gate` opens."""

    def __init__(
        self, most_bytes: int = 100, outlasts_s: float = 0.0, gate: asyncio.Event | None = None
    ) -> None:
        self.most_bytes = most_bytes
        self.outlasts_s = outlasts_s
        self.kept: list[Any] = []
        self._gate = gate

    def keep(self, ex: Exchange, recording: Recording) -> Awaitable[None] | None:
        reply = recording.reply(ex, self.most_bytes)
        self.kept.append((recording.succeeded(ex), None if reply is None else (reply.body, reply.streamed)))
        return None if self._gate is None else self._wait(self._gate)

    async def _wait(self, gate: asyncio.Event) -> None:
        await gate.wait()


class FlowOf:
    def __init__(self) -> None:
        self.resumed = 0

    def pause(self) -> None: ...

    def resume(self) -> None:
        self.resumed += 1


def exchange() -> Exchange:
    ex = Exchange("req_1", CHAT_COMPLETIONS, {}, b"{}", None, 0.0, 0.0, "gen")
    ex.target = Target("up", "openai", None, "gpt-4o")
    return ex


def recorded(*shelves: Shelf) -> tuple[Exchange, Recording, Listener]:
    ex = exchange()
    for shelf in shelves:
        record_for(ex, shelf)
    client = Listener()
    return ex, ex.recording.before(client), client


async def test_the_end_waits_until_the_answer_is_kept() -> None:
    gate = asyncio.Event()
    shelf = Shelf(gate=gate)
    ex, recording, client = recorded(shelf)
    recording.start(200, HEAD)
    recording.write(b"one")
    recording.write(b"two")
    recording.end()
    strand = Strand(recording.conclude(ex, asyncio.get_running_loop()))
    strand.start()
    await asyncio.sleep(0.01)
    assert client.told == [200, b"one", b"two"]

    gate.set()
    await asyncio.sleep(0.01)

    assert client.told[-1] == "end"
    assert shelf.kept == [(True, (b"onetwo", True))]


async def test_a_keeper_that_needs_no_time_delays_nothing() -> None:
    ex, recording, client = recorded(Shelf())
    recording.send(200, HEAD, b"body")
    Strand(recording.conclude(ex, asyncio.get_running_loop())).start()

    assert client.told == [(200, b"body")]


async def test_several_keepers_have_limits_of_their_own() -> None:
    small, large, tiny = Shelf(3), Shelf(50), Shelf(0)
    ex, recording, _ = recorded(small, large, tiny)
    recording.send(200, HEAD, b"twenty bytes of text")
    await recording.conclude(ex, asyncio.get_running_loop())

    assert small.kept == tiny.kept == [(True, None)]
    assert large.kept == [(True, (b"twenty bytes of text", False))]


async def test_what_is_too_long_is_passed_on_and_not_held() -> None:
    ex, recording, client = recorded(Shelf(10))
    recording.start(200, HEAD)
    for _ in range(5):
        recording.write(b"12345")
    recording.end()
    assert recording._pieces == []
    await recording.conclude(ex, asyncio.get_running_loop())

    assert client.told == [200, *[b"12345"] * 5, "end"]


async def test_errors_and_cuts_are_no_success() -> None:
    for outcome, said in (("ok", "abort"), ("upstream_truncated", "end"), ("ok", "503")):
        shelf = Shelf()
        ex, recording, _ = recorded(shelf)
        ex.outcome = outcome
        if said == "503":
            recording.send(503, HEAD, b"")
        else:
            recording.start(200, HEAD)
            getattr(recording, said)()
        await recording.conclude(ex, asyncio.get_running_loop())
        assert shelf.kept[0][0] is False, (outcome, said)


async def test_keeping_is_not_interrupted() -> None:
    """A client that leaves just then, or a process that stops, costs nobody the answer."""
    gate = asyncio.Event()
    ex, recording, client = recorded(Shelf(gate=gate))
    recording.send(200, HEAD, b"body")
    ended: list[BaseException | None] = []

    class Passage(Strand):
        def ended(self, error: BaseException | None) -> None:
            ended.append(error)

    strand = Passage(recording.conclude(ex, asyncio.get_running_loop()))
    strand.start()
    for _ in range(3):
        strand.interrupt(ClientGone("the client left"))
    assert ended == []
    gate.set()
    await asyncio.sleep(0.01)

    assert ended == [None]
    assert client.told == [(200, b"body")]


async def test_who_leaves_is_outlasted_only_when_a_keeper_wants_it() -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    _, recording, _ = recorded(Shelf(outlasts_s=0.0))
    assert not recording.left(loop, ended.set)
    _, recording, client = recorded(Shelf(outlasts_s=0.0), Shelf(outlasts_s=0.05))
    flow = FlowOf()
    recording.attach(flow)

    assert recording.left(loop, ended.set)

    assert flow.resumed == 1
    recording.attach(None)
    assert client.told == [flow]
    async with asyncio.timeout(2):
        await ended.wait()


async def test_nothing_is_outlasted_before_the_answer_was_asked_for() -> None:
    ex = exchange()
    record_for(ex, Shelf(outlasts_s=9.0))

    assert not ex.recording.left(asyncio.get_running_loop(), lambda: None)


async def test_no_timer_is_left_behind() -> None:
    ex, recording, _ = recorded(Shelf(outlasts_s=9.0))
    recording.left(asyncio.get_running_loop(), lambda: None)
    await recording.conclude(ex, asyncio.get_running_loop())
    assert recording._timer is not None
    assert recording._timer.cancelled()

    assert recording.left(asyncio.get_running_loop(), lambda: None)
    assert recording._timer.cancelled()


async def test_a_keeper_that_fails_costs_nobody_else_anything() -> None:
    """It is logged; the client has its end, and the others keep the answer."""
    loop = asyncio.get_running_loop()
    told: list[str] = []
    loop.set_exception_handler(lambda loop, context: told.append(repr(context["exception"])))

    class Failing(Shelf):
        def keep(self, ex: Exchange, recording: Recording) -> Awaitable[None] | None:
            raise ValueError("at once")

    class FailingLater(Shelf):
        async def _wait(self, gate: asyncio.Event) -> None:
            raise ValueError("later")

    good = Shelf()
    ex, recording, client = recorded(Failing(), FailingLater(gate=asyncio.Event()), good)
    recording.send(200, HEAD, b"body")
    Strand(recording.conclude(ex, loop)).start()
    await asyncio.sleep(0.01)

    assert client.told == [(200, b"body")]
    assert good.kept == [(True, (b"body", False))]
    assert told == ["ValueError('at once')", "ValueError('later')"]
