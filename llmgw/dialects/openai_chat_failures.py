"""Errors of upstreams that speak OpenAI's API, whole and inside a stream.

Shapes: OpenAI's `{"error": {"message", "type", "param", "code"}}`; Anthropic's
`{"type": "error", "error": {"type", "message"}}`; vLLM's `{"object": "error", "message", "type",
"code"}`; FastAPI's `{"detail"}`, as Mistral's; `{"error": "text"}`, as Ollama's. OpenRouter and
Gemini put the HTTP status in `code`.

The class follows from code, type and status, never from the words.
"""

from __future__ import annotations

import msgspec

from llmgw.core.events import Failed
from llmgw.dialects.base import (
    AUTH,
    CONTENT_FILTER,
    CONTEXT_LENGTH,
    INVALID,
    NOT_FOUND,
    OVERLOADED,
    PERMISSION,
    QUOTA,
    RATE_LIMIT,
    SERVER,
    UpstreamFailure,
)

_decode = msgspec.json.Decoder().decode

_LONGEST = 2000  # characters of the provider's words that are passed on

_WORDS = {
    "authentication_error": AUTH,
    "invalid_api_key": AUTH,
    "invalid_authentication": AUTH,
    "unauthenticated": AUTH,
    "unauthorized": AUTH,
    "permission_denied": PERMISSION,
    "permission_error": PERMISSION,
    "unsupported_country_region_territory": PERMISSION,
    "deploymentnotfound": NOT_FOUND,
    "model_not_found": NOT_FOUND,
    "not_found": NOT_FOUND,
    "not_found_error": NOT_FOUND,
    "context_length_exceeded": CONTEXT_LENGTH,
    "content_filter": CONTENT_FILTER,
    "content_policy_violation": CONTENT_FILTER,
    "responsibleaipolicyviolation": CONTENT_FILTER,
    "rate_limit_error": RATE_LIMIT,
    "rate_limit_exceeded": RATE_LIMIT,
    "ratelimitreached": RATE_LIMIT,
    "resource_exhausted": RATE_LIMIT,
    "billing_error": QUOTA,
    "billing_hard_limit_reached": QUOTA,
    "insufficient_balance": QUOTA,
    "insufficient_quota": QUOTA,
    "capacity_exceeded": OVERLOADED,
    "engine_overloaded": OVERLOADED,
    "insufficient_system_resource": OVERLOADED,
    "overloaded": OVERLOADED,
    "overloaded_error": OVERLOADED,
    "service_unavailable": OVERLOADED,
    "unavailable": OVERLOADED,
    "api_error": SERVER,
    "internal_error": SERVER,
    "internal_server_error": SERVER,
    "internalservererror": SERVER,
    "server_error": SERVER,
}
"""Codes and types that say more than the status does, in lower case."""

_STATUSES = {
    401: AUTH,
    402: QUOTA,
    403: PERMISSION,
    404: NOT_FOUND,
    408: SERVER,
    429: RATE_LIMIT,
    498: OVERLOADED,  # Groq: flex tier capacity
    503: OVERLOADED,
    529: OVERLOADED,  # Anthropic
}

_SAID = {
    INVALID: ("invalid_request_error", "invalid_request"),
    AUTH: ("authentication_error", "upstream_authentication"),
    PERMISSION: ("permission_error", "permission_denied"),
    NOT_FOUND: ("not_found_error", "not_found"),
    CONTEXT_LENGTH: ("invalid_request_error", "context_length_exceeded"),
    CONTENT_FILTER: ("invalid_request_error", "content_filter"),
    RATE_LIMIT: ("rate_limit_error", "rate_limit_exceeded"),
    QUOTA: ("insufficient_quota", "insufficient_quota"),
    OVERLOADED: ("server_error", "overloaded"),
    SERVER: ("server_error", "server_error"),
}
"""Class to `type` and `code` for a client."""


def parse_failure(status: int, body: bytes) -> UpstreamFailure:
    """An upstream's error. Whatever the body is, never raises."""
    try:
        document = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        document = None
    if isinstance(document, list) and document:
        document = document[0]
    return read_failure(document, status)


def read_failure(document: object, status: int) -> UpstreamFailure:
    """The same from a decoded body or event; status: 0 inside a stream, where only the body tells."""
    outer = document if isinstance(document, dict) else {}
    error = outer.get("error")
    inner = error if isinstance(error, dict) else {} if isinstance(error, str) else outer
    message = inner.get("message")
    if not isinstance(message, str) or not message:
        message = next((text for text in (error, outer.get("message"), outer.get("detail")) if text), None)
    if not isinstance(message, str):
        message = _plain(message) if message is not None else _silent(status)
    code, kind = inner.get("code"), inner.get("type")
    told = code if type(code) is int and 400 <= code <= 599 else status
    if told == 0 and isinstance(code, str) and code.isdecimal() and len(code) == 3:
        told = int(code)
    param = inner.get("param")
    found = _class(code, kind, inner.get("status"), told)
    if found == PERMISSION and _is_flagged(inner.get("metadata")):
        found = CONTENT_FILTER
    return UpstreamFailure(
        found,
        message[:_LONGEST],
        status,
        param if isinstance(param, str) else None,
    )


def failed(document: object) -> Failed:
    """The event for an error inside a stream."""
    failure = read_failure(document, 0)
    return Failed(failure.code, failure.message)


def render_failed(event: Failed) -> dict[str, dict[str, str | None]]:
    """OpenAI's error object for an error inside a stream."""
    kind, code = _SAID.get(event.code, _SAID[SERVER])
    return {"error": {"message": event.message, "type": kind, "param": None, "code": code}}


def _class(code: object, kind: object, name: object, status: int) -> str:
    for word in (code, kind, name):
        if isinstance(word, str):
            found = _WORDS.get(word.lower())
            if found is not None:
                return found
    if status in _STATUSES:
        return _STATUSES[status]
    if 400 <= status < 500 or (status == 0 and kind == "invalid_request_error"):
        return INVALID
    return SERVER


def _is_flagged(metadata: object) -> bool:
    """Whether it was the caller's text that was refused. (OpenRouter, "Errors": moderation, status 403)"""
    return isinstance(metadata, dict) and bool(metadata.get("reasons") or metadata.get("flagged_input"))


def _plain(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _silent(status: int) -> str:
    return f"the provider answered with status {status}" if status else "the provider reported an error"
