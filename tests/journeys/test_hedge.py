"""A second target that is asked when the first is slow. Real sockets at both ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from llmgw.core.record import Progress
from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, Step, delay, end, event, hang, json_reply, sse_head

MODELS = """
m:
  targets: [{provider: up, model: a}, {provider: two, model: b}]
  hedge: {after: 100ms}
  retry: {base: 10ms}
"""
PRICES = "{up/a: {input: 1 USD/M, output: 1 USD/M}, two/b: {input: 1 USD/M, output: 1 USD/M}}"
QUOTA = "quotas: [{per: tenant, tokens: 1M, window: day}, {per: tenant, cost: 10 USD, window: day}]\n"


def completion(text: str) -> Step:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return json_reply({"id": "c", "object": "chat.completion", "choices": choices, "usage": usage})


def delta(text: str) -> Step:
    return event({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]})


DONE = (
    event({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    event({"id": "c", "choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 5}}),
    event("[DONE]"),
    end(),
)


@pytest.fixture
async def first() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        yield up


@pytest.fixture
async def second() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        yield up


@pytest.fixture
async def gateway(first: ScriptedUpstream, second: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    two = f'two: {{kind: openai_compatible, base_url: "{second.base_url}/v1", allow_private: true}}'
    async with RunningGateway(first, providers=two, models=MODELS, extra=QUOTA) as running:
        running.reload(QUOTA, PRICES)
        yield running
        await running.quiet()
        assert running.heard.inside == 0
        assert (running.road.repeats.active, running.road.repeats.repeating) == (0, 0)
        for health in (running.health("up", "a"), running.health("two", "b")):
            assert health.in_flight == 0
        (record,) = running.records
        assert running.spent("tokens") == record.input_tokens + record.output_tokens
        assert running.spent("cost") == record.cost_nano_usd


async def test_a_quick_target_is_the_only_one_asked(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    first.script(completion("one"))

    answer = await gateway.ask(chat(model="m"))
    await asyncio.sleep(0.2)

    assert (answer.status, answer.headers["x-llmgw-provider"]) == (200, "up")
    assert second.requests == []


@pytest.mark.parametrize("stream", [False, True])
async def test_j18_the_quicker_of_two_is_heard_and_the_other_is_billed(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream, stream: bool
) -> None:
    """The loser is cancelled; its prompt is on the one record."""
    first.script(hang())
    second.script(*([sse_head(), delta("two"), *DONE] if stream else [completion("two")]))

    answer = await gateway.ask(chat(model="m", stream=stream))

    assert answer.status == 200
    assert answer.headers["x-llmgw-provider"] == "two"
    assert b"two" in answer.body
    assert b"usage" not in answer.body or not stream
    await asyncio.wait_for(first.requests[0].connection.closed.wait(), 2)
    (record,) = await gateway.settled()
    assert (record.provider, record.upstream_model, record.attempts) == ("two", "b", 2)
    assert record.outcome == "ok"
    assert record.input_tokens > 12
    assert record.output_tokens == 5
    assert record.usage_source == "estimated"


async def test_j18_the_first_may_still_win(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    first.script(delay(0.3), completion("one"))
    second.script(hang())

    answer = await gateway.ask(chat(model="m"))

    assert answer.headers["x-llmgw-provider"] == "up"
    await asyncio.wait_for(second.requests[0].connection.closed.wait(), 2)


async def test_the_second_answers_though_the_first_fails_meanwhile(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    first.script(delay(0.2), json_reply({"error": {"message": "no"}}, 500))
    second.script(delay(0.3), completion("two"))

    answer = await gateway.ask(chat(model="m"))

    assert (answer.status, answer.headers["x-llmgw-provider"]) == (200, "two")
    assert len(second.requests) == 1


async def test_both_may_fail_and_the_first_is_asked_again(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    """As after any two failures."""
    first.script(delay(0.2), json_reply({"error": {"message": "no"}}, 500))
    first.script(completion("one"))
    second.script(json_reply({"error": {"message": "no"}}, 500))

    answer = await gateway.ask(chat(model="m"))

    assert (answer.status, answer.headers["x-llmgw-provider"]) == (200, "up")
    (record,) = await gateway.settled()
    assert record.attempts == 3


async def test_a_client_that_leaves_ends_both(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    first.script(hang())
    second.script(hang())
    client = await gateway.open(chat(model="m"))
    await asyncio.sleep(0.4)
    await client.vanish()

    (record,) = await gateway.settled(within_s=5)
    for up in (first, second):
        await asyncio.wait_for(up.requests[0].connection.closed.wait(), 2)
    assert (record.outcome, record.attempts) == ("client_gone", 2)
    assert record.input_tokens > 0


async def test_g08_what_passed_of_a_hedged_stream_is_in_the_journal(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    """Both have begun when the first word decides; the one that was not heard takes nothing with it."""
    first.script(sse_head(), delay(0.3), delta("one"), delay(0.5), *DONE)
    second.script(sse_head(), hang())

    client = await gateway.open(chat(model="m", stream=True))
    await client.read_head()
    await client.read_chunk()
    await asyncio.sleep(0.1)
    gateway.gateway.tick()

    (progress,) = [one for one in gateway.journal.entries if type(one) is Progress]
    assert progress.output_tokens_estimate > 0
    while await client.read_chunk():
        pass
