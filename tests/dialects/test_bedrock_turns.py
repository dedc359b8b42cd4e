"""Turns in Converse's blocks."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from llmgw.core.chat import (
    Audio,
    ChatRequest,
    File,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llmgw.core.errors import GatewayError, InvalidRequest, UnsupportedOperation
from llmgw.dialects.bedrock_families import CLAUDE, OTHERS, Family
from llmgw.dialects.bedrock_turns import render_messages, render_texts


def said(*messages: Message, family: Family = CLAUDE) -> tuple[Any, set[str]]:
    dropped: set[str] = set()
    found = render_messages(ChatRequest(model="m", messages=messages), family, dropped)
    return msgspec.json.decode(msgspec.json.encode(found)), dropped


def user(*parts: Part) -> Message:
    return Message("user", parts)


def assistant(*parts: Part) -> Message:
    return Message("assistant", parts)


def test_roles_alternate_and_texts_are_not_blank() -> None:
    got, dropped = said(
        user(Text("a"), Text("")),
        user(Text("b")),
        assistant(Text(" \n")),
        user(Text("c")),
        assistant(Refusal("no")),
    )

    assert got == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}, {"text": "c"}]},
        {"role": "assistant", "content": [{"text": "no"}]},
    ]
    assert not dropped


def test_calls_and_their_results() -> None:
    """Results first, in the one message after their calls; ids as Bedrock takes them."""
    got, _ = said(
        assistant(ToolCall("call:1", "f", '{"a":1.0}'), ToolCall("x" * 80, "g", "")),
        user(ToolResult("call:1", (Text("one"),))),
        user(Text("and"), ToolResult("x" * 80, (Text(""), Image("image/png", "aWlp")), failed=True)),
        assistant(ToolCall("call:1", "f", "{}")),
        user(ToolResult("call:1", ())),
    )

    assert got[0]["content"] == [
        {"toolUse": {"toolUseId": "call_1", "name": "f", "input": {"a": 1.0}}},
        {"toolUse": {"toolUseId": "x" * 64, "name": "g", "input": {}}},
    ]
    assert got[1]["content"] == [
        {"toolResult": {"toolUseId": "call_1", "content": [{"text": "one"}]}},
        {
            "toolResult": {
                "toolUseId": "x" * 64,
                "content": [{"image": {"format": "png", "source": {"bytes": "aWlp"}}}],
                "status": "error",
            }
        },
        {"text": "and"},
    ]
    assert got[2]["content"][0]["toolUse"]["toolUseId"] == "call_1_2"
    assert got[3]["content"][0]["toolResult"]["toolUseId"] == "call_1_2"


def test_what_a_model_does_not_take_is_dropped_by_name() -> None:
    messages = (
        assistant(Thinking("hm", "sig"), ToolCall("a", "f", "{}", signature="s")),
        user(ToolResult("a", (), failed=True), Text("hi", cached="")),
    )
    _, dropped = said(*messages, family=OTHERS)
    _, of_claude = said(*messages)

    assert dropped == {"cache_control", "is_error", "signature", "thinking"}
    assert of_claude == {"signature"}


def test_thoughts_go_back_with_their_proof() -> None:
    got, dropped = said(assistant(Thinking("hm", "sig"), Thinking("", None, "cmVk"), Thinking("bare")))

    assert got[0]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "cmVk"}},
    ]
    assert dropped == {"thinking"}


def test_documents() -> None:
    """By format, each with a name of its own in the letters that are allowed."""
    got, _ = said(
        user(
            File("application/pdf", "JVBE", name="Q3_report  (v2).pdf"),
            File("text/plain", text="words", name="Q3_report  (v2).pdf"),
            File(url="data:text/csv;base64,YSxi"),
            File("image/webp", "UklG"),
        )
    )
    documents = [block["document"] for block in got[0]["content"][:3]]

    assert [one["format"] for one in documents] == ["pdf", "txt", "csv"]
    assert [one["name"] for one in documents] == ["Q3-report (v2)-pdf", "Q3-report (v2)-pdf-2", "document"]
    assert documents[1]["source"]["bytes"] == base64.b64encode(b"words").decode()
    assert documents[2]["source"]["bytes"] == "YSxi"
    assert got[0]["content"][3] == {"image": {"format": "webp", "source": {"bytes": "UklG"}}}


def test_cache_points_follow_what_is_cached() -> None:
    got, _ = said(user(Text("a", cached=""), Text("b", cached="1h"), Text("c", cached="30m")))

    assert got[0]["content"] == [
        {"text": "a"},
        {"cachePoint": {"type": "default"}},
        {"text": "b"},
        {"cachePoint": {"type": "default", "ttl": "1h"}},
        {"text": "c"},
        {"cachePoint": {"type": "default"}},
    ]


def test_system_texts() -> None:
    assert render_texts((Text("a", cached=""), Text(" ")), CLAUDE, set()) == [
        {"text": "a"},
        {"cachePoint": {"type": "default"}},
    ]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (user(Image(url="https://example.com/a.png")), UnsupportedOperation),
        (user(Image("image/tiff", "aWlp")), UnsupportedOperation),
        (user(Image()), InvalidRequest),
        (user(File("application/zip", "aWlp")), UnsupportedOperation),
        (user(Audio("audio/wav", "aWlp")), UnsupportedOperation),
        (assistant(Image("image/png", "aWlp")), UnsupportedOperation),
        (user(ToolResult("nobody", ())), InvalidRequest),
        (assistant(ToolCall("a", "f", "[1]")), InvalidRequest),
    ],
)
def test_what_cannot_be_said(message: Message, error: type[GatewayError]) -> None:
    with pytest.raises(error):
        said(message)


def test_a_mark_within_a_result_is_named() -> None:
    called = assistant(ToolCall("c", "f", "{}"))
    _, dropped = said(user(Text("x")), called, user(ToolResult("c", (Text("r", "1h"),))))

    assert dropped == {"cache_control"}


def test_calls_of_one_turn_with_the_same_id_have_each_its_result() -> None:
    calls = assistant(ToolCall("i", "f", "{}"), ToolCall("i", "g", "{}"))
    results = user(ToolResult("i", (Text("of f"),)), ToolResult("i", (Text("of g"),)))
    messages, _ = said(user(Text("q")), calls, results)

    names = {block["toolUse"]["toolUseId"]: block["toolUse"]["name"] for block in messages[1]["content"]}
    answered = [block["toolResult"] for block in messages[2]["content"]]
    assert [(names[result["toolUseId"]], result["content"]) for result in answered] == [
        ("f", [{"text": "of f"}]),
        ("g", [{"text": "of g"}]),
    ]
