"""Ollama's own API as what clients speak: its SDK, and an Ollama upstream from a script."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import ollama
import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, chunk, cut, end, event, headers, json_reply, sse_head

PIECE = {"model": "llama3", "message": {"role": "assistant", "content": "Hel"}, "done": False}
LAST = {
    "model": "llama3",
    "message": {"role": "assistant", "content": ""},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 7,
    "eval_count": 3,
}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {
    "id": "c1",
    "model": "gpt-4o",
    "object": "chat.completion",
    "created": 1,
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "t1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                    }
                ],
            },
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
}


def line(body: object) -> bytes:
    return json.dumps(body).encode() + b"\n"


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    acme = (
        f"providers: {{o: {{kind: ollama, base_url: '{upstream.base_url}', allow_private: true}}}}\n"
        "models:\n    llama: {targets: [{provider: o, model: llama3}]}"
    )
    async with RunningGateway(upstream, acme=acme) as running:
        yield running
        await running.quiet()


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[ollama.AsyncClient]:
    sdk = ollama.AsyncClient(
        f"http://127.0.0.1:{gateway.port}", headers={"authorization": "Bearer sk-test"}, trust_env=False
    )
    async with sdk:
        yield sdk


async def test_the_sdk_chats(client: ollama.AsyncClient) -> None:
    answer = await client.chat("echo", [{"role": "user", "content": "hello there"}])

    assert "hello there" in (answer.message.content or "")
    assert answer.done
    assert answer.done_reason == "stop"
    assert answer.model == "echo"
    assert (answer.prompt_eval_count or 0) > 0


async def test_the_sdk_streams(client: ollama.AsyncClient, gateway: RunningGateway) -> None:
    pieces = [
        piece
        async for piece in await client.chat(
            "echo", [{"role": "user", "content": "one two three"}], stream=True
        )
    ]
    await gateway.quiet()

    assert "one two three" in "".join(piece.message.content or "" for piece in pieces)
    assert [piece.done for piece in pieces][-2:] == [False, True]
    assert (pieces[-1].eval_count or 0) > 0
    assert (gateway.records[0].endpoint, gateway.records[0].streamed) == ("/api/chat", True)


async def test_the_sdk_generates(client: ollama.AsyncClient) -> None:
    whole = await client.generate("echo", "hello there")
    pieces = [piece async for piece in await client.generate("echo", "hello there", stream=True)]

    assert "hello there" in whole.response
    assert "hello there" in "".join(piece.response for piece in pieces)
    assert pieces[-1].done


async def test_the_sdk_is_given_tool_calls(client: ollama.AsyncClient, upstream: ScriptedUpstream) -> None:
    upstream.script(json_reply(CALL))
    answer = await client.chat("gpt-4o", [{"role": "user", "content": "hi"}], tools=[TOOL])

    sent = upstream.requests[0].json
    assert sent["tools"][0]["function"]["name"] == "weather"
    assert answer.message.tool_calls is not None
    assert answer.message.tool_calls[0].function.arguments == {"city": "Oslo"}


async def test_the_sdk_lists_models(client: ollama.AsyncClient) -> None:
    listed = await client.list()

    assert {"echo", "gpt-4o", "llama"} <= {model.model for model in listed.models}


async def test_the_sdk_is_told_of_errors(client: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError, match="nobody") as unknown:
        await client.chat("nobody", [{"role": "user", "content": "hi"}])

    assert unknown.value.status_code == 404


async def test_who_has_no_key_is_told_in_ollamas_shape(gateway: RunningGateway) -> None:
    for path, method in (
        ("/api/chat", "POST"),
        ("/api/generate", "POST"),
        ("/api/tags", "GET"),
        ("/api/version", "GET"),
    ):
        answer = await gateway.ask(
            chat() if method == "POST" else None, path=path, method=method, key="sk-wrong"
        )

        assert answer.status == 401
        assert answer.json == {"error": "the API key is not valid"}


async def test_the_version_is_told(gateway: RunningGateway) -> None:
    answer = await gateway.ask(path="/api/version", method="GET")

    assert (answer.status, list(answer.json)) == (200, ["version"])


async def test_a_stream_is_the_default_and_has_the_clients_media_type(gateway: RunningGateway) -> None:
    streamed = await gateway.ask(chat(model="echo"), path="/api/chat")
    whole = await gateway.ask(chat(model="echo", stream=False), path="/api/chat")

    assert streamed.headers["content-type"] == "application/x-ndjson"
    assert json.loads(streamed.body.splitlines()[-1])["done"] is True
    assert whole.headers["content-type"] == "application/json"
    assert whole.json["done"] is True


async def test_ollama_to_ollama_is_the_same_bytes(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """The model's name is the one thing that is changed on the way up."""
    body = line(PIECE) + line(LAST)
    upstream.script(headers(200, {"content-type": "application/x-ndjson"}), chunk(body), end())
    answer = await gateway.ask(chat(model="llama", options={"mirostat": 1}), path="/api/chat")
    await gateway.quiet()

    assert upstream.requests[0].target == "/api/chat"
    assert upstream.requests[0].json == chat(model="llama3", options={"mirostat": 1})
    assert answer.body == body
    assert answer.headers["content-type"] == "application/x-ndjson"
    record = gateway.records[0]
    assert (record.input_tokens, record.output_tokens, record.outcome) == (7, 3, "ok")


