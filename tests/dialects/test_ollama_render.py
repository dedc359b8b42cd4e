"""Requests to an Ollama upstream say what they can, and name what they cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import (
    Audio,
    ChatRequest,
    File,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.ollama import DIALECT

HI = (Message("user", (Text("hi"),)),)


def rendered(**fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    sent = DIALECT.render_request(ChatRequest(**{"model": "m", "messages": HI, **fields}))
    return json.loads(sent.body), sent.dropped


def test_everything_that_can_be_said() -> None:
    body, dropped = rendered(
        system=(Text("be brief"), Text("be kind")),
        messages=(
            Message("user", (Text("look"), Image("image/png", "AAAA"), File(text="notes", name="n.txt"))),
            Message(
                "assistant",
                (
                    Thinking("hm", "EqQB"),
                    Text("I "),
                    Refusal("will"),
                    ToolCall("c1", "f", '{"a": 1.0}'),
                    ToolCall("c2", "g", ""),
                ),
            ),
            Message(
                "user",
                (
                    ToolResult("c1", (Text("one"), Image("image/png", "BBBB"))),
                    ToolResult("c2", (), "g"),
                    Text("and?"),
                ),
            ),
        ),
        tools=(Tool("f", "d", '{"type":"object"}'), Tool("g")),
        tool_choice=ToolChoice("auto"),
        max_output=100,
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        stop=("x",),
        seed=7,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        format=Format("schema", '{"type":"object"}', "city"),
        reasoning=Reasoning(effort="high", shown=True),
        stream=True,
        extra={"keep_alive": '"5m"', "options": '{"num_ctx":4096,"seed":1}', "stream_options": "{}"},
    )

    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "look\n\nnotes", "images": ["AAAA"]},
            {
                "role": "assistant",
                "content": "I will",
                "thinking": "hm",
                "tool_calls": [
                    {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"a": 1.0}}},
                    {"id": "c2", "function": {"index": 1, "name": "g", "arguments": {}}},
                ],
            },
            {
                "role": "tool",
                "content": "one",
                "images": ["BBBB"],
                "tool_name": "f",
                "tool_call_id": "c1",
            },
            {"role": "tool", "content": "", "tool_name": "g", "tool_call_id": "c2"},
            {"role": "user", "content": "and?"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
            },
            {
                "type": "function",
                "function": {
                    "name": "g",
                    "description": "",
                    "parameters": {"type": "object", "properties": {}},
                },
            },
        ],
        "format": {"type": "object"},
        "think": "high",
        "keep_alive": "5m",
        "options": {
            "num_ctx": 4096,
            "seed": 7,
            "num_predict": 100,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 5,
            "stop": ["x"],
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
        },
        "stream": True,
    }
    assert dropped == ("filename",)


def test_arguments_go_on_as_they_came() -> None:
    """Numbers keep their digits, and members their order."""
    text = '{"z": 1.0, "a": 12345678901234567890}'
    messages = (Message("assistant", (ToolCall("c1", "f", text),)), *HI)

    assert text.encode() in DIALECT.render_request(ChatRequest(model="m", messages=messages)).body


def test_tuning_that_cannot_be_said_is_named() -> None:
    body, dropped = rendered(
        messages=(
            Message("user", (Text("hi", ""), ToolResult("c0", (), failed=True)), name="ann"),
            Message("assistant", (Thinking("", None, "Eabc"), Text("so"))),
        ),
        tools=(Tool("f", strict=True),),
        tool_choice=ToolChoice("none"),
        parallel_tools=False,
        user="u1",
        reasoning=Reasoning(effort="minimal", budget=5),
        extra={"logit_bias": "{}", "previous_response_id": "null"},
    )

    assert "tools" not in body
    assert body["think"] == "low"
    assert set(dropped) == {
        "cache_control",
        "is_error",
        "name",
        "thinking",
        "parallel_tool_calls",
        "user",
        "reasoning.effort",
        "reasoning.budget",
        "logit_bias",
    }


@pytest.mark.parametrize(
    ("reasoning", "think"),
    [
        (None, None),
        (Reasoning(), True),
        (Reasoning(False), False),
        (Reasoning(effort="none"), False),
        (Reasoning(effort="xhigh"), "high"),
        (Reasoning(effort="strange"), True),
    ],
)
def test_how_much_to_think(reasoning: Reasoning | None, think: object) -> None:
    assert rendered(reasoning=reasoning)[0].get("think") == think


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"choices": 2}, "n"),
        ({"tool_choice": ToolChoice("required")}, "tool_choice"),
        ({"tool_choice": ToolChoice("tool", "f")}, "tool_choice"),
        ({"extra": {"previous_response_id": '"r"'}}, "previous_response_id"),
        ({"extra": {"tools.googleSearch": "{}"}}, "tools.googleSearch"),
    ],
)
def test_structure_that_cannot_be_said_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        rendered(**fields)

    assert caught.value.param == param


@pytest.mark.parametrize(
    ("role", "part"),
    [
        ("user", Image(url="https://e.com/a.png")),
        ("user", File("application/pdf", "JVBE")),
        ("user", Audio("audio/wav", "UklG")),
        ("assistant", Image("image/png", "AAAA")),
    ],
)
def test_a_part_that_cannot_be_said_is_refused(role: str, part: Part) -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        rendered(messages=(Message(role, (part,)),))

    assert caught.value.param == "messages"


@pytest.mark.parametrize("arguments", ["{", "[1]", "3", '"x"', "null"])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    with pytest.raises(InvalidRequest, match="c1"):
        rendered(messages=(Message("assistant", (ToolCall("c1", "f", arguments),)),))


def test_options_that_are_no_object_are_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        rendered(extra={"options": "3"})

    assert caught.value.param == "options"


def test_what_pictures_and_formats_say_besides_is_named() -> None:
    _, dropped = rendered(
        messages=(Message("user", (Image("image/png", "AAAA", detail="high"),)),),
        format=Format("schema", "{}", "n", "of the answer"),
    )

    assert set(dropped) == {"detail", "response_format.description"}
