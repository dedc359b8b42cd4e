"""Vertex AI from a script: tokens by a service account, Gemini and Claude. All sockets are real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from google import genai

from tests.fakes.gateway import RunningGateway
from tests.fakes.google import service_account
from tests.fakes.patient import PatientUpstream
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, Step, chunk, delay, end, event, json_reply, sse_head

PLACE = "/v1/projects/p/locations/europe-west4/publishers"
TOKEN = {"access_token": "ya29.first", "expires_in": 3599, "token_type": "Bearer"}
GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2, "totalTokenCount": 6},
    "modelVersion": "gemini-2.5-pro",
    "responseId": "r1",
}
USAGE = {"input_tokens": 9, "output_tokens": 3}
CLAUDE: dict[str, Any] = {
    "id": "msg_vrtx_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Bonjour"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}
STREAM: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**CLAUDE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Bonjour"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
]


def named(data: dict[str, Any]) -> Step:
    return chunk(f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode())


@pytest.fixture
async def google() -> AsyncIterator[ScriptedUpstream]:
    """The token service."""
    async with PatientUpstream() as up:
        yield up


@pytest.fixture
async def gateway(upstream: ScriptedUpstream, google: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    credentials = json.dumps(service_account(f"{google.base_url}/token"))
    providers = (
        f"v: {{kind: vertex, project: p, location: europe-west4, base_url: '{upstream.base_url}/v1', "
        f"credentials: {credentials}, allow_private: true}}\n"
    )
    models = (
        "gemini: {targets: [{provider: v, model: gemini-2.5-pro}]}\n"
        "claude: {targets: [{provider: v, model: 'claude-sonnet-4-5@20250929'}]}\n"
        "texts: {targets: [{provider: v, model: text-embedding-005}]}\n"
        "mistral: {targets: [{provider: v, model: mistral-small-2503}]}\n"
        "llama: {targets: [{provider: v, model: meta/llama-3.3-70b-instruct-maas}]}\n"
        "tuned: {targets: [{provider: v, model: endpoints/1234567890}]}"
    )
    async with RunningGateway(upstream, providers=providers, models=models) as running:
        yield running
        await running.quiet()


async def test_requests_share_one_token(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream
) -> None:
    """Those that come first wait for it together; those after do not wait."""
    google.script(delay(0.05), json_reply(TOKEN))
    for _ in range(4):
        upstream.script(json_reply(GEMINI))
    first = [gateway.ask(chat("hi", model="gemini")) for _ in range(3)]
    answers = [*await asyncio.gather(*first), await gateway.ask(chat("hi", model="gemini"))]

    assert [answer.json["choices"][0]["message"]["content"] for answer in answers] == ["Hello"] * 4
    assert {one.headers["authorization"] for one in upstream.requests} == {"Bearer ya29.first"}
    assert {one.target for one in upstream.requests} == {
        f"{PLACE}/google/models/gemini-2.5-pro:generateContent"
    }
    assert len(google.requests) == 1


async def test_a_stream_of_gemini(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream
) -> None:
    google.script(json_reply(TOKEN))
    upstream.script(sse_head(), event(GEMINI), end())
    client = await gateway.open(chat("hi", model="gemini", stream=True))
    answer = await client.read_answer()
    [record] = await gateway.settled()

    assert b"Hello" in answer.body
    assert b"[DONE]" in answer.body
    assert upstream.requests[0].target.endswith("gemini-2.5-pro:streamGenerateContent?alt=sse")
    assert (record.input_tokens, record.output_tokens) == (4, 2)
    assert record.cost_nano_usd


async def test_googles_sdk_stays_bytes(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream
) -> None:
    google.script(json_reply(TOKEN))
    upstream.script(json_reply({**GEMINI, "new": 1}))
    options = genai.types.HttpOptions(base_url=f"http://127.0.0.1:{gateway.port}", api_version="v1beta")
    async with genai.Client(api_key="sk-test", http_options=options).aio as client:
        answer = await client.models.generate_content(model="gemini", contents="hi")

    assert answer.text == "Hello"
    assert upstream.requests[0].target == f"{PLACE}/google/models/gemini-2.5-pro:generateContent"


async def test_claude_by_anthropics_sdk(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream
) -> None:
    """The same dialect: members and headers go on, but the model and the version stand elsewhere."""
    google.script(json_reply(TOKEN))
    upstream.script(json_reply(CLAUDE))
    upstream.script(sse_head(), *(named(one) for one in STREAM), end())
    sdk = anthropic.AsyncAnthropic(
        base_url=f"http://127.0.0.1:{gateway.port}", api_key="sk-test", max_retries=0
    )
    asked: dict[str, Any] = {
        "model": "claude",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "extra_body": {"new": {"a": 1.50}},
        "extra_headers": {"anthropic-beta": "x-2026"},
    }
    async with sdk:
        whole = await sdk.messages.create(**asked)
        async with sdk.messages.stream(**asked) as stream:
            streamed = await stream.get_final_text()
    await gateway.quiet()
    first, second = upstream.requests

    assert whole.content[0].text == streamed == "Bonjour"  # type: ignore[union-attr]
    assert first.target == f"{PLACE}/anthropic/models/claude-sonnet-4-5@20250929:rawPredict"
    assert second.target == f"{PLACE}/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict"
    assert first.json == {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "new": {"a": 1.5},
        "anthropic_version": "vertex-2023-10-16",
    }
    assert second.json["stream"] is True
    assert "model" not in second.json
    assert first.headers["anthropic-beta"] == "x-2026"
    assert [(one.input_tokens, one.output_tokens) for one in gateway.records] == [(9, 3), (9, 3)]


async def test_claude_by_another_dialect(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream
) -> None:
    google.script(json_reply(TOKEN))
    upstream.script(json_reply(CLAUDE))
    answer = await gateway.ask(chat("hi", model="claude", max_tokens=9))

    assert answer.json["choices"][0]["message"]["content"] == "Bonjour"
    assert upstream.requests[0].json["anthropic_version"] == "vertex-2023-10-16"
    assert "model" not in upstream.requests[0].json


@pytest.mark.parametrize("model", ["gemini", "claude"])
async def test_googles_errors_in_the_clients_words(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream, model: str
) -> None:
    google.script(json_reply(TOKEN))
    error = {"error": {"code": 400, "message": "max_tokens: too large", "status": "INVALID_ARGUMENT"}}
    upstream.script(json_reply(error, status=400))
    answer = await gateway.ask(chat("hi", model=model, max_tokens=9))

    assert (answer.status, answer.json["error"]["message"]) == (400, "max_tokens: too large")


async def test_embeddings(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream
) -> None:
    google.script(json_reply(TOKEN))
    predictions = [
        {"embeddings": {"values": [value], "statistics": {"token_count": 4, "truncated": False}}}
        for value in (0.5, -1.5)
    ]
    upstream.script(json_reply({"predictions": predictions}))
    body = {"model": "texts", "input": ["a", "b"], "dimensions": 1, "input_type": "query"}
    answer = await gateway.ask(body, path="/v1/embeddings")

    assert [one["embedding"] for one in answer.json["data"]] == [[0.5], [-1.5]]
    assert answer.json["usage"]["prompt_tokens"] == 8
    assert upstream.requests[0].target == f"{PLACE}/google/models/text-embedding-005:predict"
    assert upstream.requests[0].json == {
        "instances": [{"content": text, "task_type": "RETRIEVAL_QUERY"} for text in ("a", "b")],
        "parameters": {"outputDimensionality": 1},
    }


async def test_a_token_service_that_refuses(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream
) -> None:
    """The caller learns whose fault it is, the log learns why, and no request goes out unsigned."""
    google.script(json_reply({"error": "invalid_grant", "error_description": "Account gone."}, status=400))
    answer = await gateway.ask(chat("hi", model="gemini"))
    await gateway.quiet()

    assert answer.status == 502
    assert "token service refused the gateway's credential" in answer.json["error"]["message"]
    assert "Account gone." in (gateway.reports[0].detail or "")
    assert "PRIVATE" not in (gateway.reports[0].detail or "")
    assert upstream.requests == []


async def test_a_client_that_leaves_while_there_is_no_token(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream
) -> None:
    google.script(delay(0.2), json_reply(TOKEN))
    upstream.script(json_reply(GEMINI))
    client = await gateway.open(chat("hi", model="gemini"))
    await asyncio.sleep(0.05)
    await client.vanish()
    answer = await gateway.ask(chat("hi", model="gemini"))
    await gateway.quiet()

    assert answer.status == 200
    assert len(upstream.requests) == 1
    assert len(google.requests) == 1


async def test_a_token_outlives_a_reload(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream
) -> None:
    """A provider whose settings are the same goes on with what it holds."""
    google.script(json_reply(TOKEN))
    upstream.script(json_reply(GEMINI))
    await gateway.ask(chat("hi", model="gemini"))
    upstream.script(json_reply(GEMINI))
    gateway.reload("logging: {level: debug}\n")
    answer = await gateway.ask(chat("hi", model="gemini"))

    assert answer.status == 200
    assert len(google.requests) == 1


COMPLETION: dict[str, Any] = {
    "id": "c1",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Salut"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}
CHUNK: dict[str, Any] = {
    "id": "c1",
    "object": "chat.completion.chunk",
    "model": "m",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Salut"}, "finish_reason": "stop"}],
}


async def test_mistral_by_openais_clients(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream
) -> None:
    """Its bodies are the client's own, but for what Mistral refuses."""
    google.script(json_reply(TOKEN))
    upstream.script(json_reply(COMPLETION))
    whole = await gateway.ask({**chat("hi", model="mistral"), "new": 1.50})
    upstream.script(sse_head(), event({**CHUNK, "usage": COMPLETION["usage"]}), event("[DONE]"), end())
    client = await gateway.open(
        {**chat("hi", model="mistral", stream=True), "stream_options": {"include_usage": True}}
    )
    streamed = await client.read_answer()
    await gateway.quiet()
    first, second = upstream.requests

    assert whole.json["choices"][0]["message"]["content"] == "Salut"
    assert b"Salut" in streamed.body
    assert first.target == f"{PLACE}/mistralai/models/mistral-small-2503:rawPredict"
    assert second.target == f"{PLACE}/mistralai/models/mistral-small-2503:streamRawPredict"
    assert first.json == {**chat("hi"), "model": "mistral-small-2503", "new": 1.5}
    assert second.json["stream"] is True
    assert "stream_options" not in second.json
    assert [(one.input_tokens, one.output_tokens) for one in gateway.records] == [(5, 2), (5, 2)]


