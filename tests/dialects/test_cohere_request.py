from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import (
    Format,
    Image,
    Message,
    Reasoning,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llmgw.core.errors import GatewayError, InvalidRequest, UnsupportedOperation
from llmgw.dialects.cohere_request import parse_request

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "of", "parameters": {"a": 1}}}


def parsed(**members: Any) -> Any:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **members}
    return parse_request(json.dumps(body).encode(), "")


def test_a_request_in_full() -> None:
    request = parsed(
        tools=[TOOL],
        strict_tools=True,
        tool_choice="REQUIRED",
        max_tokens=9,
        stop_sequences=["x"],
        temperature=0.5,
        seed=7,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        k=4,
        p=0.9,
        thinking={"type": "enabled", "token_budget": 50},
        response_format={"type": "json_object", "json_schema": {"type": "object"}},
        safety_mode="OFF",
        stream=True,
    )

    assert (request.model, request.stream, request.max_output, request.stop) == ("m", True, 9, ("x",))
    assert (request.temperature, request.top_p, request.top_k, request.seed) == (0.5, 0.9, 4, 7)
    assert (request.frequency_penalty, request.presence_penalty) == (0.1, 0.2)
    (tool,) = request.tools
    assert (tool.name, tool.description, tool.parameters, tool.strict) == ("weather", "of", '{"a": 1}', True)
    assert request.tool_choice == ToolChoice("required")
    assert request.reasoning == Reasoning(True, budget=50, shown=True)
    assert request.format == Format("schema", '{"type": "object"}')
    assert request.extra == {"safety_mode": '"OFF"'}


def test_turns() -> None:
    """Results of tools are the user's; what was planned before calls is a thought."""
    request = parsed(
        messages=[
            {"role": "system", "content": "be brief"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aWk="}},
                ],
            },
            {"role": "assistant", "tool_plan": "I ask", "tool_calls": [CALL]},
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": [{"type": "document", "document": {"data": {"t": 14}}}],
            },
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "so"}, {"text": "14"}]},
            {"role": "user", "content": "thanks"},
        ]
    )

    assert request.system == (Text("be brief"),)
    assert request.messages == (
        Message("user", (Text("what"), Image("image/png", "aWk="))),
        Message("assistant", (Thinking("I ask"), ToolCall("c1", "weather", '{"city":"Rome"}'))),
        Message("user", (ToolResult("c1", (Text('{"t": 14}'),)),)),
        Message("assistant", (Thinking("so"), Text("14"))),
        Message("user", (Text("thanks"),)),
    )


@pytest.mark.parametrize(
    ("members", "param", "error"),
    [
        ({"messages": []}, "messages", InvalidRequest),
        ({"messages": 3}, "messages", InvalidRequest),
        ({"messages": [{"role": "critic", "content": "x"}]}, "messages[0].role", InvalidRequest),
        (
            {"messages": [{"role": "user", "content": [{"type": "x"}]}]},
            "messages[0].content[0]",
            InvalidRequest,
        ),
        (
            {"messages": [{"role": "tool", "tool_call_id": "c9", "content": "x"}]},
            "messages[0].tool_call_id",
            InvalidRequest,
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{**CALL, "id": None}]}]},
            "messages[0].tool_calls[0].id",
            InvalidRequest,
        ),
        (
            {"messages": [{"role": "user", "content": [{"image_url": {"url": "data:image/png,x"}}]}]},
            "messages[0].content[0].image_url",
            InvalidRequest,
        ),
        ({"tool_choice": "SOME"}, "tool_choice", InvalidRequest),
        ({"response_format": {"type": "xml"}}, "response_format", InvalidRequest),
        ({"documents": ["a"]}, "documents", UnsupportedOperation),
    ],
)
def test_what_cannot_be_read_is_refused(
    members: dict[str, Any], param: str, error: type[GatewayError]
) -> None:
    with pytest.raises(error) as refused:
        parsed(**members)

    assert refused.value.param == param


def test_a_body_that_is_not_json() -> None:
    with pytest.raises(InvalidRequest, match="not valid JSON"):
        parse_request(b"{", "m")


def test_members_deeper_down_that_nobody_reads_are_named() -> None:
    document = {"type": "document", "document": {"id": "d1", "data": {"a": 1}}}
    request = parsed(messages=[{"role": "user", "content": [document]}])

    assert request.extra == {"messages[].content[].document.id": '"d1"'}