async def test_a_whole_answer_of_ollamas_goes_on_as_it_came(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(json_reply({**LAST, "response": "hi"}))
    answer = await gateway.ask({"model": "llama", "prompt": "x", "stream": False}, path="/api/generate")
    await gateway.quiet()

    assert upstream.requests[0].target == "/api/generate"
    assert answer.json == {**LAST, "response": "hi"}
    assert gateway.records[0].input_tokens == 7


async def test_a_stream_that_breaks_ends_in_a_line_of_error(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(
        headers(200, {"content-type": "application/x-ndjson"}), chunk(line(PIECE) + line(PIECE)[:20]), cut()
    )
    answer = await gateway.ask(chat(model="llama"), path="/api/chat")
    lines = [json.loads(one) for one in answer.body.splitlines()]

    assert lines[0] == PIECE
    assert list(lines[-1]) == ["error"]
    assert len(lines) == 2


async def test_a_translated_stream_that_breaks_ends_in_a_line_of_error(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    delta = {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hel"}}]}
    upstream.script(sse_head(), event(delta), cut())
    answer = await gateway.ask(chat(), path="/api/chat")
    lines = [json.loads(one) for one in answer.body.splitlines()]

    assert lines[0]["message"]["content"] == "Hel"
    assert list(lines[-1]) == ["error"]


async def test_a_messages_client_has_an_ollama_target(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """A stream of lines upstream, of events for the client."""
    upstream.script(
        headers(200, {"content-type": "application/x-ndjson"}), chunk(line(PIECE) + line(LAST)), end()
    )
    anthropic = {"model": "llama", "max_tokens": 9, "messages": chat()["messages"], "stream": True}
    answer = await gateway.ask(anthropic, path="/v1/messages")

    assert upstream.requests[0].target == "/api/chat"
    assert answer.headers["content-type"] == "text/event-stream"
    assert b'"text":"Hel"' in answer.body
    assert b"message_stop" in answer.body


async def test_the_sdk_shows_a_model(client: ollama.AsyncClient) -> None:
    """What a model can do is what editors look for before they use one."""
    shown = await client.show("echo")
    with pytest.raises(ollama.ResponseError) as unknown:
        await client.show("nobody")

    assert shown.capabilities == ["completion", "tools"]
    assert unknown.value.status_code == 404
    assert "nobody" in unknown.value.error


@pytest.mark.parametrize(("body", "status"), [({"name": "echo"}, 200), ({}, 400), ([], 400), (b"{", 400)])
async def test_a_model_is_shown_by_its_older_name_too(
    gateway: RunningGateway, body: object, status: int
) -> None:
    assert (await gateway.ask(body, path="/api/show")).status == status


async def test_a_model_is_shown_to_whom_it_is_allowed(gateway: RunningGateway) -> None:
    held = await gateway.ask({"model": "gpt-4o"}, path="/api/show", key="sk-held")
    stranger = await gateway.ask({"model": "echo"}, path="/api/show", key="wrong")

    assert (held.status, stranger.status) == (403, 401)
    assert isinstance(held.json["error"], str)


async def test_a_reserved_answer_is_capped_where_ollama_looks(
    upstream: ScriptedUpstream,
) -> None:
    """A quota that clamps writes Ollama's own member, beside those that are there."""
    acme = (
        f"providers: {{o: {{kind: ollama, base_url: '{upstream.base_url}', allow_private: true}}}}\n"
        "models:\n    llama: {targets: [{provider: o, model: llama3}]}\n"
        "quotas: [{per: tenant, tokens: 1000, window: day, reserve_output: 300, clamp: true}]"
    )
    body = {"model": "llama", "messages": [{"role": "user", "content": "hi"}], "stream": False}
    async with RunningGateway(upstream, acme=acme) as gateway:
        upstream.script(json_reply(LAST))
        await gateway.ask({**body, "options": {"top_k": 3}}, path="/api/chat")
        upstream.script(json_reply(LAST))
        await gateway.ask({**body, "options": {"num_predict": 7}}, path="/api/chat")
        await gateway.quiet()

    first, second = (one.json for one in upstream.requests)
    assert first["options"]["top_k"] == 3
    assert first["options"]["num_predict"] == 300
    assert "max_tokens" not in first
    assert second["options"] == {"num_predict": 7}