async def test_mistral_by_another_dialect(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream
) -> None:
    google.script(json_reply(TOKEN))
    upstream.script(json_reply(COMPLETION))
    body = {"model": "mistral", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    answer = await gateway.ask(body, path="/v1/messages")

    assert answer.json["content"][0]["text"] == "Salut"
    assert upstream.requests[0].json["max_tokens"] == 9


async def test_an_open_model_that_speaks_chat_completions(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream
) -> None:
    """Usage is asked for, and hidden from a client that did not ask."""
    google.script(json_reply(TOKEN))
    usage = {**CHUNK, "choices": [], "usage": COMPLETION["usage"]}
    upstream.script(sse_head(), event(CHUNK), event(usage), event("[DONE]"), end())
    client = await gateway.open(chat("hi", model="llama", stream=True))
    answer = await client.read_answer()
    [record] = await gateway.settled()
    sent = upstream.requests[0]

    assert sent.target == "/v1/projects/p/locations/europe-west4/endpoints/openapi/chat/completions"
    assert sent.json["model"] == "meta/llama-3.3-70b-instruct-maas"
    assert sent.json["stream_options"] == {"include_usage": True}
    assert b"prompt_tokens" not in answer.body
    assert (record.input_tokens, record.output_tokens) == (5, 2)


async def test_a_tuned_model(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream
) -> None:
    google.script(json_reply(TOKEN))
    upstream.script(json_reply(GEMINI))
    answer = await gateway.ask(chat("hi", model="tuned"))

    assert answer.json["choices"][0]["message"]["content"] == "Hello"
    assert upstream.requests[0].target == (
        "/v1/projects/p/locations/europe-west4/endpoints/1234567890:generateContent"
    )


async def test_the_token_is_there_before_the_first_request(
    gateway: RunningGateway, upstream: ScriptedUpstream, google: ScriptedUpstream
) -> None:
    google.script(json_reply(TOKEN))
    assert await google.received(1, within_s=10)
    upstream.script(json_reply(GEMINI))
    answer = await gateway.ask(chat("hi", model="gemini"))

    assert answer.status == 200
    assert len(google.requests) == 1
