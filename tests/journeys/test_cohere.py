"""Clients of OpenAI's chat, an upstream that speaks Cohere's. Both ends are real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, cut, end, event, json_reply, sse_head

TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
]
USAGE = {
    "billed_units": {"input_tokens": 3, "output_tokens": 2},
    "tokens": {"input_tokens": 90, "output_tokens": 12},
    "cached_tokens": 64,
}
START = {"id": "r1", "type": "message-start", "delta": {"message": {"role": "assistant", "content": []}}}


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    acme = (
        "providers:\n"
        f"    c: {{kind: cohere, base_url: '{upstream.base_url}', api_key: c-key, allow_private: true}}\n"
        "models:\n"
        "    command: {targets: [{provider: c, model: command-a-03-2025}]}"
    )
    async with RunningGateway(upstream, acme=acme) as running:
        yield running
        await running.quiet()


async def test_a_whole_answer(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.script(
        json_reply(
            {
                "id": "r1",
                "finish_reason": "COMPLETE",
                "message": {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]},
                "usage": USAGE,
            }
        )
    )
    answer = await gateway.ask(chat("hi", model="command", max_tokens=9, top_p=0.5))
    sent = upstream.requests[0]
    await gateway.quiet()
    record = gateway.records[0]

    assert sent.target == "/v2/chat"
    assert sent.headers["authorization"] == "Bearer c-key"
    assert sent.json == {
        "model": "command-a-03-2025",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9,
        "p": 0.5,
        "stream": False,
    }
    assert answer.json["model"] == "command"
    assert answer.json["choices"][0]["message"]["content"] == "Hello"
    assert answer.json["choices"][0]["finish_reason"] == "stop"
    assert answer.json["usage"]["prompt_tokens_details"]["cached_tokens"] == 64
    assert (record.input_tokens, record.output_tokens, record.cached_tokens) == (90, 12, 64)
    assert record.usage_source == "reported"


async def test_a_tool_call_streamed(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    more = {"function": {"arguments": '{"city":"Rome"}'}}
    upstream.script(
        sse_head(),
        event(START),
        event({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I will ask"}}}),
        event({"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": call}}}),
        event({"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": more}}}),
        event({"type": "tool-call-end", "index": 0}),
        event({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": USAGE}}),
        end(),
    )
    client = await gateway.open(chat("hi", model="command", stream=True, tools=TOOLS, tool_choice="required"))
    answer = await client.read_answer()
    await gateway.quiet()
    lines = [line.removeprefix(b"data: ") for line in answer.body.splitlines() if line.startswith(b"data: ")]
    choices = [choice for line in lines[:-1] for choice in json.loads(line)["choices"]]
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]

    assert upstream.requests[0].json["tool_choice"] == "REQUIRED"
    assert upstream.requests[0].json["stream"] is True
    assert lines[-1] == b"[DONE]"
    assert (calls[0]["id"], calls[0]["function"]["name"]) == ("c1", "weather")
    assert "".join(call["function"].get("arguments", "") for call in calls) == '{"city":"Rome"}'
    assert choices[-1]["finish_reason"] == "tool_calls"
    assert gateway.records[0].output_tokens == 12


async def test_a_stream_that_is_cut(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """No sign of success after it."""
    more = {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "some words"}}}}
    upstream.script(sse_head(), event(START), event(more), cut())
    client = await gateway.open(chat(model="command", stream=True))
    answer = await client.read_answer()
    await gateway.quiet()

    assert b"some words" in answer.body
    assert b'"error"' in answer.body
    assert b"[DONE]" not in answer.body
    assert gateway.records[0].outcome == "upstream_truncated"


async def test_an_error_in_the_clients_words(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.script(json_reply({"message": "too many tokens", "error_type": "TOO_MANY_TOKENS"}, status=400))
    answer = await gateway.ask(chat(model="command"))

    assert (answer.status, answer.json["error"]["message"]) == (400, "too many tokens")
