from __future__ import annotations

import json

import pytest

from llmgw.core.chat import ChatRequest
from llmgw.dialects.anthropic import ANTHROPIC, DIALECT
from llmgw.dialects.base import (
    AUTH,
    INVALID,
    NOT_FOUND,
    OVERLOADED,
    PERMISSION,
    QUOTA,
    RATE_LIMIT,
    SERVER,
)
from tests.dialects.anthropic_golden import REQUEST, WIRE
from tests.dialects.test_anthropic_answer import ANSWER
from tests.dialects.test_anthropic_answer import WIRE as WIRE_ANSWER
from tests.dialects.test_anthropic_encoder import message
from tests.dialects.test_anthropic_stream import EVENTS, RICH


def test_dialect_in_both_directions() -> None:
    assert DIALECT.parse_request(WIRE, "m", False) == REQUEST
    assert DIALECT.parse_request(DIALECT.render_request(REQUEST).body, "m", False) == REQUEST
    assert DIALECT.parse_answer(WIRE_ANSWER) == ANSWER
    assert DIALECT.parse_answer(DIALECT.render_answer(ANSWER)) == ANSWER
    assert DIALECT.decoder().feed(RICH) == EVENTS


def test_usage_is_told_whether_it_was_asked_for_or_not() -> None:
    encoder = DIALECT.encoder(ChatRequest(model="m", messages=()), "public", False)

    said = message(b"".join([encoder.feed(event) for event in EVENTS]))

    assert (said["model"], said["usage"]["output_tokens"]) == ("public", 50)


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "invalid_request_error", INVALID),
        (401, "authentication_error", AUTH),
        (402, "billing_error", QUOTA),
        (403, "permission_error", PERMISSION),
        (404, "not_found_error", NOT_FOUND),
        (413, "request_too_large", INVALID),
        (429, "rate_limit_error", RATE_LIMIT),
        (500, "api_error", SERVER),
        (504, "timeout_error", SERVER),
        (529, "overloaded_error", OVERLOADED),
    ],
)
def test_failures(status: int, kind: str, code: str) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": "words"}, "request_id": "r"})

    failure = DIALECT.parse_failure(status, body.encode())

    assert (failure.code, failure.message, failure.status) == (code, "words", status)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[]", b'{"error":7}', b"[" * 5000])
def test_failure_of_any_shape(body: bytes) -> None:
    assert DIALECT.parse_failure(529, body).code == OVERLOADED


def test_tokens_are_counted() -> None:
    body = b'{"model":"claude-opus-4-6","messages":[{"role":"user","content":"hi"}]}'

    request = ANTHROPIC.parse_count_request(body, "m")

    assert json.loads(ANTHROPIC.render_count_request(request).body) == json.loads(body)
    assert ANTHROPIC.parse_count_answer(ANTHROPIC.render_count_answer(641)) == 641


@pytest.mark.parametrize("body", [b"", b"{}", b'{"input_tokens":"5"}', b'{"input_tokens":-1}', b"[]"])
def test_count_that_is_none(body: bytes) -> None:
    with pytest.raises(ValueError, match="answer"):
        ANTHROPIC.parse_count_answer(body)
