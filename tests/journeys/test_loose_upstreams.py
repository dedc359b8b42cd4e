"""Upstreams that are looser than the reference of the dialect that their client speaks too.

Both ends are real sockets; the clients are the official SDKs.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping

import anthropic
import openai
import pytest

from llmgw.wire.sse import render_event
from tests.fakes.gateway import RunningGateway
from tests.fakes.upstream import ScriptedUpstream, Step, chunk, end, event, sse_head

BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
LO = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}}
CLOSE = {"type": "content_block_stop", "index": 0}
STOP = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
}


def named(*events: Mapping[str, object]) -> Step:
    """Events with their names."""
    return chunk(
        b"".join(render_event(json.dumps(one).encode(), str(one["type"]).encode()) for one in events)
    )


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    rows = (
        f"c: {{kind: anthropic, base_url: '{upstream.base_url}', api_key: k, allow_private: true}}\n"
        f"o: {{kind: openai, base_url: '{upstream.base_url}/v1', api_key: k, allow_private: true}}"
    )
    models = "\n".join(
        f"{name}: {{targets: [{{provider: {name[0]}, model: m}}], retry: {{attempts: 1}}, breaker: off}}"
        for name in ("claude", "openai")
    )
    async with RunningGateway(upstream, providers=rows, models=models) as running:
        yield running
        await running.quiet()


@pytest.fixture
async def claude(gateway: RunningGateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    root = f"http://127.0.0.1:{gateway.port}"
    async with anthropic.AsyncAnthropic(base_url=root, api_key="sk-test", max_retries=0) as client:
        yield client


async def test_messages_without_their_opening(
    claude: anthropic.AsyncAnthropic, upstream: ScriptedUpstream
) -> None:
    """llama.cpp, when the first token is half a character. Anthropic's SDK refuses such a stream."""
    upstream.script(sse_head(), named(BLOCK, LO), named(CLOSE, STOP, {"type": "message_stop"}), end())
    turns: list[anthropic.types.MessageParam] = [{"role": "user", "content": "hi"}]
    async with claude.messages.stream(model="claude", max_tokens=9, messages=turns) as stream:
        message = await stream.get_final_message()

    assert message.content[0].type == "text"
    assert message.content[0].text == "lo"
    assert (message.model, message.stop_reason) == ("claude", "end_turn")


async def test_an_error_in_openais_shape_is_raised_by_anthropics_sdk(
    claude: anthropic.AsyncAnthropic, upstream: ScriptedUpstream
) -> None:
    """It has no name, so that the SDK would pass over it and end as if all had been said."""
    upstream.script(
        sse_head(),
        named(START, BLOCK, LO),
        event({"error": {"message": "busy", "type": "overloaded"}}),
        end(),
    )
    turns: list[anthropic.types.MessageParam] = [{"role": "user", "content": "hi"}]
    with pytest.raises(anthropic.APIStatusError, match="busy"):
        async with claude.messages.stream(model="claude", max_tokens=9, messages=turns) as stream:
            await stream.get_final_message()


async def test_responses_without_their_opening(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """Nor numbers, nor places: OpenAI's SDK puts the answer together all the same."""
    upstream.script(
        sse_head(),
        named({"type": "response.output_text.delta", "delta": "Hel"}),
        named({"type": "response.output_text.delta", "delta": "lo"}),
        named({"type": "response.completed", "response": {"status": "completed", "output": []}}),
        end(),
    )
    root = f"http://127.0.0.1:{gateway.port}/v1"
    async with (
        openai.AsyncOpenAI(base_url=root, api_key="sk-test", max_retries=0) as client,
        client.responses.stream(model="openai", input="hi") as stream,
    ):
        answer = await stream.get_final_response()

    assert answer.output_text == "Hello"
    assert answer.model == "openai"


async def test_parallel_calls_without_ids_under_one_index_reach_anthropics_sdk(
    claude: anthropic.AsyncAnthropic, upstream: ScriptedUpstream
) -> None:
    """As Gemini's compatible endpoint has sent them."""

    def piece(delta: object, finish: str | None = None) -> Step:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return event({"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})

    def call(name: str, arguments: str) -> dict[str, object]:
        function = {"name": name, "arguments": arguments}
        return {"tool_calls": [{"index": 0, "id": "", "type": "function", "function": function}]}

    pieces = (call("a", '{"x":1}'), call("b", '{"y":2}'))
    upstream.script(sse_head(), *map(piece, pieces), piece({}, "tool_calls"), event("[DONE]"), end())
    async with claude.messages.stream(
        model="openai", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        message = await stream.get_final_message()

    calls = [block for block in message.content if block.type == "tool_use"]
    assert [(block.name, block.input) for block in calls] == [("a", {"x": 1}), ("b", {"y": 2})]
    assert len({block.id for block in calls}) == 2
    assert message.stop_reason == "tool_use"
