from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.core.events import Failed
from llmgw.dialects import base
from llmgw.dialects.openai_chat_failures import failed, parse_failure, render_failed


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, {"type": "invalid_request_error", "code": None}, base.INVALID),
        (400, {"type": "invalid_request_error", "code": "context_length_exceeded"}, base.CONTEXT_LENGTH),
        (400, {"type": None, "code": "content_filter"}, base.CONTENT_FILTER),
        (401, {"type": "invalid_request_error", "code": "invalid_api_key"}, base.AUTH),
        (403, {"type": "x", "code": "unsupported_country_region_territory"}, base.PERMISSION),
        (403, {"code": 403, "metadata": {"reasons": ["violence"]}}, base.CONTENT_FILTER),
        (403, {"code": 403, "metadata": {"flagged_input": "..."}}, base.CONTENT_FILTER),
        (403, {"code": 403, "metadata": {"reasons": []}}, base.PERMISSION),
        (404, {"type": "invalid_request_error", "code": "model_not_found"}, base.NOT_FOUND),
        (404, {"code": "DeploymentNotFound"}, base.NOT_FOUND),
        (422, {}, base.INVALID),
        (429, {"type": "tokens", "code": "rate_limit_exceeded"}, base.RATE_LIMIT),
        (429, {"type": "insufficient_quota", "code": "insufficient_quota"}, base.QUOTA),
        (429, {"code": "RateLimitReached"}, base.RATE_LIMIT),
        (402, {"code": 402}, base.QUOTA),
        (500, {"type": "server_error"}, base.SERVER),
        (503, {}, base.OVERLOADED),
        (529, {"type": "overloaded_error"}, base.OVERLOADED),
        (502, {"code": 429}, base.RATE_LIMIT),
        (418, {"type": 7, "code": [1]}, base.INVALID),
    ],
)
def test_classes(status: int, error: dict[str, object], code: str) -> None:
    body = json.dumps({"error": {"message": "no", "param": "model", **error}}).encode()

    failure = parse_failure(status, body)

    assert (failure.code, failure.message, failure.status, failure.param) == (code, "no", status, "model")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": "model not loaded"}', "model not loaded"),
        (b'{"detail": "Invalid API Key"}', "Invalid API Key"),
        (b'{"detail": [{"loc": ["body"], "msg": "bad"}]}', '[{"loc":["body"],"msg":"bad"}]'),
        (b'{"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}', "too long"),
        (b'{"type": "error", "error": {"type": "invalid_request_error", "message": "hm"}}', "hm"),
        (b'[{"error": {"code": 400, "message": "gemini", "status": "INVALID_ARGUMENT"}}]', "gemini"),
        (b"<html>bad gateway</html>", "the provider answered with status 400"),
        (b"", "the provider answered with status 400"),
        (b"\xff", "the provider answered with status 400"),
        (b"[" * 5000, "the provider answered with status 400"),
        (b"{}", "the provider answered with status 400"),
    ],
)
def test_shapes(body: bytes, message: str) -> None:
    failure = parse_failure(400, body)

    assert failure.code == base.INVALID
    assert failure.message == message


def test_the_words_of_a_provider_are_bounded() -> None:
    assert len(parse_failure(400, json.dumps({"error": {"message": "x" * 9000}}).encode()).message) == 2000


@given(st.integers(0, 999), st.binary(max_size=200))
def test_it_never_raises(status: int, body: bytes) -> None:
    assert parse_failure(status, body).status == status


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"error": {"message": "m", "type": "overloaded_error"}, "type": "error"}, base.OVERLOADED),
        ({"error": {"message": "m", "code": 429}}, base.RATE_LIMIT),
        ({"error": {"message": "m", "code": "502"}}, base.SERVER),
        ({"error": {"message": "m", "type": "invalid_request_error"}}, base.INVALID),
        ({"error": {"message": "m"}}, base.SERVER),
    ],
)
def test_inside_a_stream_the_body_alone_tells(document: object, code: str) -> None:
    assert failed(document) == Failed(code, "m")


def test_an_error_without_words() -> None:
    assert failed({"error": {}}) == Failed(base.SERVER, "the provider reported an error")


@pytest.mark.parametrize(
    "code",
    [
        base.INVALID,
        base.AUTH,
        base.PERMISSION,
        base.NOT_FOUND,
        base.CONTEXT_LENGTH,
        base.CONTENT_FILTER,
        base.RATE_LIMIT,
        base.QUOTA,
        base.OVERLOADED,
        base.SERVER,
    ],
)
def test_a_client_reads_the_class_that_it_was(code: str) -> None:
    written = render_failed(Failed(code, "hm"))

    if code != base.AUTH:  # a client's own key is not at fault, and the code says so
        assert failed(written) == Failed(code, "hm")
    assert set(written["error"]) == {"message", "type", "param", "code"}  # type: ignore[call-overload]
