"""The same request many times at once."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.kept import EXACT, STREAM, Away, completion, said, words
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, delay, end, event, hang, json_reply, sse_head


async def test_i08_a_stampede_is_one_call() -> None:
    """100 same requests at once, 50 of another tenant: two calls, and everybody has an answer."""
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        upstream.default(delay(0.3), json_reply(completion()))

        asked = [gateway.ask(chat()) for _ in range(100)]
        asked += [gateway.ask(chat(), key="sk-rival") for _ in range(50)]
        answers = await asyncio.gather(*asked)

        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        assert sorted(map(str, map(words, answers))).count("miss") == 2
        assert len(upstream.requests) == 2
        records = await gateway.settled(150)
        assert sum(record.input_tokens for record in records) == 20
        assert gateway.in_flight == 0


async def test_i08_when_the_first_fails_another_goes_and_nobody_else_fails() -> None:
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        upstream.script(delay(0.2), json_reply({"error": {"message": "x"}}, 500))
        upstream.script(delay(0.2), json_reply(completion()))

        answers = await asyncio.gather(*(gateway.ask(chat()) for _ in range(20)))

        assert sorted(answer.status for answer in answers) == [200] * 19 + [500]
        assert len(upstream.requests) == 2


async def test_i08_when_the_first_leaves_another_goes() -> None:
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        upstream.script(sse_head(), event(said("Hel")), hang())
        upstream.script(*STREAM)
        first = await gateway.open(chat(stream=True))
        await first.read_head()
        others = [await gateway.open(chat(stream=True)) for _ in range(3)]
        await asyncio.sleep(0.05)

        await first.vanish(reset=True)
        answers = [await client.read_answer() for client in others]

        assert {answer.status for answer in answers} == {200}
        assert all(answer.body.endswith(b"data: [DONE]\n\n") for answer in answers)
        assert len(upstream.requests) == 2


async def test_i08_who_waits_long_enough_goes_alone() -> None:
    extra = EXACT.replace("mode: exact", "mode: exact, wait: 100ms")
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=extra) as gateway:
        upstream.script(hang())
        upstream.script(json_reply(completion()))
        stuck = await gateway.open(chat())
        await upstream.received()

        answer = await gateway.ask(chat())

        assert answer.status == 200
        assert words(answer) == "miss"
        await stuck.vanish(reset=True)


async def test_i08_who_leaves_while_waiting_gives_back_what_it_holds() -> None:
    quota = "quotas: [{per: tenant, tokens: 1M, window: month}]\n"
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT + quota) as gateway:
        upstream.script(hang())
        first = await gateway.open(chat())
        await upstream.received()
        waiting = [await gateway.open(chat()) for _ in range(5)]
        async with asyncio.timeout(2):
            while gateway.in_flight < 6:
                await asyncio.sleep(0.005)

        for client in [*waiting, first]:
            await client.vanish(reset=True)
        await gateway.quiet()

        assert gateway.in_flight == 0
        assert gateway.held == 0
        assert len(upstream.requests) == 1


async def test_requests_with_a_deadline_do_not_wait_for_others() -> None:
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        upstream.script(hang())
        upstream.script(json_reply(completion()))
        stuck = await gateway.open(chat())
        await upstream.received()

        answer = await gateway.ask(chat(), headers={"x-llmgw-timeout": "5"})

        assert answer.status == 200
        await stuck.vanish(reset=True)


async def test_i10_a_store_that_is_away_is_a_miss_and_a_stampede_is_still_one_call() -> None:
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        gateway._resources.cache.shelf.store = Away()
        upstream.default(delay(0.2), json_reply(completion()))

        answers = await asyncio.gather(*(gateway.ask(chat()) for _ in range(20)))

        assert {answer.status for answer in answers} == {200}
        assert {answer.headers["x-llmgw-degraded"] for answer in answers} == {"cache"}
        assert len(upstream.requests) == 1
        assert words(await gateway.ask(chat())) == "miss"


@pytest.mark.parametrize("fault", ["get", "put"])
async def test_a_store_with_a_fault_leaves_nobody_waiting(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raises where it never should. Whoever meets it may fail; nobody waits for what is over."""

    def breaks(*_: object) -> None:
        raise RuntimeError("a fault")

    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        upstream.default(delay(0.2), json_reply(completion()))
        shelf = gateway._resources.cache.shelf
        monkeypatch.setattr(shelf.store, fault, breaks)

        answers = await asyncio.gather(*(gateway.ask(chat()) for _ in range(3)))

        assert {answer.status for answer in answers} == ({500} if fault == "get" else {200})
        assert len(shelf.flights) == 0
        assert gateway.in_flight == 0


async def test_a_long_stream_is_looked_through_beside_the_road() -> None:
    """Above 64 KiB in a thread; the waiting ones get it all the same."""
    many = [event(said("word " * 100)) for _ in range(300)]
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        upstream.script(delay(0.1), sse_head(), *many, event(said("", "stop")), event("[DONE]"), end())

        together = await asyncio.gather(*(gateway.ask(chat(stream=True)) for _ in range(5)))
        after = await gateway.ask(chat(stream=True))

        assert sorted(map(str, map(words, together))) == ["hit"] * 4 + ["miss"]
        assert words(after) == "hit"
        assert len({answer.body for answer in [*together, after]}) == 1
        assert len(together[0].body) > 150_000
