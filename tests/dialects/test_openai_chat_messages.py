from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from llmgw.core.chat import Audio, File, Image, Message, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from llmgw.core.errors import ClientError, InvalidRequest, UnsupportedOperation
from llmgw.dialects.openai_chat_messages import WireMessage, parse_image, parse_messages

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ' {"a" : 1}'}}
ASKED = [{"role": "user", "content": "?"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}]


def turns(*messages: dict[str, Any]) -> tuple[Message, ...]:
    return parse_messages(msgspec.json.decode(json.dumps(messages), type=list[WireMessage]))[1]


def part(wire: dict[str, Any]) -> Part:
    return turns({"role": "user", "content": [wire]})[0].parts[0]


def refused(*messages: dict[str, Any]) -> ClientError:
    with pytest.raises(ClientError) as caught:
        turns(*messages)
    return caught.value


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ({"type": "text", "text": "x"}, Text("x")),
        ({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}, Text("x", "")),
        ({"type": "text", "text": "x", "cache_control": {"ttl": "1h"}}, Text("x", "1h")),
        ({"type": "text", "text": "x", "image_url": None}, Text("x")),
        (
            {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}},
            Image(url="https://x/a.png", detail="low"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
            Image("image/png", "QQ=="),
        ),
        ({"type": "image_url", "image_url": "data:image/png;base64,QQ=="}, Image("image/png", "QQ==")),
        (
            {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
            Audio("audio/mpeg", "QQ=="),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
            Audio("audio/wav", "QQ=="),
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="}},
            File("application/pdf", "QQ==", name="a.pdf"),
        ),
        ({"type": "file", "file": {"file_data": "QQ=="}}, File("application/pdf", "QQ==")),
        ({"type": "file", "file": {"file_data": "https://x/a.pdf"}}, File(url="https://x/a.pdf")),
        ({"type": "document_url", "document_url": "https://x/a.pdf"}, File(url="https://x/a.pdf")),
        (
            {
                "type": "document_url",
                "document_url": {"url": "data:text/csv;base64,QQ=="},
                "document_name": "n",
            },
            File("text/csv", "QQ==", name="n"),
        ),
    ],
)
def test_parts(wire: dict[str, Any], expected: Part) -> None:
    assert part(wire) == expected


def test_an_assistant_s_parts_come_in_the_order_they_were_made() -> None:
    message = {
        "role": "assistant",
        "name": "bot",
        "content": "so",
        "refusal": "no",
        "reasoning_content": "hm",
        "tool_calls": [CALL],
    }

    assert turns(message) == (
        Message(
            "assistant",
            (Thinking("hm"), Text("so"), Refusal("no"), ToolCall("c1", "f", ' {"a" : 1}')),
            "bot",
        ),
    )


def test_thoughts_as_mistral_has_them() -> None:
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]},
        {"type": "text", "text": "so"},
        {"type": "refusal", "refusal": "no"},
    ]

    assert turns({"role": "assistant", "content": content})[0].parts == (
        Thinking("hm"),
        Text("so"),
        Refusal("no"),
    )


def test_thoughts_with_signature() -> None:
    details = [{"type": "reasoning.text", "text": "hm", "signature": "S"}]

    message = {"role": "assistant", "content": "so", "reasoning": "hm", "reasoning_details": details}
    assert turns(message)[0].parts == (Thinking("hm", "S"), Text("so"))


