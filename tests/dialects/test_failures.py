from __future__ import annotations

import json

import pytest

from llmgw.core.errors import InvalidCredentials, ModelNotFound, Unavailable, UpstreamTimeout
from llmgw.dialects.failures import error_event, error_reply


def test_openai_shape() -> None:
    reply = error_reply(ModelNotFound("no model named 'x'", param="model"), "openai", "req_1")

    assert reply.status == 404
    assert json.loads(reply.body) == {
        "error": {
            "message": "no model named 'x'",
            "type": "not_found_error",
            "param": "model",
            "code": "model_not_found",
        }
    }
    assert b"x-request-id: req_1\r\n" in reply.head
    assert b"x-llmgw-code: model_not_found\r\n" in reply.head
    assert b"x-should-retry: false\r\n" in reply.head


def test_flat_shape() -> None:
    reply = error_reply(Unavailable("the journal is full", retry_after_s=5), None, "req_1")

    assert json.loads(reply.body) == {
        "error": "Service Unavailable",
        "message": "the journal is full",
        "code": "store_unavailable",
        "request_id": "req_1",
    }
    assert b"retry-after: 5\r\n" in reply.head
    assert b"x-should-retry" not in reply.head


def test_a_bad_key_says_which_scheme_is_wanted() -> None:
    assert b"www-authenticate: Bearer\r\n" in error_reply(InvalidCredentials("no"), "openai", "r").head


def test_a_bad_token_says_what_is_wrong_with_it_instead() -> None:
    challenge = ("www-authenticate", 'Bearer error="invalid_token"')
    head = error_reply(InvalidCredentials("no", headers=(challenge,)), "openai", "r").head

    assert head.count(b"www-authenticate") == 1
    assert b'www-authenticate: Bearer error="invalid_token"\r\n' in head


@pytest.mark.parametrize("text", ["a\r\n\r\ndata: [DONE]", "a\nevent: x", "\u2028"])
def test_k05_an_error_in_a_stream_is_one_event(text: str) -> None:
    """Whatever an error says, it cannot end its event or begin another."""
    raw = error_event(UpstreamTimeout(text), "openai", "r")

    assert raw.startswith(b"data: ")
    assert raw.endswith(b"\n\n")
    assert b"\n" not in raw[:-2]
    assert b"\r" not in raw
    assert json.loads(raw[6:])["error"]["message"] == text
