"""Whole answers, conversations and errors of Ollama's API."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given

from llmgw.core.chat import (
    LENGTH,
    TOOL_CALLS,
    ChatAnswer,
    ChatRequest,
    Choice,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llmgw.core.usage import Usage
from llmgw.dialects.base import NOT_FOUND, SERVER
from llmgw.dialects.ollama import DIALECT, GENERATE
from tests.dialects.conversations import answers, requests
from tests.dialects.recordings import of_answer


def test_an_answer_is_read() -> None:
    body = {
        "model": "m",
        "created_at": "2026-08-07T08:08:14.5+02:00",
        "message": {
            "role": "assistant",
            "content": "hi",
            "thinking": "hm",
            "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {"a": 1.0}}}],
        },
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 10,
        "eval_count": 7,
    }

    assert DIALECT.parse_answer(json.dumps(body).encode()) == ChatAnswer(
        id="",
        model="m",
        choices=(Choice((Thinking("hm"), Text("hi"), ToolCall("c1", "f", '{"a": 1.0}')), TOOL_CALLS),),
        usage=Usage(10, 7),
        created_s=1786082894,
    )


def test_an_answer_of_generate_is_read() -> None:
    answer = GENERATE.parse_answer(
        b'{"model":"m","response":"hi","thinking":"hm","done":true,"done_reason":"length"}'
    )

    assert answer.choices == (Choice((Thinking("hm"), Text("hi")), LENGTH),)
    assert answer.usage is None


@given(answers())
def test_an_answer_comes_back(answer: ChatAnswer) -> None:
    again = of_answer(DIALECT.parse_answer(DIALECT.render_answer(answer)))

    want = of_answer(answer)
    if answer.usage is not None:
        want.usage = Usage(answer.usage.input_tokens, answer.usage.output_tokens)
    assert again == want


def test_an_answer_to_generate_is_written() -> None:
    choice = Choice((Thinking("hm"), Text("a"), Refusal("b"), ToolCall("c1", "f", "{}")), LENGTH)
    answer = ChatAnswer(id="x", model="m", choices=(choice,), usage=Usage(1, 2), created_s=5)

    assert json.loads(GENERATE.render_answer(answer)) == {
        "model": "m",
        "created_at": "1970-01-01T00:00:05.000000Z",
        "response": "ab",
        "thinking": "hm",
        "done": True,
        "done_reason": "length",
        "prompt_eval_count": 1,
        "eval_count": 2,
    }


def test_arguments_that_are_no_object_are_an_error() -> None:
    answer = ChatAnswer(id="", model="m", choices=(Choice((ToolCall("c1", "f", "{"),)),))

    with pytest.raises(ValueError, match="c1"):
        DIALECT.render_answer(answer)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"message":3}'])
def test_what_is_no_answer_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="Ollama"):
        DIALECT.parse_answer(body)


def with_names(request: ChatRequest) -> ChatRequest:
    """Results name their tool here."""
    names = {p.id: p.name for m in request.messages for p in m.parts if isinstance(p, ToolCall)}
    messages = tuple(
        msgspec.structs.replace(
            message,
            parts=tuple(
                msgspec.structs.replace(part, name=names[part.call_id])
                if isinstance(part, ToolResult)
                else part
                for part in message.parts
            ),
        )
        for message in request.messages
    )
    return msgspec.structs.replace(request, messages=messages)


@given(requests())
def test_a_request_comes_back(request: ChatRequest) -> None:
    sent = DIALECT.render_request(request)

    assert DIALECT.parse_request(sent.body, "", False) == with_names(request)
    assert sent.dropped == ()


def test_failures_of_the_upstream() -> None:
    failure = DIALECT.parse_failure(404, b'{"error":"model \'x\' not found"}')

    assert (failure.code, failure.message) == (NOT_FOUND, "model 'x' not found")
    assert DIALECT.parse_failure(500, b"<html>").code == SERVER