def test_results_of_tools_and_what_the_user_says_then_are_one_turn() -> None:
    second = CALL | {"id": "c2"}
    image = {"type": "image_url", "image_url": {"url": "https://x/a.png"}}

    assert turns(
        {"role": "assistant", "content": "", "tool_calls": [CALL, second]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {
            "role": "tool",
            "tool_call_id": "c2",
            "name": "f",
            "content": [{"type": "text", "text": "2"}, image],
        },
        {"role": "user", "content": "and?"},
        {"role": "user", "content": "well?"},
    ) == (
        Message("assistant", (ToolCall("c1", "f", ' {"a" : 1}'), ToolCall("c2", "f", ' {"a" : 1}'))),
        Message(
            "user",
            (
                ToolResult("c1", (Text("1"),)),
                ToolResult("c2", (Text("2"), Image(url="https://x/a.png")), "f"),
                Text("and?"),
            ),
        ),
        Message("user", (Text("well?"),)),
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [('{"a":1}', '{"a":1}'), ("", ""), ("not json", "not json"), ({"a": 1}, '{"a": 1}'), (None, "")],
)
def test_arguments_stay_the_text_they_came_as(arguments: object, text: str) -> None:
    call = {"id": "c1", "function": {"name": "f", "arguments": arguments}}

    assert turns({"role": "assistant", "tool_calls": [call]})[0].parts == (ToolCall("c1", "f", text),)


def test_a_call_s_signature_comes_back_where_gemini_puts_it() -> None:
    call = CALL | {"extra_content": {"google": {"thought_signature": "S"}}}

    assert turns({"role": "assistant", "tool_calls": [call]})[0].parts == (
        ToolCall("c1", "f", ' {"a" : 1}', "S"),
    )


def test_calls_without_ids_are_answered_in_order() -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}

    asked, answered = turns(
        {"role": "assistant", "tool_calls": [call, call]},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
    )

    assert [part.id for part in asked.parts if isinstance(part, ToolCall)] == ["call_0_0", "call_0_1"]
    assert [part.call_id for part in answered.parts if isinstance(part, ToolResult)] == [
        "call_0_0",
        "call_0_1",
    ]


def test_a_deprecated_call_that_calls_nothing_is_passed_over() -> None:
    empty = {"name": "", "arguments": ""}

    assert turns({"role": "assistant", "content": "a", "function_call": empty})[0].parts == (Text("a"),)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "user", "content": [{"type": "video_url"}]}], "messages[0].content[0].type"),
        (
            [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}],
            "messages[0].content[0].file.file_id",
        ),
        ([{"role": "assistant", "content": "", "function_call": {"name": "f"}}], "messages[0].function_call"),
        ([{"role": "assistant", "tool_calls": [CALL | {"type": "custom"}]}], "messages[0].tool_calls[0]"),
        (
            [{"role": "system", "content": [{"type": "image_url", "image_url": "https://x"}]}],
            "messages[0].content",
        ),
        (
            [
                *ASKED,
                {
                    "role": "tool",
                    "tool_call_id": "c1",
                    "content": [{"type": "input_audio", "input_audio": {"data": ""}}],
                },
            ],
            "messages[2].content",
        ),
    ],
)
def test_structure_that_cannot_be_translated(messages: list[dict[str, Any]], param: str) -> None:
    error = refused(*messages)

    assert isinstance(error, UnsupportedOperation)
    assert error.param == param


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "judge", "content": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([{"role": "assistant", "content": None}], "messages[0].content"),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
        ([{"role": "tool", "tool_call_id": "c1", "content": "x"}], "messages[0].tool_call_id"),
        ([*ASKED, {"role": "tool", "tool_call_id": "c2", "content": "x"}], "messages[2].tool_call_id"),
        ([{"role": "assistant", "tool_calls": [{"id": "c"}]}], "messages[0].tool_calls[0]"),
        ([{"role": "assistant", "content": "a", "reasoning_details": [5]}], "messages[0].reasoning_details"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].image_url"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/svg+xml,<svg/>"}]}],
            "messages[0].content[0].image_url",
        ),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "messages[0].content[0].input_audio"),
        ([{"role": "user", "content": [{"type": "file"}]}], "messages[0].content[0].file"),
        ([{"role": "user", "content": [{"type": "document_url"}]}], "messages[0].content[0].document_url"),
        (
            [{"role": "user", "content": [{"type": "document_url", "document_url": "data:text/plain,x"}]}],
            "messages[0].content[0].document_url",
        ),
    ],
)
def test_bad_input_names_the_member(messages: list[dict[str, Any]], param: str) -> None:
    error = refused(*messages)

    assert isinstance(error, InvalidRequest)
    assert error.param == param


def test_a_data_url_without_a_type() -> None:
    assert parse_image("data:;base64,QQ==") == Image("application/octet-stream", "QQ==")
