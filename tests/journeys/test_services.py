"""Services that have an address or a dialect of their own: Azure OpenAI, Mistral and Ollama.

Both ends are real sockets; the upstream speaks from a script.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, chunk, end, event, headers, json_reply, sse_head

USAGE = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "as-deployed",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}},
    ],
    "usage": USAGE,
}
MESSAGES = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def rows(url: str) -> str:
    """The tenant's providers and models."""
    return f"""\
providers:
    a:
        kind: azure_openai
        base_url: {url}
        api_key: a-key
        allow_private: true
        deployments: {{gpt-4o: gpt4o-prod}}
    m: {{kind: mistral, base_url: "{url}/v1", api_key: m-key, allow_private: true}}
    o: {{kind: ollama, base_url: "{url}"}}
models:
    azure: {{targets: [{{provider: a, model: gpt-4o}}]}}
    mistral: {{targets: [{{provider: m, model: mistral-large-latest}}]}}
    llama: {{targets: [{{provider: o, model: llama3.2}}]}}
"""


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    async with RunningGateway(upstream, acme=rows(upstream.base_url)) as running:
        yield running
        await running.quiet()


async def test_chat_completions_to_a_deployment(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """The body goes on, the deployment stands in the path, and the price is that of the model."""
    upstream.script(json_reply(COMPLETION))
    answer = await gateway.ask(chat("hi", model="azure"))
    record = (await gateway.settled())[0]
    sent = upstream.requests[0]

    assert sent.target == "/openai/deployments/gpt4o-prod/chat/completions?api-version=2024-10-21"
    assert sent.headers["api-key"] == "a-key"
    assert sent.json["messages"] == [{"role": "user", "content": "hi"}]
    assert answer.json["choices"][0]["message"]["content"] == "Hello"
    assert (record.input_tokens, record.output_tokens) == (12, 4)
    assert record.cost_nano_usd


async def test_a_cap_has_the_name_that_the_service_takes(upstream: ScriptedUpstream) -> None:
    """Azure's newer models refuse `max_tokens`, the others know nothing else."""
    upstream.default(json_reply(COMPLETION))
    extra = "quotas: [{per: tenant, output_tokens: 5000, window: day, reserve_output: 300, clamp: true}]\n"
    async with RunningGateway(upstream, acme=rows(upstream.base_url), extra=extra) as gateway:
        for model in ("azure", "mistral", "llama"):
            assert (await gateway.ask(chat("hi", model=model))).status == 200

    caps = [{name for name in sent.json if name.startswith("max_")} for sent in upstream.requests]
    assert caps == [{"max_completion_tokens"}, {"max_tokens"}, {"max_tokens"}]


async def test_messages_to_a_deployment_streamed(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """Azure's first chunk has no choice in it."""
    upstream.script(
        sse_head(),
        event({"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}),
        event({"id": "c1", "choices": [{"index": 0, "delta": {"content": "Hello"}}]}),
        event({"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
        event({"id": "c1", "choices": [], "usage": USAGE}),
        event("[DONE]"),
        end(),
    )
    client = await gateway.open({"model": "azure", "stream": True, **MESSAGES}, path="/v1/messages")
    answer = await client.read_answer()
    record = (await gateway.settled())[0]
    sent = upstream.requests[0]

    assert sent.json["max_completion_tokens"] == 9
    assert sent.json["stream_options"] == {"include_usage": True}
    assert b'"text":"Hello"' in answer.body
    assert b"message_stop" in answer.body
    assert (record.input_tokens, record.output_tokens) == (12, 4)
    assert record.usage_source == "reported"


async def test_messages_to_mistral_streamed(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """Asked without `stream_options`, and usage comes all the same."""
    upstream.script(
        sse_head(),
        event({"id": "c1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}}]}),
        event(
            {
                "id": "c1",
                "choices": [{"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"}],
                "usage": USAGE,
            }
        ),
        event("[DONE]"),
        end(),
    )
    client = await gateway.open({"model": "mistral", "stream": True, **MESSAGES}, path="/v1/messages")
    answer = await client.read_answer()
    record = (await gateway.settled())[0]
    sent = upstream.requests[0]

    assert sent.target == "/v1/chat/completions"
    assert sent.headers["authorization"] == "Bearer m-key"
    assert sent.json == {
        "model": "mistral-large-latest",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9,
        "stream": True,
    }
    assert b"message_stop" in answer.body
    assert (record.input_tokens, record.output_tokens) == (12, 4)
    assert record.cost_nano_usd


async def test_chat_completions_to_ollama(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """It speaks them, so they are passed on as they are. What it costs is unknown."""
    upstream.script(json_reply(COMPLETION))
    answer = await gateway.ask(chat("hi", model="llama"))
    record = (await gateway.settled())[0]
    sent = upstream.requests[0]

    assert sent.target == "/v1/chat/completions"
    assert "authorization" not in sent.headers
    assert sent.json["model"] == "llama3.2"
    assert answer.json["choices"][0]["message"]["content"] == "Hello"
    assert (record.input_tokens, record.output_tokens) == (12, 4)
    assert record.cost_nano_usd is None


async def test_messages_to_ollama(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """Its own API, and its counts are the usage."""
    upstream.script(
        json_reply(
            {
                "model": "llama3.2",
                "created_at": "2026-01-01T00:00:00Z",
                "message": {"role": "assistant", "content": "Hello"},
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 12,
                "eval_count": 4,
            }
        )
    )
    answer = await gateway.ask({"model": "llama", **MESSAGES}, path="/v1/messages")
    record = (await gateway.settled())[0]
    sent = upstream.requests[0]

    assert sent.target == "/api/chat"
    assert sent.json["options"]["num_predict"] == 9
    assert sent.json["stream"] is False
    assert answer.json["content"] == [{"type": "text", "text": "Hello"}]
    assert (record.input_tokens, record.output_tokens) == (12, 4)


async def test_messages_to_ollama_streamed(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """Anthropic's events from lines of JSON."""
    first = {"model": "llama3.2", "message": {"role": "assistant", "content": "Hello"}, "done": False}
    last = {
        "model": "llama3.2",
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 12,
        "eval_count": 4,
    }
    upstream.script(
        headers(200, {"content-type": "application/x-ndjson"}),
        *(chunk(json.dumps(line).encode() + b"\n") for line in (first, last)),
        end(),
    )
    client = await gateway.open({"model": "llama", "stream": True, **MESSAGES}, path="/v1/messages")
    answer = await client.read_answer()
    record = (await gateway.settled())[0]

    assert upstream.requests[0].json["stream"] is True
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert b'"text":"Hello"' in answer.body
    assert b"message_stop" in answer.body
    assert (record.input_tokens, record.output_tokens) == (12, 4)
    assert record.usage_source == "reported"
