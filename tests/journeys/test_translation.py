"""Clients of one dialect, upstreams of another: what must go up, what must come back, what remains.

Both ends are real sockets; the upstream speaks Gemini or Anthropic from a script.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, cut, end, event, hang, json_reply, sse_head

TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
]
GEMINI = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP", "index": 0}
    ],
    "usageMetadata": {
        "promptTokenCount": 12,
        "candidatesTokenCount": 4,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 19,
    },
    "modelVersion": "gemini-x",
    "responseId": "r1",
}


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    providers = (
        f"    g: {{kind: gemini, base_url: '{upstream.base_url}/v1beta', api_key: g-key, "
        "allow_private: true}\n"
        f"    c: {{kind: anthropic, base_url: '{upstream.base_url}', api_key: c-key, allow_private: true}}"
    )
    acme = (
        f"providers:\n{providers}\n"
        "models:\n"
        "    gemini: {targets: [{provider: g, model: gemini-2.5-pro}]}\n"
        "    picky: {targets: [{provider: g, model: gemini-2.5-pro}], on_loss: reject}\n"
        "    claude: {targets: [{provider: c, model: claude-sonnet-4-5}], retry: {attempts: 1}, breaker: off}"
    )
    async with RunningGateway(upstream, acme=acme) as running:
        yield running
        await running.quiet()


async def test_chat_completions_to_gemini(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """The model stands in the path, the key in its header, and usage counts thoughts as output."""
    upstream.script(json_reply(GEMINI))
    answer = await gateway.ask(chat("hi", model="gemini", max_tokens=9, tools=TOOLS))
    sent = upstream.requests[0]
    await gateway.quiet()
    record = gateway.records[0]

    assert sent.target == "/v1beta/models/gemini-2.5-pro:generateContent"
    assert sent.headers["x-goog-api-key"] == "g-key"
    assert sent.json["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]
    assert sent.json["generationConfig"]["maxOutputTokens"] == 9
    assert answer.json["choices"][0]["message"]["content"] == "Hello"
    assert answer.json["model"] == "gemini"
    assert answer.json["usage"]["completion_tokens"] == 7
    assert answer.headers["content-type"] == "application/json"
    assert (record.input_tokens, record.output_tokens, record.reasoning_tokens) == (12, 7, 3)
    assert record.usage_source == "reported"


async def test_messages_to_gemini_streamed(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """Anthropic's events, well-formed, from Gemini's."""
    upstream.script(sse_head(), event(GEMINI), end())
    client = await gateway.open(
        {"model": "gemini", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]},
        path="/v1/messages",
    )
    answer = await client.read_answer()
    names = [
        line.removeprefix("event: ")
        for line in answer.body.decode().splitlines()
        if line.startswith("event: ")
    ]

    assert upstream.requests[0].target == "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    assert names == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert gateway.records[0].output_tokens == 7


async def test_a_stream_that_is_cut_ends_in_the_clients_error(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """No sign of success after it, and what was delivered is metered."""
    start = {
        "type": "message_start",
        "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}},
    }
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    more = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "some words of it"},
    }
    upstream.script(sse_head(), event(start), event(block), event(more), cut())
    client = await gateway.open(chat(model="claude", stream=True))
    answer = await client.read_answer()
    await gateway.quiet()
    record = gateway.records[0]

    assert b"some words of it" in answer.body
    assert b'"error"' in answer.body
    assert b"[DONE]" not in answer.body
    assert record.outcome == "upstream_truncated"
    assert (record.input_tokens, record.output_tokens) == (9, 4)
    assert record.usage_source == "estimated"


async def test_an_upstreams_error_is_told_in_the_clients_dialect(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """By its class: the caller's fault stays the caller's."""
    upstream.script(
        json_reply(
            {"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}}, status=400
        )
    )
    upstream.script(
        json_reply({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, status=529)
    )
    upstream.script(
        json_reply(
            {"type": "error", "error": {"type": "authentication_error", "message": "c-key"}}, status=401
        )
    )
    refused = await gateway.ask(chat(model="claude"))
    busy = await gateway.ask(chat(model="claude"))
    ours = await gateway.ask(chat(model="claude"))

    assert (refused.status, refused.json["error"]["message"]) == (400, "too long")
    assert busy.status == 503
    assert ours.status == 502
    assert "c-key" not in ours.body.decode()


async def test_a_providers_429_spends_what_we_counted(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """It was dispatched: its permits are used, whoever refused it."""
    upstream.script(
        json_reply({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}, status=429)
    )
    answer = await gateway.ask(chat(model="claude"))
    await gateway.quiet()

    assert (answer.status, answer.json["error"]["code"]) == (429, "upstream_rate_limited")
    assert gateway.used("per_user:") == 1
    assert len(gateway.records) == 1


async def test_structure_that_cannot_be_said_is_refused(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """Before anything is dispatched, naming the member."""
    answer = await gateway.ask(chat(model="claude", n=2))

    assert answer.status == 400
    assert answer.json["error"]["code"] == "unsupported_operation"
    assert answer.json["error"]["param"] == "n"
    assert not upstream.requests


async def test_responses_to_messages(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """A client of OpenAI's responses talks to Claude."""
    upstream.script(
        json_reply(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [{"type": "text", "text": "Hello"}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 4},
            }
        )
    )
    answer = await gateway.ask({"model": "claude", "input": "hi"}, path="/v1/responses")

    assert upstream.requests[0].target == "/v1/messages"
    assert answer.status == 200
    assert answer.json["output"][-1]["content"][0]["text"] == "Hello"
    assert answer.json["usage"]["input_tokens"] == 5


