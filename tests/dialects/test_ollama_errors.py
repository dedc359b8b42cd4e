from __future__ import annotations

import json

from llmgw.core.errors import LimitExceeded, NotFound
from llmgw.dialects.ollama_errors import error_body, error_line


def test_our_errors_are_a_text() -> None:
    """A limit also says when to come back."""
    assert json.loads(error_body(NotFound("no such model"))) == {"error": "no such model"}
    assert json.loads(error_body(LimitExceeded("slow down", retry_after_s=7))) == {
        "error": "slow down",
        "message": "slow down",
        "retryAfterSeconds": 7,
    }


def test_in_a_stream_it_is_a_line() -> None:
    assert error_line(NotFound("gone")) == b'{"error":"gone"}\n'
