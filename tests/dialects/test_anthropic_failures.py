from __future__ import annotations

import json

import pytest

from llmgw.core.errors import (
    Fault,
    GatewayError,
    InvalidCredentials,
    InvalidRequest,
    LimitExceeded,
    MethodNotAllowed,
    ModelNotFound,
    PermissionDenied,
    RequestTooLarge,
    Unavailable,
    UpstreamBroken,
    UpstreamTimeout,
)
from llmgw.core.events import Failed
from llmgw.dialects.anthropic_failures import error_body, error_event, failed_event
from llmgw.dialects.base import OVERLOADED, QUOTA
from llmgw.wire.sse import SseSplitter, event_data, event_name


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("m"), "invalid_request_error"),
        (MethodNotAllowed("m"), "invalid_request_error"),
        (InvalidCredentials("m"), "authentication_error"),
        (PermissionDenied("m"), "permission_error"),
        (ModelNotFound("m"), "not_found_error"),
        (RequestTooLarge("m"), "request_too_large"),
        (LimitExceeded("m"), "rate_limit_error"),
        (Unavailable("m"), "overloaded_error"),
        (UpstreamTimeout("m"), "timeout_error"),
        (UpstreamBroken("m"), "api_error"),
        (Fault("m"), "api_error"),
    ],
)
def test_type_follows_the_status(error: GatewayError, kind: str) -> None:
    assert json.loads(error_body(error, "req_1")) == {
        "type": "error",
        "error": {"type": kind, "message": "m"},
        "request_id": "req_1",
    }


def test_limit_says_how_long_to_wait_beside_it() -> None:
    body = json.loads(error_body(LimitExceeded("slow down", retry_after_s=12), "req_1"))

    assert body["error"] == {"type": "rate_limit_error", "message": "slow down"}
    assert (body["message"], body["retryAfterSeconds"]) == ("slow down", 12)


def test_line_ends_in_a_message_stay_in_its_event() -> None:
    """K05: what somebody else wrote cannot begin an event of its own."""
    text = "bad\r\n\r\nevent: message_stop\ndata: {}\n\n"
    for raw in (error_event(UpstreamBroken(text)), failed_event(Failed(OVERLOADED, text))):
        (event,) = SseSplitter().feed(raw)
        assert event_name(event) == b"error"
        assert json.loads(event_data(event) or b"")["error"]["message"] == text


def test_upstreams_failure_keeps_its_class() -> None:
    for code, kind in ((OVERLOADED, "overloaded_error"), (QUOTA, "billing_error"), ("else", "api_error")):
        assert json.loads(event_data(failed_event(Failed(code, "m"))) or b"")["error"]["type"] == kind
