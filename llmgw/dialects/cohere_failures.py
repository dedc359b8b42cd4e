"""Our errors as Cohere's clients are told them: `{"id", "message"}`, by status.

Inside a stream an error is the `message-end` of a generation that failed (Cohere API reference,
"Errors" and "Chat with Streaming").
"""

from __future__ import annotations

import msgspec

from llmgw.core.errors import GatewayError
from llmgw.wire.sse import render_event

_encode = msgspec.json.Encoder().encode


def error_body(error: GatewayError, request_id: str) -> bytes:
    """The JSON body that tells a client of `error`. A limit also says when to come back."""
    body: dict[str, object] = {"id": request_id, "message": error.message}
    if error.status == 429 and error.retry_after_s is not None:
        body["retryAfterSeconds"] = error.retry_after_s
    return _encode(body)


def failed_end(message: str) -> bytes:
    """The end of a stream that broke."""
    delta = {"error": message, "finish_reason": "ERROR"}
    return render_event(_encode({"type": "message-end", "delta": delta}), b"message-end")
