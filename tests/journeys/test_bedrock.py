"""Clients of other dialects in front of Bedrock: signed requests up, frames back.

Both ends are real sockets; the upstream speaks Converse from a script.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.eventstream import event_frame, eventstream_head, exception_frame
from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, chunk, cut, end, json_reply

USAGE = {"inputTokens": 5, "outputTokens": 7, "cacheReadInputTokens": 3, "totalTokens": 15}
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello"}]}},
    "stopReason": "end_turn",
    "usage": USAGE,
}


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    acme = (
        "providers:\n"
        f"    aws: {{kind: bedrock, region: eu-west-1, base_url: '{upstream.base_url}', access_key_id: AKID, "
        "secret_access_key: aws-secret, session_token: aws-token, allow_private: true}\n"
        "models:\n"
        "    claude: {targets: [{provider: aws, model: 'eu.anthropic.claude-sonnet-4-5-20250929-v1:0'}]}"
    )
    async with RunningGateway(upstream, acme=acme) as running:
        yield running
        await running.quiet()


def delta(**members: Any) -> bytes:
    return event_frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": members})


async def test_chat_completions_to_converse(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """The model stands in the path, the request is signed, and usage counts what was cached."""
    upstream.script(json_reply(ANSWER))
    answer = await gateway.ask(chat("hi", model="claude", max_tokens=9))
    sent = upstream.requests[0]
    await gateway.quiet()
    record = gateway.records[0]

    assert sent.target == "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    assert sent.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert "/eu-west-1/bedrock/aws4_request" in sent.headers["authorization"]
    assert sent.headers["x-amz-security-token"] == "aws-token"
    assert b"aws-secret" not in sent.head
    assert sent.json == {
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "inferenceConfig": {"maxTokens": 9},
    }
    assert answer.json["choices"][0]["message"]["content"] == "Hello"
    assert answer.json["model"] == "claude"
    assert (record.input_tokens, record.cached_tokens, record.output_tokens) == (8, 3, 7)
    assert record.usage_source == "reported"


async def test_chat_completions_streamed(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """Frames, cut anywhere, come back as events; usage comes after the end of the message."""
    frames = b"".join(
        [
            event_frame("messageStart", {"role": "assistant"}),
            delta(text="Hel"),
            delta(text="lo"),
            event_frame("contentBlockStop", {"contentBlockIndex": 0}),
            event_frame("messageStop", {"stopReason": "end_turn"}),
            event_frame("metadata", {"usage": USAGE}),
        ]
    )
    upstream.script(
        eventstream_head(), *(chunk(frames[at : at + 37]) for at in range(0, len(frames), 37)), end()
    )
    client = await gateway.open(chat(model="claude", stream=True))
    answer = await client.read_answer()
    await gateway.quiet()
    record = gateway.records[0]

    assert upstream.requests[0].target.endswith("/converse-stream")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert b'"Hel"' in answer.body
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert record.outcome == "ok"
    assert (record.input_tokens, record.output_tokens) == (8, 7)
    assert record.usage_source == "reported"


async def test_messages_streamed_until_an_exception(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """The client is told in its own dialect, and nothing says that it went well."""
    upstream.script(
        eventstream_head(),
        chunk(event_frame("messageStart", {"role": "assistant"}) + delta(text="Hel")),
        chunk(exception_frame("throttlingException", "too many")),
        end(),
    )
    body = {
        "model": "claude",
        "max_tokens": 9,
        "stream": True,
        "messages": [{"role": "user", "content": "hi"}],
    }
    client = await gateway.open(body, path="/v1/messages")
    answer = await client.read_answer()
    await gateway.quiet()

    assert b"Hel" in answer.body
    assert b"event: error" in answer.body
    assert b"rate_limit_error" in answer.body
    assert b"message_stop" not in answer.body
    assert gateway.records[0].outcome == "upstream_error"


async def test_a_stream_that_is_cut_or_broken(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """Within a frame, and by a byte that its checksum does not cover up."""
    start = event_frame("messageStart", {"role": "assistant"}) + delta(text="some words of it")
    broken = bytearray(delta(text="more"))
    broken[-6] ^= 1
    upstream.script(eventstream_head(), chunk(start), chunk(delta(text="more")[:20]), cut())
    upstream.script(eventstream_head(), chunk(start), chunk(bytes(broken)), end())
    for _ in range(2):
        client = await gateway.open(chat(model="claude", stream=True))
        answer = await client.read_answer()
        assert b"some words of it" in answer.body
        assert b'"error"' in answer.body
        assert b"[DONE]" not in answer.body
        await gateway.quiet()

    assert [record.outcome for record in gateway.records] == ["upstream_truncated", "upstream_error"]
    assert {record.usage_source for record in gateway.records} == {"estimated"}


async def test_errors_are_told_in_the_clients_dialect(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(json_reply({"message": "Input is too long"}, status=400))
    upstream.script(json_reply({"message": "AKID is not allowed"}, status=403))
    refused = await gateway.ask(chat(model="claude"))
    ours = await gateway.ask(chat(model="claude"))

    assert (refused.status, refused.json["error"]["message"]) == (400, "Input is too long")
    assert ours.status == 502
    assert "AKID" not in ours.body.decode()
