"""The dialect as one: conversations and errors pass through it unchanged."""

from __future__ import annotations

import pytest
from hypothesis import given

from llmgw.core.chat import ChatRequest
from llmgw.dialects.base import (
    AUTH,
    CONTEXT_LENGTH,
    INVALID,
    NOT_FOUND,
    QUOTA,
    RATE_LIMIT,
    SERVER,
    UpstreamFailure,
)
from llmgw.dialects.openai_responses import DIALECT, STATEFUL
from tests.dialects.conversations import requests


@given(requests())
def test_a_request_comes_back(request: ChatRequest) -> None:
    sent = STATEFUL.render_request(request)

    assert STATEFUL.parse_request(sent.body, "", False) == request
    assert sent.dropped == ()


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (
            400,
            b'{"error":{"message":"long","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}',
            UpstreamFailure(CONTEXT_LENGTH, "long", 400, "input"),
        ),
        (401, b'{"error":{"message":"key","code":"invalid_api_key"}}', UpstreamFailure(AUTH, "key", 401)),
        (404, b'{"error":{"message":"no"}}', UpstreamFailure(NOT_FOUND, "no", 404)),
        (429, b'{"error":{"message":"slow"}}', UpstreamFailure(RATE_LIMIT, "slow", 429)),
        (429, b'{"error":{"message":"pay","code":"insufficient_quota"}}', UpstreamFailure(QUOTA, "pay", 429)),
        (422, b'{"error":{"message":"bad"}}', UpstreamFailure(INVALID, "bad", 422)),
        (
            200,
            b'{"status":"failed","output":[],"error":{"code":"server_error","message":"boom"}}',
            UpstreamFailure(SERVER, "boom", 200),
        ),
    ],
)
def test_failures_of_the_upstream(status: int, body: bytes, failure: UpstreamFailure) -> None:
    assert DIALECT.parse_failure(status, body) == failure


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 5000, b"null"])
def test_a_failure_in_any_shape_is_a_failure(body: bytes) -> None:
    assert DIALECT.parse_failure(502, body).code == SERVER
