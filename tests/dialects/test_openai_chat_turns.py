from __future__ import annotations

import json
import re
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
from llmgw.core.errors import ClientError, InvalidRequest, UnsupportedOperation
from llmgw.dialects.openai_chat_turns import render_messages
from llmgw.dialects.openai_chat_vendors import COMPATIBLE, OPENAI, VENDORS, Vendor

PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}


def written(
    *messages: Message, vendor: Vendor = OPENAI, system: tuple[Text, ...] = ()
) -> tuple[Any, set[str]]:
    dropped: set[str] = set()
    request = ChatRequest(model="m", messages=messages, system=system)
    return json.loads(msgspec.json.encode(render_messages(request, vendor, dropped))), dropped


def user(*parts: Part, vendor: Vendor = OPENAI) -> tuple[Any, set[str]]:
    return written(Message("user", parts), vendor=vendor)


def assistant(*parts: Part, vendor: Vendor = OPENAI) -> tuple[Any, set[str]]:
    return written(Message("assistant", parts), vendor=vendor)


def test_a_text_alone_is_a_string() -> None:
    assert written(Message("user", (Text("x"),), "ann"), system=(Text("s"),)) == (
        [{"role": "system", "content": "s"}, {"role": "user", "content": "x", "name": "ann"}],
        set(),
    )


@pytest.mark.parametrize(
    ("vendor", "part", "expected"),
    [
        (OPENAI, Image("image/png", "QQ=="), PNG),
        (
            OPENAI,
            Image(url="https://x/a.png", detail="high"),
            {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "high"}},
        ),
        (
            OPENAI,
            Audio("audio/mpeg", "QQ=="),
            {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
        ),
        (
            OPENAI,
            Audio("audio/x-wav", "QQ=="),
            {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
        ),
        (
            OPENAI,
            Audio("audio/ogg", "QQ=="),
            {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "ogg"}},
        ),
        (
            OPENAI,
            File("application/pdf", "QQ==", name="a.pdf"),
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="}},
        ),
        (OPENAI, File(text="plain", name="a.txt"), {"type": "text", "text": "a.txt\n\nplain"}),
        (OPENAI, File(text="plain"), {"type": "text", "text": "plain"}),
        (
            VENDORS["mistral"],
            File(url="https://x/a.pdf", name="a"),
            {"type": "document_url", "document_url": "https://x/a.pdf", "document_name": "a"},
        ),
        (
            VENDORS["mistral"],
            File("application/pdf", "QQ=="),
            {"type": "document_url", "document_url": "data:application/pdf;base64,QQ=="},
        ),
        (
            VENDORS["openrouter"],
            File(url="https://x/a.pdf"),
            {"type": "file", "file": {"filename": "document", "file_data": "https://x/a.pdf"}},
        ),
        (
            VENDORS["openrouter"],
            Text("x", "1h"),
            {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ),
        (
            VENDORS["openrouter"],
            Image("image/png", "QQ==", cached=""),
            PNG | {"cache_control": {"type": "ephemeral"}},
        ),
    ],
)
def test_parts(vendor: Vendor, part: Part, expected: object) -> None:
    assert user(part, vendor=vendor) == ([{"role": "user", "content": [expected]}], set())


def test_marks_for_a_cache_are_named_where_they_are_not_taken() -> None:
    assert user(Text("x", "")) == ([{"role": "user", "content": "x"}], {"cache_control"})
    assert user(Text("x"), Image("image/png", "QQ==", cached="1h"))[1] == {"cache_control"}


def test_results_of_tools_stand_before_what_the_user_says() -> None:
    messages, dropped = user(
        Text("look"), ToolResult("c1", (Text("a"), Text("b"))), ToolResult("c2", (), failed=True, cached="")
    )

    assert messages == [
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        },
        {"role": "tool", "tool_call_id": "c2", "content": ""},
        {"role": "user", "content": "look"},
    ]
    assert dropped == {"is_error", "cache_control"}


def test_images_in_a_tool_s_result_follow_in_the_user_s_message() -> None:
    """A tool's message has only text; the model still sees all, after the results of the turn."""
    messages, dropped = user(
        ToolResult("c1", (Text("seen"), Image("image/png", "QQ=="))), ToolResult("c2", (Text("b"),))
    )

    assert messages == [
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
        {"role": "tool", "tool_call_id": "c2", "content": "b"},
        {"role": "user", "content": [{"type": "text", "text": "From the result of tool call c1:"}, PNG]},
    ]
    assert dropped == set()


