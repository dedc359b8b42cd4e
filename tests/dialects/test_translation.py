from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import ChatRequest, Image, Message, Text, Tool, ToolCall, ToolResult
from llmgw.core.usage import Usage
from llmgw.dialects import anthropic, gemini, ollama, openai_chat, openai_responses
from llmgw.dialects.base import Dialect
from llmgw.dialects.translation import TranslatedBody, TranslatedStream
from tests.dialects.recordings import gather

CHAT = openai_chat.DIALECT
REQUEST = ChatRequest(
    model="m",
    messages=(
        Message("user", (Text("x" * 36), Image("image/png", "iVBORw"))),
        Message("assistant", (ToolCall("c", "f", '{"a":1}'),)),
        Message("user", (ToolResult("c", (Text("y" * 12),)),)),
    ),
    system=(Text("z" * 20),),
    tools=(Tool("f", "four", '{"type":"object"}'),),
)
INPUT = -(-(36 + 8 + 12 + 20 + 1 + 4 + 17) // 4)


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c1", "model": "m", "choices": [choice], **more}).encode() + b"\n\n"


STREAM = [chunk({"content": "Hallo, "}), chunk({"content": "Übung"}), chunk({}, "stop"), b"data: [DONE]\n\n"]
OUTPUT = 4  # 13 bytes


def read(client: Dialect, include_usage: bool, chunks: list[bytes]) -> tuple[TranslatedStream, Usage | None]:
    stream = TranslatedStream(CHAT, client, REQUEST, "public", include_usage)
    written = b"".join(map(stream.feed, chunks)) + stream.rest()
    decoder = client.decoder()
    return stream, gather(decoder.feed(written) + decoder.close()).usage


def test_a_client_whose_dialect_always_counts_is_told_an_estimate() -> None:
    """Zeros would be taken for true. What is settled does not see it."""
    stream, told = read(anthropic.DIALECT, False, STREAM)

    assert told == Usage(INPUT, OUTPUT)
    assert stream.usage is None


def test_a_client_that_asked_for_usage_is_told_an_estimate() -> None:
    assert usage_told_in_chat(include_usage=True) == Usage(INPUT, 1)
    assert usage_told_in_chat(include_usage=False) is None


def usage_told_in_chat(include_usage: bool) -> Usage | None:
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hey"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    body = b"".join(
        b"event: " + str(event["type"]).encode() + b"\ndata: " + json.dumps(event).encode() + b"\n\n"
        for event in events
    )
    stream = TranslatedStream(anthropic.DIALECT, CHAT, REQUEST, "public", include_usage)
    decoder = CHAT.decoder()
    return gather(decoder.feed(stream.feed(body) + stream.rest()) + decoder.close()).usage


@pytest.mark.parametrize("client", [openai_responses.DIALECT, gemini.DIALECT, ollama.DIALECT])
def test_where_usage_may_be_left_out_it_is(client: Dialect) -> None:
    assert read(client, False, STREAM)[1] is None


def test_what_the_upstream_counted_is_told_and_nothing_else() -> None:
    counted = chunk({}, None, usage={"prompt_tokens": 9, "completion_tokens": 3})

    stream, told = read(anthropic.DIALECT, True, [*STREAM[:-1], counted, STREAM[-1]])

    assert stream.usage == told == Usage(9, 3)


def test_a_whole_answer_without_usage() -> None:
    body = json.dumps(
        {
            "id": "c1",
            "model": "m",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
            ],
        }
    ).encode()

    told = TranslatedBody(body, CHAT, anthropic.DIALECT, "public", REQUEST)
    bare = TranslatedBody(body, CHAT, anthropic.DIALECT, "public")
    left_out = TranslatedBody(body, CHAT, gemini.DIALECT, "public", REQUEST)

    assert anthropic.DIALECT.parse_answer(told.body).usage == Usage(INPUT, 2)
    assert anthropic.DIALECT.parse_answer(bare.body).usage == Usage(0, 2)
    assert gemini.DIALECT.parse_answer(left_out.body).usage is None
    assert told.usage is None
    assert told.delivered_text() == "Hello"
