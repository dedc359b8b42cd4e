from __future__ import annotations

import json

import pytest

from llmgw.core.errors import (
    Fault,
    GatewayError,
    InvalidCredentials,
    InvalidRequest,
    LimitExceeded,
    ModelNotFound,
    NoTarget,
    UpstreamTimeout,
)
from llmgw.dialects import base
from llmgw.dialects.base import UpstreamFailure
from llmgw.dialects.gemini_errors import error_body, failure_body, parse_error, parse_failure

INFO = "type.googleapis.com/google.rpc.ErrorInfo"


def google(code: int, status: str, *details: object) -> bytes:
    error = {"code": code, "message": "why", "status": status, "details": list(details)}
    return json.dumps({"error": error}).encode()


def daily(quota: str) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]}


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, google(400, "INVALID_ARGUMENT"), base.INVALID),
        (400, google(400, "INVALID_ARGUMENT", {"@type": INFO, "reason": "API_KEY_INVALID"}), base.AUTH),
        (400, google(400, "FAILED_PRECONDITION"), base.INVALID),
        (401, google(401, "UNAUTHENTICATED"), base.AUTH),
        (403, google(403, "PERMISSION_DENIED"), base.PERMISSION),
        (403, google(403, "PERMISSION_DENIED", {"@type": INFO, "reason": "BILLING_DISABLED"}), base.QUOTA),
        (404, google(404, "NOT_FOUND"), base.NOT_FOUND),
        (429, google(429, "RESOURCE_EXHAUSTED"), base.RATE_LIMIT),
        (429, google(429, "RESOURCE_EXHAUSTED", daily("RequestsPerMinutePerModel")), base.RATE_LIMIT),
        (429, google(429, "RESOURCE_EXHAUSTED", daily("RequestsPerDayPerModel")), base.QUOTA),
        (500, google(500, "INTERNAL"), base.SERVER),
        (503, google(503, "UNAVAILABLE"), base.OVERLOADED),
        (504, google(504, "DEADLINE_EXCEEDED"), base.SERVER),
        (400, b"[" + google(404, "NOT_FOUND") + b"]", base.NOT_FOUND),
        (429, b'{"error":{"message":"why","type":"insufficient_quota"}}', base.QUOTA),
        (400, b'{"error":{"message":"why","code":"context_length_exceeded"}}', base.CONTEXT_LENGTH),
        (529, b'{"type":"error","error":{"type":"overloaded_error","message":"why"}}', base.OVERLOADED),
        (401, b'{"error":"why"}', base.AUTH),
    ],
)
def test_failure_is_told_by_status_and_structured_code(status: int, body: bytes, code: str) -> None:
    assert parse_failure(status, body) == UpstreamFailure(code, "why", status)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, base.INVALID),
        (402, base.QUOTA),
        (422, base.INVALID),
        (429, base.RATE_LIMIT),
        (500, base.SERVER),
        (503, base.OVERLOADED),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"[1]", b"null", b'{"error":5}', b'{"error":{}}', b"\xff", b"[" * 5000]
)
def test_failure_without_a_readable_body_is_told_by_its_status(status: int, code: str, body: bytes) -> None:
    failure = parse_failure(status, body)

    assert failure.code == code
    assert failure.message


def test_member_at_fault_is_named() -> None:
    detail = {"@type": "x.BadRequest", "fieldViolations": [{"field": "contents[0]", "description": "d"}]}

    assert parse_failure(400, google(400, "INVALID_ARGUMENT", detail)).param == "contents[0]"
    assert parse_failure(400, b'{"error":{"message":"m","param":"top_p"}}').param == "top_p"
    assert parse_failure(400, google(400, "INVALID_ARGUMENT", "odd", {"violations": 5})).param is None


def test_error_in_a_stream_has_its_status_inside() -> None:
    assert parse_error(b'{"code":503,"message":"busy"}') == UpstreamFailure(base.OVERLOADED, "busy", 503)
    assert parse_error(b'"what"').code == base.SERVER


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (InvalidRequest("no"), 400, "INVALID_ARGUMENT"),
        (InvalidCredentials("no"), 401, "UNAUTHENTICATED"),
        (ModelNotFound("no"), 404, "NOT_FOUND"),
        (LimitExceeded("no"), 429, "RESOURCE_EXHAUSTED"),
        (Fault("no"), 500, "INTERNAL"),
        (NoTarget("no"), 503, "UNAVAILABLE"),
        (UpstreamTimeout("no"), 504, "DEADLINE_EXCEEDED"),
    ],
)
def test_our_errors_in_geminis_shape(error: GatewayError, code: int, status: str) -> None:
    body = json.loads(error_body(error))

    assert body == {"error": {"code": code, "message": "no", "status": status}}


def test_exceeded_limit_says_how_long_beside_the_error() -> None:
    assert json.loads(error_body(LimitExceeded("slow\r\ndown", retry_after_s=7))) == {
        "error": {"code": 429, "message": "slow\r\ndown", "status": "RESOURCE_EXHAUSTED"},
        "message": "slow\r\ndown",
        "retryAfterSeconds": 7,
    }
    assert b"\n" not in error_body(LimitExceeded("slow\r\ndown", retry_after_s=7))


def test_failure_of_an_upstream_comes_back_as_the_same_class() -> None:
    for code in (
        base.INVALID,
        base.AUTH,
        base.PERMISSION,
        base.NOT_FOUND,
        base.RATE_LIMIT,
        base.OVERLOADED,
        base.SERVER,
    ):
        body = failure_body(code, "m")
        assert parse_failure(json.loads(body)["error"]["code"], body).code == code