def test_an_assistant_s_turn() -> None:
    parts = (Text("a"), ToolCall("c1", "f", ""), Text("b"), ToolCall("c2", "g", '{"x" :1}'), Refusal("no"))

    assert assistant(*parts) == (
        [
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                "refusal": "no",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "c2", "type": "function", "function": {"name": "g", "arguments": '{"x" :1}'}},
                ],
            }
        ],
        set(),
    )


def test_an_assistant_s_turn_with_little_in_it() -> None:
    assert assistant()[0] == [{"role": "assistant", "content": ""}]
    assert assistant(ToolCall("c", "f", "{}"))[0][0]["content"] is None
    assert written(Message("assistant", (Text("x"),), "bot"))[0][0]["name"] == "bot"
    assert user()[0] == [{"role": "user", "content": ""}]


THOUGHTS = (Thinking("hm", "S"), Thinking("", None, "R"), Text("so"))


@pytest.mark.parametrize(
    ("vendor", "more", "dropped"),
    [
        (OPENAI, {}, {"thinking"}),
        (COMPATIBLE, {}, {"thinking"}),
        (VENDORS["deepseek"], {"reasoning_content": "hm"}, set()),
        (VENDORS["groq"], {"reasoning": "hm"}, set()),
        (
            VENDORS["openrouter"],
            {
                "reasoning": "hm",
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "hm",
                        "signature": "S",
                        "format": "anthropic-claude-v1",
                        "index": 0,
                    },
                    {"type": "reasoning.encrypted", "data": "R", "index": 1},
                ],
            },
            set(),
        ),
        (
            VENDORS["mistral"],
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "so"},
                ]
            },
            set(),
        ),
    ],
)
def test_thoughts_go_where_they_are_taken_back(
    vendor: Vendor, more: dict[str, Any], dropped: set[str]
) -> None:
    assert assistant(*THOUGHTS, vendor=vendor) == ([{"role": "assistant", "content": "so", **more}], dropped)


def test_encrypted_thoughts_alone() -> None:
    message = assistant(Thinking("", None, "R"), Text("so"), vendor=VENDORS["openrouter"])[0][0]

    assert message.keys() == {"role", "content", "reasoning_details"}


def test_signatures_and_marks_of_calls_are_named() -> None:
    assert assistant(ToolCall("c", "f", "{}", "S", ""))[1] == {"signature", "cache_control"}


@pytest.mark.parametrize(
    ("vendor", "call_id", "shape"),
    [
        (OPENAI, "toolu_01AbCdEf", "toolu_01AbCdEf"),
        (OPENAI, "x" * 41, "call_[0-9a-f]{24}"),
        (VENDORS["mistral"], "toolu_01AbCdEf", "[0-9a-f]{9}"),
        (VENDORS["mistral"], "AbCd12345", "AbCd12345"),
    ],
)
def test_ids_that_a_vendor_would_refuse_are_stood_for(vendor: Vendor, call_id: str, shape: str) -> None:
    """Call and result still name each other."""
    call = Message("assistant", (ToolCall(call_id, "f", "{}"),))
    asked, answered = written(call, Message("user", (ToolResult(call_id, (Text("1"),)),)), vendor=vendor)[0]

    assert asked["tool_calls"][0]["id"] == answered["tool_call_id"]
    assert re.fullmatch(shape, answered["tool_call_id"])


@pytest.mark.parametrize(
    ("message", "kind", "param"),
    [
        (
            Message("user", (Text("x"), File(url="https://x/a.pdf"))),
            UnsupportedOperation,
            "messages[0].content[1]",
        ),
        (Message("assistant", (Image(url="https://x"),)), UnsupportedOperation, "messages[0].content"),
        (Message("assistant", (ToolResult("c", ()),)), UnsupportedOperation, "messages[0].content"),
        (Message("user", (ToolCall("c", "f", ""),)), InvalidRequest, "messages[0].content[0]"),
    ],
)
def test_what_cannot_be_said_is_refused(message: Message, kind: type[ClientError], param: str) -> None:
    with pytest.raises(kind) as caught:
        written(message)
    assert caught.value.param == param


@pytest.mark.parametrize("vendor", [COMPATIBLE, VENDORS["mistral"], VENDORS["vllm"]])
def test_a_refusal_is_text_for_services_that_know_no_refusals(vendor: Vendor) -> None:
    ((message,), dropped) = assistant(Refusal("no"), vendor=vendor)

    assert message == {"role": "assistant", "content": "no"}
    assert dropped == set()
