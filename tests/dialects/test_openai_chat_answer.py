from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import (
    CONTENT_FILTER,
    LENGTH,
    PAUSE,
    REFUSAL,
    STOP,
    STOP_SEQUENCE,
    TOOL_CALLS,
    ChatAnswer,
    Choice,
    Image,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from llmgw.core.usage import Usage
from llmgw.dialects.openai_chat_answer import parse_answer, render_answer


def answered(message: object, **choice: Any) -> Choice:
    body = {"id": "a", "model": "m", "choices": [{"index": 0, "message": message, **choice}]}
    return parse_answer(json.dumps(body).encode()).choices[0]


def written(*choices: Choice, **members: Any) -> dict[str, Any]:
    answer = ChatAnswer(**{"id": "a", "model": "m", "created_s": 5, "choices": choices} | members)
    body: dict[str, Any] = json.loads(render_answer(answer))
    return body


def test_everything() -> None:
    body = """{"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "gpt-x-2025", "choices": [
      {"index": 0, "message": {"role": "assistant", "content": "so", "refusal": null, "annotations": [],
        "tool_calls": [
          {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\\"b\\": 1e2, \\"a\\":1}"}},
          {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        "logprobs": {"content": []}, "finish_reason": "tool_calls"},
      {"index": 1, "message": {"role": "assistant", "content": null, "refusal": "no"}, "finish_reason": "stop"}],
      "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}, "service_tier": "default"}"""  # noqa: E501

    assert parse_answer(body.encode()) == ChatAnswer(
        id="chatcmpl-1",
        model="gpt-x-2025",
        created_s=1700000000,
        choices=(
            Choice(
                (Text("so"), ToolCall("c1", "f", '{"b": 1e2, "a":1}'), ToolCall("c2", "g", "")), TOOL_CALLS
            ),
            Choice((Refusal("no"),), STOP),
        ),
        usage=Usage(10, 4),
    )


@pytest.mark.parametrize(
    ("word", "stop"),
    [
        ("stop", STOP),
        ("eos", STOP),
        ("length", LENGTH),
        ("model_length", LENGTH),
        ("function_call", TOOL_CALLS),
        ("content_filter", CONTENT_FILTER),
        ("MAX_TOKENS", LENGTH),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_finish_reasons(word: object, stop: str | None) -> None:
    assert answered({"content": "x"}, finish_reason=word).stop == stop


def test_a_stop_sequence_as_vllm_tells_it() -> None:
    choice = answered({"content": "x"}, finish_reason="stop", stop_reason="END")

    assert (choice.stop, choice.stop_sequence) == (STOP_SEQUENCE, "END")
    assert answered({"content": "x"}, finish_reason="stop", stop_reason=128009).stop == STOP


def test_loose_shapes() -> None:
    message = {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True},
            {"type": "text", "text": "so"},
            {"type": "reference", "reference_ids": [1]},
        ],
        "reasoning": {"not": "text"},
        "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}],
        "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}, {}],
    }

    *parts, call = answered(message).parts

    assert parts == [Thinking("hm"), Text("so"), Image("image/png", "QQ==")]
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("f", '{"a": 1}')
    assert call.id.startswith("call_")


def test_made_ids_are_never_made_again() -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}

    first, second = answered({"tool_calls": [call, call]}).parts

    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.id != second.id


def test_thoughts_that_two_members_have_are_had_once() -> None:
    assert answered({"content": "so", "reasoning": "hm", "reasoning_content": "hm"}).parts == (
        Thinking("hm"),
        Text("so"),
    )


def test_a_choice_without_a_message() -> None:
    assert answered(None).parts == ()


def test_what_is_not_text_or_time_is_passed_over() -> None:
    answer = parse_answer(b'{"id": 5, "model": null, "created": 1e300, "choices": []}')

    assert (answer.id, answer.model, answer.created_s, answer.usage) == ("", "", None, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"id":',
        b"[]",
        b"{}",
        b'{"choices": null}',
        b'{"choices": {}}',
        b'{"choices": [{"message": "x"}]}',
        b'{"error": {"message": "no"}, "choices": []}',
        b'{"choices": [{"message": {"content": "half"}, "finish_reason": "error"}]}',
        b'{"choices": [{"message": {"content": "half"}, "finish_reason": "insufficient_system_resource"}]}',
        b'{"choices": [{"message": {"content": "\xff"}}]}',
        b'{"choices": [{"message": {"images": [{"image_url": "data:image/png,raw"}]}}]}',
        b'{"choices": ' + b"[" * 5000,
    ],
)
def test_j13_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the words differ
        parse_answer(body)


def test_a_client_reads_an_answer_of_openai_s() -> None:
    parts = (
        Text("a"),
        ToolCall("c1", "f", ""),
        Text("b"),
        ToolCall("c2", "g", '{"x" :1}', "S"),
        Image("image/png", "QQ=="),
    )

    assert written(Choice(parts, TOOL_CALLS), usage=Usage(10, 4, 6, 2, 1)) == {
        "id": "a",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "ab",
                    "refusal": None,
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                        {
                            "id": "c2",
                            "type": "function",
                            "function": {"name": "g", "arguments": '{"x" :1}'},
                            "extra_content": {"google": {"thought_signature": "S"}},
                        },
                    ],
                    "images": [
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
                    ],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 4,
            "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    }


def test_a_client_reads_thoughts_and_what_it_must_send_back() -> None:
    plain = written(Choice((Thinking("hm"), Text("so")), STOP))["choices"][0]["message"]
    signed = written(Choice((Thinking("hm", "S"), Thinking("", None, "R")), STOP))["choices"][0]["message"]

    assert plain["reasoning_content"] == "hm"
    assert "reasoning_details" not in plain
    assert signed["content"] is None
    assert signed["reasoning_content"] == "hm"
    assert signed["reasoning_details"] == [
        {"type": "reasoning.text", "text": "hm", "signature": "S", "index": 0},
        {"type": "reasoning.encrypted", "data": "R", "index": 1},
    ]


@pytest.mark.parametrize(
    ("stop", "word"),
    [
        (STOP, "stop"),
        (STOP_SEQUENCE, "stop"),
        (PAUSE, "stop"),
        (LENGTH, "length"),
        (TOOL_CALLS, "tool_calls"),
        (CONTENT_FILTER, "content_filter"),
        (REFUSAL, "content_filter"),
        (None, "stop"),
    ],
)
def test_stops_in_openai_s_words(stop: str | None, word: str) -> None:
    assert written(Choice((Text("x"),), stop))["choices"][0]["finish_reason"] == word


def test_what_the_provider_did_not_say_is_made_up_for() -> None:
    body = written(Choice((ToolCall("c", "f", "{}"),)), id="", created_s=None)

    assert body["id"].startswith("chatcmpl-")
    assert body["created"] > 1_700_000_000
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    assert "usage" not in body
