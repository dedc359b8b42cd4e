from __future__ import annotations

import json

import pytest

from llmgw.core.chat import ChatAnswer, ChatRequest, Choice, Text, Thinking, ToolCall
from llmgw.core.usage import Usage
from llmgw.dialects.cohere import DIALECT, parse_answer, parse_failure
from llmgw.dialects.cohere_stream import CohereDecoder

USAGE = {
    "billed_units": {"input_tokens": 3, "output_tokens": 2},
    "tokens": {"input_tokens": 90, "output_tokens": 12},
    "cached_tokens": 64,
}


def wire(message: dict[str, object], reason: str = "COMPLETE") -> bytes:
    document = {"id": "r1", "finish_reason": reason, "message": message, "usage": USAGE}
    return json.dumps(document).encode()


def test_thinking_and_text() -> None:
    blocks = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello"}]

    assert parse_answer(wire({"role": "assistant", "content": blocks})) == ChatAnswer(
        id="r1",
        model="",
        choices=(Choice((Thinking("hm"), Text("Hello")), "stop"),),
        usage=Usage(90, 12, cached_tokens=64),
    )


def test_calls_after_their_plan() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]
    answer = parse_answer(wire({"tool_plan": "I will ask", "tool_calls": calls}, "TOOL_CALL"))

    assert answer.choices == (
        Choice((Thinking("I will ask"), ToolCall("c1", "weather", "{}")), "tool_calls"),
    )


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        b"{}",
        b'{"message": 5}',
        wire({"tool_calls": [{"id": "c1"}]}),
        wire({"content": []}, "ERROR"),
        wire({"content": []}, "TIMEOUT"),
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    """A generation that failed is not taken for an empty answer."""
    with pytest.raises(ValueError, match=r"Cohere|ended|names no tool"):
        parse_answer(body)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"\xff", b'{"message": 5}', b"[" * 5000])
def test_failures_whatever_they_are(body: bytes) -> None:
    assert parse_failure(500, body).code == "server"


def test_the_role_of_an_upstream() -> None:
    assert json.loads(DIALECT.render_request(ChatRequest(model="m", messages=())).body)["model"] == "m"
    assert DIALECT.parse_answer(wire({"content": "Hi"})).choices[0].parts == (Text("Hi"),)
    assert DIALECT.parse_failure(429, b"{}").code == "rate_limit"
    assert isinstance(DIALECT.decoder(), CohereDecoder)
