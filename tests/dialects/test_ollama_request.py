"""Requests of Ollama's API are read whole, or refused by the name of what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import (
    ChatRequest,
    Format,
    Image,
    Message,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from llmgw.core.errors import ClientError, InvalidRequest, UnsupportedOperation
from llmgw.dialects.ollama import DIALECT, GENERATE

HI = [{"role": "user", "content": "hi"}]


def chat(**members: Any) -> ChatRequest:
    return DIALECT.parse_request(json.dumps({"model": "m", "messages": HI, **members}).encode(), "", False)


def generate(**members: Any) -> ChatRequest:
    return GENERATE.parse_request(json.dumps({"model": "m", "prompt": "hi", **members}).encode(), "", False)


def test_everything_that_has_a_field() -> None:
    request = chat(
        messages=[{"role": "system", "content": "be brief"}, *HI],
        tools=[
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
            }
        ],
        format={"type": "object"},
        stream=False,
        think="low",
        keep_alive="5m",
        options={
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 5,
            "seed": 7,
            "num_predict": 100,
            "stop": ["x"],
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
            "num_ctx": 4096,
        },
    )

    assert request == ChatRequest(
        model="m",
        messages=(Message("user", (Text("hi"),)),),
        system=(Text("be brief"),),
        tools=(Tool("f", "d", '{"type": "object"}'),),
        max_output=100,
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        stop=("x",),
        seed=7,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        format=Format("schema", '{"type": "object"}'),
        reasoning=Reasoning(effort="low", shown=True),
        extra={"keep_alive": '"5m"', "options": '{"num_ctx":4096}'},
    )


@pytest.mark.parametrize(
    ("members", "field", "expected"),
    [
        ({}, "stream", True),
        ({"stream": False}, "stream", False),
        ({"format": "json"}, "format", Format("json")),
        ({"format": ""}, "format", None),
        ({"think": True}, "reasoning", Reasoning(shown=True)),
        ({"think": False}, "reasoning", Reasoning(False)),
        ({"options": {"stop": "x"}}, "stop", ("x",)),
        ({"options": {"num_predict": -1}}, "extra", {"options": '{"num_predict":-1}'}),
        ({"options": None}, "extra", {}),
        ({"truncate": False, "suffix": ""}, "extra", {}),
    ],
)
def test_members_one_by_one(members: dict[str, Any], field: str, expected: object) -> None:
    """It streams unless told not to."""
    assert getattr(chat(**members), field) == expected


def test_a_conversation_with_calls_that_have_no_ids() -> None:
    """A result belongs to the earliest call of its tool that has none yet."""
    request = chat(
        messages=[
            *HI,
            {
                "role": "assistant",
                "content": "let me see",
                "thinking": "hm",
                "tool_calls": [
                    {"function": {"name": "f", "arguments": {"a": 1.0}}},
                    {"function": {"name": "g", "arguments": {}}},
                    {"function": {"name": "f", "arguments": {"a": 2}}},
                ],
            },
            {"role": "tool", "tool_name": "g", "content": "gee"},
            {"role": "tool", "tool_name": "f", "content": "one"},
            {"role": "tool", "content": "two"},
            {"role": "user", "content": "and?"},
        ]
    )

    assert request.messages[1:] == (
        Message(
            "assistant",
            (
                Thinking("hm"),
                Text("let me see"),
                ToolCall("call_0", "f", '{"a": 1.0}'),
                ToolCall("call_1", "g", "{}"),
                ToolCall("call_2", "f", '{"a": 2}'),
            ),
        ),
        Message(
            "user",
            (
                ToolResult("call_1", (Text("gee"),), "g"),
                ToolResult("call_0", (Text("one"),), "f"),
                ToolResult("call_2", (Text("two"),), "f"),
                Text("and?"),
            ),
        ),
    )


def test_calls_with_ids_keep_them() -> None:
    request = chat(
        messages=[
            *HI,
            {
                "role": "assistant",
                "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": '{"a":1}'}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "one", "images": ["/9j/4AA"]},
            {"role": "assistant", "content": "so"},
        ]
    )

    assert request.messages[1].parts == (ToolCall("c1", "f", '{"a":1}'),)
    assert request.messages[2].parts == (
        ToolResult("c1", (Text("one"), Image("image/jpeg", "/9j/4AA")), "f"),
    )
    assert request.messages[3].parts == (Text("so"),)


@pytest.mark.parametrize(
    ("data", "image"),
    [
        ("iVBORw0KGgoA", Image("image/png", "iVBORw0KGgoA")),
        ("R0lGODlh", Image("image/gif", "R0lGODlh")),
        ("UklGRgAA", Image("image/webp", "UklGRgAA")),
        ("AAAA", Image(None, "AAAA")),
        ("data:image/png;base64,AAAA", Image("image/png", "AAAA")),
    ],
)
def test_pictures_are_known_by_their_first_bytes(data: str, image: Image) -> None:
    assert chat(messages=[{"role": "user", "content": "", "images": [data]}]).messages[0].parts == (image,)


def test_generate_is_a_conversation_of_one_message() -> None:
    request = generate(
        system="be brief", images=["iVBORw0KGgoA"], think=True, raw=False, suffix="", context=[]
    )

    assert request.system == (Text("be brief"),)
    assert request.messages == (Message("user", (Text("hi"), Image("image/png", "iVBORw0KGgoA"))),)
    assert request.stream
    assert request.extra == {}


@pytest.mark.parametrize("name", ["suffix", "template", "raw", "context"])
def test_what_only_ollama_can_follow_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        generate(**{name: {"raw": True, "context": [1]}.get(name, "x")})

    assert caught.value.param == name


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
        ({"messages": [*HI, {"role": "assistant", "tool_calls": [{}]}]}, "messages[1].tool_calls"),
        ({"stream": "yes"}, "stream"),
        ({"format": 3}, "format"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ],
)
def test_what_is_wrong_is_named(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat(**members)

    assert caught.value.param == param


def test_a_prompt_without_anything_is_refused() -> None:
    """Ollama loads the model then; there is none to load here."""
    with pytest.raises(InvalidRequest) as caught:
        generate(prompt="")

    assert caught.value.param == "prompt"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"messages":"\xff"}', b'{"options":3}', b"[" * 2000])
def test_what_is_not_a_request_is_a_client_error(body: bytes) -> None:
    with pytest.raises(ClientError):
        DIALECT.parse_request(body, "m", False)


def test_members_deeper_down_that_nobody_reads_are_named() -> None:
    call = {"id": "c", "function": {"index": 0, "name": "f", "arguments": {"a": {"b": 1}}, "of": 1}}
    request = chat(
        messages=[{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]}],
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"a": 1}, "strict": True}}],
    )

    assert request.extra == {"messages[].tool_calls[].function.of": "1", "tools[].function.strict": "true"}
