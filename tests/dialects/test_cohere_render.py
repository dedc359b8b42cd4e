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
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.base import Rendered
from llmgw.dialects.cohere_render import render_request

SCHEMA = '{"type":"object","properties":{"city":{"type":"string"}}}'
WEATHER = Tool("weather", "Tells it", SCHEMA)
TIME = Tool("time")


def asked(*parts: Part, role: str = "user", **members: Any) -> Rendered:
    message = Message(role, parts or (Text("hi"),))
    return render_request(ChatRequest(model="command-a", messages=(message,), **members))


def body(*parts: Part, role: str = "user", **members: Any) -> Any:
    return json.loads(asked(*parts, role=role, **members).body)


def test_a_conversation_in_full() -> None:
    request = ChatRequest(
        model="command-a",
        system=(Text("Be brief."),),
        messages=(
            Message("user", (Text("Weather?"),)),
            Message("assistant", (Thinking("I will ask."), ToolCall("c1", "weather", '{"city": "Rome"}'))),
            Message("user", (ToolResult("c1", (Text("sunny"),)), Text("And?"))),
            Message("assistant", (Text("Sunny."),)),
        ),
        tools=(WEATHER, TIME),
        tool_choice=ToolChoice("required"),
        max_output=9,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        stop=("END",),
        seed=7,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        stream=True,
    )

    rendered = render_request(request)

    assert json.loads(rendered.body) == {
        "model": "command-a",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "tool_plan": "I will ask.",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "Sunny."},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "Tells it",
                    "parameters": json.loads(SCHEMA),
                },
            },
            {
                "type": "function",
                "function": {"name": "time", "parameters": {"type": "object", "properties": {}}},
            },
        ],
        "tool_choice": "REQUIRED",
        "max_tokens": 9,
        "temperature": 0.5,
        "p": 0.9,
        "k": 4,
        "stop_sequences": ["END"],
        "seed": 7,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "stream": True,
    }
    assert rendered.dropped == ()


def test_pictures_and_texts() -> None:
    """Bytes go as a data URL; the text of a file is text."""
    parts = (
        Text("Look"),
        Image(media_type="image/jpeg", data="AAAA", detail="low"),
        Image(url="https://example.com/a.png"),
        File(text="a,b", name="t.csv"),
    )
    rendered = asked(*parts)

    assert json.loads(rendered.body)["messages"][0]["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "text", "text": "a,b"},
    ]
    assert rendered.dropped == ("filename",)


def test_thoughts_without_calls_are_blocks() -> None:
    assert body(Thinking("hm"), Text("Yes."), role="assistant")["messages"] == [
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes."}],
        }
    ]


def test_one_tool_by_name_is_offered_alone() -> None:
    sent = body(tools=(WEATHER, TIME), tool_choice=ToolChoice("tool", "time"))

    assert [tool["function"]["name"] for tool in sent["tools"]] == ["time"]
    assert sent["tool_choice"] == "REQUIRED"


def test_no_call_is_wanted() -> None:
    assert body(tools=(TIME,), tool_choice=ToolChoice("none"))["tool_choice"] == "NONE"
    assert "tool_choice" not in body(tools=(TIME,), tool_choice=ToolChoice("auto"))
    assert "tool_choice" not in body(tool_choice=ToolChoice("none"))


@pytest.mark.parametrize("choice", [ToolChoice("required"), ToolChoice("tool", "time")])
def test_a_call_without_its_tool(choice: ToolChoice) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(tool_choice=choice)

    assert refused.value.param == "tool_choice"


def test_strict_is_for_all_tools() -> None:
    strict = Tool("a", strict=True)
    some = asked(tools=(strict, TIME))

    assert body(tools=(strict,))["strict_tools"] is True
    assert "strict_tools" not in json.loads(some.body)
    assert some.dropped == ("strict",)


def test_formats() -> None:
    with_schema = asked(format=Format("schema", SCHEMA, "name", "words", True))

    assert body(format=Format("json"))["response_format"] == {"type": "json_object"}
    assert json.loads(with_schema.body)["response_format"] == {
        "type": "json_object",
        "json_schema": json.loads(SCHEMA),
    }
    assert with_schema.dropped == ("response_format.description",)


@pytest.mark.parametrize(
    ("reasoning", "thinking", "dropped"),
    [
        (Reasoning(enabled=False), {"type": "disabled"}, ()),
        (Reasoning(effort="none"), {"type": "disabled"}, ()),
        (Reasoning(budget=500), {"type": "enabled", "token_budget": 500}, ()),
        (Reasoning(effort="high"), {"type": "enabled"}, ("reasoning_effort",)),
        (Reasoning(), {"type": "enabled"}, ()),
    ],
)
def test_how_much_to_think(
    reasoning: Reasoning, thinking: dict[str, object], dropped: tuple[str, ...]
) -> None:
    rendered = asked(reasoning=reasoning)

    assert json.loads(rendered.body)["thinking"] == thinking
    assert rendered.dropped == dropped


def test_tuning_that_is_lost_is_named() -> None:
    request = ChatRequest(
        model="m",
        messages=(
            Message("assistant", (Thinking("", redacted="x"), ToolCall("c", "t", ""))),
            Message("user", (ToolResult("c", (Text("no", cached=""),), failed=True),), name="ann"),
        ),
        system=(Text("s", cached="1h"),),
        user="u",
        parallel_tools=False,
        extra={"logit_bias": '{"1":2}', "stream_options": "{}", "safety_mode": '"OFF"', "tools": "null"},
    )
    rendered = render_request(request)
    sent = json.loads(rendered.body)

    assert rendered.dropped == (
        "redacted_thinking",
        "name",
        "is_error",
        "logit_bias",
        "user",
        "parallel_tool_calls",
        "cache_control",
    )
    assert sent["safety_mode"] == "OFF"
    assert sent["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize(
    "part",
    [
        Audio("audio/wav", "AAAA"),
        File(media_type="application/pdf", data="AAAA"),
        ToolResult("c", (Image(url="https://example.com/a.png"),)),
    ],
)
def test_parts_that_cannot_be_said(part: Part) -> None:
    with pytest.raises(UnsupportedOperation) as refused:
        asked(part)

    assert refused.value.param == "messages"


@pytest.mark.parametrize(
    ("members", "param"),
    [({"choices": 2}, "n"), ({"extra": {"tools[1].type": '"web_search"'}}, "tools[1].type")],
)
def test_structure_that_cannot_be_said(members: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedOperation) as refused:
        asked(**members)

    assert refused.value.param == param


def test_arguments_that_are_no_object() -> None:
    with pytest.raises(InvalidRequest, match="call 'c'"):
        asked(ToolCall("c", "t", "[1]"), role="assistant")
