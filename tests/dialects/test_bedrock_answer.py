"""Whole answers of Converse, and its errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.chat import LENGTH, STOP, STOP_SEQUENCE, Choice, Text, Thinking, ToolCall
from llmgw.core.usage import Usage
from llmgw.dialects.base import (
    AUTH,
    INVALID,
    OVERLOADED,
    PERMISSION,
    QUOTA,
    RATE_LIMIT,
    SERVER,
)
from llmgw.dialects.bedrock_answer import parse_answer, parse_failure, parse_stop


def body(content: list[Any], **members: Any) -> bytes:
    return json.dumps({"output": {"message": {"role": "assistant", "content": content}}, **members}).encode()


def test_every_kind_of_block() -> None:
    content = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "cmVk"}},
        {"text": "Hello"},
        {"citationsContent": {"content": [{"text": "cited"}], "citations": []}},
        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1.0}}},
        {"toolUse": {"toolUseId": "t2", "name": "own", "input": {}, "type": "server_tool_use"}},
        {"toolResult": {"toolUseId": "t2", "content": []}},
        {"ofNextYear": {}},
    ]
    answer = parse_answer(body(content, stopReason="tool_use"))

    assert answer.choices == (
        Choice(
            (
                Thinking("hm", "sig"),
                Thinking("", None, "cmVk"),
                Text("Hello"),
                Text("cited"),
                ToolCall("t1", "f", '{"a": 1.0}'),
            ),
            "tool_calls",
        ),
    )
    assert answer.usage is None


def test_usage_holds_what_was_cached() -> None:
    counts = {"inputTokens": 5, "outputTokens": 7, "cacheReadInputTokens": 3, "cacheWriteInputTokens": 2}

    assert parse_answer(body([], usage=counts)).usage == Usage(10, 7, 3, 2)


@pytest.mark.parametrize("value", [-1, 10**12, True, "5"])
def test_g19_a_count_that_cannot_be_makes_the_other_unbelieved(value: object) -> None:
    assert parse_answer(body([], usage={"inputTokens": 5, "outputTokens": value})).usage is None
    assert parse_answer(body([], usage={"inputTokens": value, "outputTokens": 5})).usage is None


def test_why_it_ended() -> None:
    assert parse_stop("max_tokens") == LENGTH
    assert parse_stop("stop_sequence") == STOP_SEQUENCE
    assert parse_stop("of_next_year") == STOP


@pytest.mark.parametrize(
    "wrong", [b"", b"[]", b"{}", b'{"output":{}}', b'{"output":{"message":{"content":1}}}']
)
def test_what_is_no_answer(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="not one of Converse"):
        parse_answer(wrong)


@pytest.mark.parametrize(
    ("status", "members", "code"),
    [
        (400, {"message": "bad"}, INVALID),
        (400, {"__type": "com.amazon.coral.service#ThrottlingException", "message": "slow"}, RATE_LIMIT),
        (400, {"__type": "ServiceQuotaExceededException", "Message": "all"}, QUOTA),
        (403, {"message": "no"}, PERMISSION),
        (403, {"__type": "UnrecognizedClientException", "message": "who"}, AUTH),
        (408, {"message": "late"}, SERVER),
        (424, {"message": "model failed"}, SERVER),
        (429, {"message": "slow"}, RATE_LIMIT),
        (503, {"message": "busy"}, OVERLOADED),
        (500, {"message": 1}, SERVER),
    ],
)
def test_failures(status: int, members: dict[str, Any], code: str) -> None:
    failure = parse_failure(status, json.dumps(members).encode())
    said = members.get("message") or members.get("Message")

    assert (failure.code, failure.status) == (code, status)
    assert failure.message == (said if isinstance(said, str) else "the provider answered with status 500")


@pytest.mark.parametrize("wrong", [b"", b"<html>", b"[1]", b'"x"', b"\xff", b"[" * 5000])
def test_failures_that_cannot_be_read(wrong: bytes) -> None:
    assert parse_failure(502, wrong).code == SERVER
