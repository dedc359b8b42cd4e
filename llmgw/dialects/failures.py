"""Errors in the client's shape.

OpenAI: `{"error": {"message", "type", "param", "code"}}`; `type` follows its API reference's
list of error types. Anthropic: `{"type": "error", "error": {"type", "message"}, "request_id"}`;
types by status as its API reference lists them. Gemini: `{"error": {"code", "message",
"status"}}`. Ollama: `{"error": text}`. Cohere: `{"id", "message"}`. Off the dialect paths, flat:
`{"error", "message", "code", "request_id"}`. A limit that was exceeded also says `message` and
`retryAfterSeconds` beside a dialect's error, and has a flat shape of its own without a code:
`{"error", "message", "retryAfterSeconds"}`. So has a missing idempotency key, everywhere:
`{"error": "idempotency_key_required", "message"}`.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from llmgw.core.errors import GatewayError, IdempotencyKeyRequired
from llmgw.core.reply import Reply
from llmgw.dialects import anthropic_failures, cohere_failures, gemini_errors, ollama_errors
from llmgw.dialects.endpoints import ANTHROPIC, COHERE, GEMINI, OLLAMA, OPENAI

_encode = msgspec.json.Encoder().encode

_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    409: "invalid_request_error",
    413: "invalid_request_error",
    414: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    431: "invalid_request_error",
    421: "invalid_request_error",
    429: "rate_limit_error",
}
_CHALLENGE = "www-authenticate"
_NOT_RETRYABLE = frozenset({400, 401, 403, 404, 405, 413, 414, 415, 421, 431})


def error_body(error: GatewayError, dialect: str | None, request_id: str) -> bytes:
    """The JSON body that tells the caller of `error`."""
    if isinstance(error, IdempotencyKeyRequired):
        return _encode({"error": error.code, "message": error.message})
    limited = error.status == 429 and error.retry_after_s is not None
    if dialect == OPENAI:
        body: dict[str, object] = {
            "error": {
                "message": error.message,
                "type": _type(error),
                "param": error.param,
                "code": error.code,
            }
        }
        if limited:
            body |= {"message": error.message, "retryAfterSeconds": error.retry_after_s}
        return _encode(body)
    if dialect == ANTHROPIC:
        return anthropic_failures.error_body(error, request_id)
    if dialect == GEMINI:
        return gemini_errors.error_body(error)
    if dialect == OLLAMA:
        return ollama_errors.error_body(error)
    if dialect == COHERE:
        return cohere_failures.error_body(error, request_id)
    if limited:
        return _encode(
            {
                "error": HTTPStatus(error.status).phrase,
                "message": error.message,
                "retryAfterSeconds": error.retry_after_s,
            }
        )
    return _encode(
        {
            "error": HTTPStatus(error.status).phrase,
            "message": error.message,
            "code": error.code,
            "request_id": request_id,
        }
    )


def _type(error: GatewayError) -> str:
    if error.code == "insufficient_quota":
        return error.code
    return _OPENAI_TYPES.get(error.status, "server_error")


def error_reply(error: GatewayError, dialect: str | None, request_id: str, extra: bytes = b"") -> Reply:
    """A whole answer that tells the caller of `error`.

    extra: further header lines, each ended by CRLF.
    """
    lines = [
        b"content-type: application/json\r\n",
        b"x-request-id: " + request_id.encode() + b"\r\n",
        b"x-llmgw-code: " + error.code.encode() + b"\r\n",
        b"cache-control: private, no-store\r\n",
        b"vary: authorization\r\n",
    ]
    if error.status in _NOT_RETRYABLE:
        lines.append(b"x-should-retry: false\r\n")
    if error.retry_after_s is not None:
        lines.append(b"retry-after: %d\r\n" % error.retry_after_s)
    if error.status == 401 and _CHALLENGE not in dict(error.headers):
        lines.append(b"www-authenticate: Bearer\r\n")
    lines.extend(f"{name}: {value}\r\n".encode("latin-1") for name, value in error.headers)
    return Reply(error.status, b"".join(lines) + extra, error_body(error, dialect, request_id))


def error_event(error: GatewayError, dialect: str | None, request_id: str) -> bytes:
    """The same inside a stream: an event or a line, with no terminator after it."""
    if dialect == ANTHROPIC:
        return anthropic_failures.error_event(error, request_id)
    if dialect == OLLAMA:
        return ollama_errors.error_line(error)
    if dialect == COHERE:
        return cohere_failures.failed_end(error.message)
    return b"data: " + error_body(error, dialect or OPENAI, request_id) + b"\n\n"


def responses_error_event(error: GatewayError, request_id: str) -> bytes:
    """The same in a stream of OpenAI's responses, which has an event of its own for it.

    Its official SDK raises for the member `error`, other readers look at the type.
    """
    body = msgspec.json.decode(error_body(error, OPENAI, request_id))
    data = {**body["error"], "type": "error", "error": body["error"]}
    return b"event: error\ndata: " + msgspec.json.encode(data) + b"\n\n"