async def test_a_client_that_leaves_a_translated_stream(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """Cancels the upstream and is billed for what it got."""
    start = {
        "type": "message_start",
        "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}},
    }
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    more = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "some words of it"},
    }
    upstream.script(sse_head(), event(start), event(block), event(more), hang())
    client = await gateway.open(chat(model="claude", stream=True))
    await client.read_head()
    await client.read_chunk()
    await client.vanish()
    await gateway.quiet()

    assert await upstream.closed()
    assert gateway.records[0].outcome == "client_gone"
    assert gateway.records[0].output_tokens > 0


async def test_dropped_names_cannot_add_a_header(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """Members are the caller's words: in the header they are bounded and plain."""
    upstream.script(json_reply(GEMINI))
    evil = {
        "x\r\nset-cookie: a": 1,
        "y" * 500: 1,
        "\u00fc, z": 1,
        **{f"n{number}": 1 for number in range(200)},
    }
    answer = await gateway.ask(chat(model="gemini", seed=1, **evil))

    assert answer.status == 200
    assert "set-cookie" not in answer.headers
    assert len(answer.headers["x-llmgw-dropped"]) < 2100
    assert "x__set-cookie__a" in answer.headers["x-llmgw-dropped"]


async def test_a_place_that_is_lost_is_named_or_refused(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """Gemini has one system prompt, and no place for a system message after a user's."""
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "go on"},
    ]
    upstream.script(json_reply(GEMINI))
    named = await gateway.ask({"model": "gemini", "messages": turns})
    refused = await gateway.ask({"model": "picky", "messages": turns})

    assert named.headers["x-llmgw-dropped"] == "messages[1].position"
    assert upstream.requests[0].json["systemInstruction"] == {"parts": [{"text": "be kind"}]}
    assert refused.status == 400
    assert refused.json["error"]["param"] == "messages[1].position"
    assert len(upstream.requests) == 1


async def test_gemini_to_gemini_stays_bytes(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """The client's bytes go up, the provider's come back, and usage is known all the same."""
    upstream.script(json_reply(GEMINI | {"of_next_year": 1}))
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "memberOfNextYear": {"x": 1}}
    answer = await gateway.ask(body, path="/v1beta/models/gemini:generateContent")
    await gateway.quiet()

    assert upstream.requests[0].target == "/v1beta/models/gemini-2.5-pro:generateContent"
    assert upstream.requests[0].json == body
    assert answer.json == GEMINI | {"of_next_year": 1}
    assert (gateway.records[0].input_tokens, gateway.records[0].output_tokens) == (12, 7)


async def test_gemini_errors_are_geminis(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """On its paths, for a wrong key, a wrong model and a stream in a form that there is not."""
    wrong = await gateway.ask({}, path="/v1beta/models/gemini:generateContent", key="sk-nobody")
    unknown = await gateway.ask({"contents": []}, path="/v1beta/models/nobody:generateContent")
    proto = await gateway.ask({"contents": []}, path="/v1beta/models/gemini:streamGenerateContent?alt=proto")
    nowhere = await gateway.ask({}, path="/v1beta/models/gemini:train")

    assert wrong.json["error"]["status"] == "UNAUTHENTICATED"
    assert unknown.json["error"]["status"] == "NOT_FOUND"
    assert proto.status == 400
    assert proto.json["error"]["message"] == "'alt' is sse or json, not 'proto'"
    assert nowhere.status == 404


async def test_g20_messages_that_are_cut_are_billed_for_what_was_delivered(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """The few output tokens that a stream begins with are no usage of the whole."""
    usage = {"input_tokens": 9, "cache_read_input_tokens": 2, "output_tokens": 1}
    start = {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": usage}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    more = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "some words of it"},
    }
    upstream.script(sse_head(), event(start), event(block), event(more), cut())
    body = {
        "model": "claude",
        "max_tokens": 9,
        "stream": True,
        "messages": [{"role": "user", "content": "hi"}],
    }
    client = await gateway.open(body, path="/v1/messages")
    answer = await client.read_answer()
    await gateway.quiet()
    record = gateway.records[0]

    assert b"event: error" in answer.body
    assert (record.input_tokens, record.cached_tokens, record.output_tokens) == (11, 2, 4)
    assert record.usage_source == "estimated"


async def test_a_large_request_is_translated_beside_the_others(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """In a thread; what arrives is whole."""
    upstream.script(json_reply(GEMINI))
    text = "wörter " * 60_000

    answer = await gateway.ask(chat(text, model="gemini"))

    assert answer.status == 200
    assert upstream.requests[0].json["contents"] == [{"role": "user", "parts": [{"text": text}]}]


async def test_members_that_stand_deep_are_named_when_they_are_lost(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.default(json_reply(GEMINI))
    part = {"type": "text", "text": "hi", "prompt_cache_breakpoint": {"mode": "explicit"}}
    tool = {**TOOLS[0], "defer_loading": True}
    body = chat("hi", model="gemini", messages=[{"role": "user", "content": [part]}], tools=[tool])
    answer = await gateway.ask(body)

    lost = "messages[].content[].prompt_cache_breakpoint, tools[].defer_loading"
    assert answer.headers["x-llmgw-dropped"] == lost
    item = {"role": "assistant", "content": "a", "phase": "commentary"}
    answer = await gateway.ask({"model": "gemini", "input": [item]}, path="/v1/responses")
    assert answer.headers["x-llmgw-dropped"] == "input[].phase"
    assert (await gateway.ask({**body, "model": "picky"})).status == 400


async def test_a_web_search_that_an_empty_object_asks_for_is_refused(gateway: RunningGateway) -> None:
    answer = await gateway.ask(chat("hi", model="gemini", web_search_options={}))

    assert answer.status == 400
    assert answer.json["error"]["param"] == "web_search_options"
