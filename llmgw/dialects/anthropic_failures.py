"""Errors in the messages API's shape: `{"type": "error", "error": {"type", "message"}, "request_id"}`.

Types by status as Anthropic's API reference lists them ("Errors"). A limit of ours that was exceeded also
says `message` and `retryAfterSeconds` beside the error. Inside a stream it is an event named `error`.
"""

from __future__ import annotations

import msgspec

from llmgw.core.errors import GatewayError
from llmgw.core.events import Failed
from llmgw.dialects import base
from llmgw.wire.sse import render_event

_encode = msgspec.json.Encoder().encode

_BY_STATUS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_BY_CLASS = {
    base.INVALID: "invalid_request_error",
    base.AUTH: "authentication_error",
    base.PERMISSION: "permission_error",
    base.NOT_FOUND: "not_found_error",
    base.CONTEXT_LENGTH: "invalid_request_error",
    base.CONTENT_FILTER: "invalid_request_error",
    base.RATE_LIMIT: "rate_limit_error",
    base.QUOTA: "billing_error",
    base.OVERLOADED: "overloaded_error",
    base.SERVER: "api_error",
}


def error_body(error: GatewayError, request_id: str | None = None) -> bytes:
    """The JSON body that tells the caller of `error`. request_id: left out where there is none."""
    kind = _BY_STATUS.get(error.status) or (
        "invalid_request_error" if error.status < 500 else _BY_CLASS[base.SERVER]
    )
    body = _error(kind, error.message)
    if request_id is not None:
        body["request_id"] = request_id
    if error.status == 429 and error.retry_after_s is not None:
        body |= {"message": error.message, "retryAfterSeconds": error.retry_after_s}
    return _encode(body)


def error_event(error: GatewayError, request_id: str | None = None) -> bytes:
    """The same inside a stream, after which there is no sign of success."""
    return render_event(error_body(error, request_id), b"error")


def failed_event(event: Failed) -> bytes:
    """An upstream's error inside a stream."""
    kind = _BY_CLASS.get(event.code, _BY_CLASS[base.SERVER])
    return render_event(_encode(_error(kind, event.message)), b"error")


def _error(kind: str, message: str) -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message}}
