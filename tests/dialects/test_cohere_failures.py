from __future__ import annotations

import json

from llmgw.core.errors import InvalidRequest, UpstreamLimited
from llmgw.dialects.cohere_failures import failed_end
from llmgw.dialects.endpoints import COHERE, dialect_of
from llmgw.dialects.failures import error_body, error_event


def test_an_error_has_a_message_and_an_id() -> None:
    body = error_body(InvalidRequest("no such role", param="messages"), dialect_of("/v2/chat"), "req-1")

    assert json.loads(body) == {"id": "req-1", "message": "no such role"}


def test_a_limit_says_when_to_come_back() -> None:
    error = UpstreamLimited("slow down", phase="first byte")
    error.retry_after_s = 7

    assert json.loads(error_body(error, COHERE, "r"))["retryAfterSeconds"] == 7


def test_inside_a_stream_it_ends_a_generation_that_failed() -> None:
    assert error_event(InvalidRequest("so it is"), COHERE, "r") == failed_end("so it is")
    assert failed_end("x").startswith(b"event: message-end\ndata: ")
