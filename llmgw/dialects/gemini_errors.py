"""Gemini's errors, read and written: `{"error": {"code", "message", "status", "details"}}`.

`status` is one of Google's canonical codes (google.rpc.Code) and tells the class; `details` say which key
was bad or which quota was used up (google.rpc.ErrorInfo, QuotaFailure, BadRequest). Proxies in front of
Gemini answer in OpenAI's or Anthropic's shape, whose `code` and `type` are words. A limit of ours
that was exceeded also says `message` and `retryAfterSeconds` beside the error.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from llmgw.core.errors import GatewayError
from llmgw.dialects import base
from llmgw.dialects.base import UpstreamFailure

_encode = msgspec.json.Encoder().encode


class _Violation(Struct, rename="camel"):
    field: object = None
    quota_id: object = None


class _Detail(Struct, rename="camel"):
    reason: object = None
    violations: list[_Violation] | None = None
    field_violations: list[_Violation] | None = None


class _Error(Struct):
    code: object = None
    message: object = None
    status: object = None
    type: object = None
    param: object = None
    details: object = None


class _Body(Struct):
    error: _Error | str | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_bodies = msgspec.json.Decoder(list[_Body]).decode
_decode_error = msgspec.json.Decoder(_Error).decode

_BY_WORD = {
    "invalid_argument": base.INVALID,
    "failed_precondition": base.INVALID,
    "out_of_range": base.INVALID,
    "unimplemented": base.INVALID,
    "unauthenticated": base.AUTH,
    "permission_denied": base.PERMISSION,
    "not_found": base.NOT_FOUND,
    "resource_exhausted": base.RATE_LIMIT,
    "unavailable": base.OVERLOADED,
    "internal": base.SERVER,
    "unknown": base.SERVER,
    "deadline_exceeded": base.SERVER,
    "cancelled": base.SERVER,
    "aborted": base.SERVER,
    "data_loss": base.SERVER,
    # OpenAI's and Anthropic's.
    "invalid_request_error": base.INVALID,
    "authentication_error": base.AUTH,
    "invalid_api_key": base.AUTH,
    "permission_error": base.PERMISSION,
    "not_found_error": base.NOT_FOUND,
    "model_not_found": base.NOT_FOUND,
    "context_length_exceeded": base.CONTEXT_LENGTH,
    "content_filter": base.CONTENT_FILTER,
    "rate_limit_error": base.RATE_LIMIT,
    "rate_limit_exceeded": base.RATE_LIMIT,
    "insufficient_quota": base.QUOTA,
    "overloaded_error": base.OVERLOADED,
    "server_error": base.SERVER,
    "api_error": base.SERVER,
}
_BY_REASON = {
    "API_KEY_INVALID": base.AUTH,
    "API_KEY_EXPIRED": base.AUTH,
    "ACCESS_TOKEN_EXPIRED": base.AUTH,
    "CREDENTIALS_MISSING": base.AUTH,
    "BILLING_DISABLED": base.QUOTA,
}
_BY_STATUS = {
    401: base.AUTH,
    402: base.QUOTA,
    403: base.PERMISSION,
    404: base.NOT_FOUND,
    429: base.RATE_LIMIT,
    503: base.OVERLOADED,
    529: base.OVERLOADED,
}
_CANONICAL = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_STATUSES = {
    base.INVALID: 400,
    base.CONTEXT_LENGTH: 400,
    base.CONTENT_FILTER: 400,
    base.AUTH: 401,
    base.PERMISSION: 403,
    base.NOT_FOUND: 404,
    base.RATE_LIMIT: 429,
    base.QUOTA: 429,
    base.OVERLOADED: 503,
}


def parse_failure(status: int, body: bytes) -> UpstreamFailure:
    """An upstream's error, alone or as the one element of an array. Never raises."""
    try:
        error = _decode_body(body).error if body.lstrip()[:1] != b"[" else _decode_bodies(body)[0].error
    except (msgspec.MsgspecError, UnicodeError, RecursionError, IndexError):
        error = None
    if isinstance(error, str):
        error = _Error(message=error)
    return _failure(status, error or _Error())


def parse_error(error: bytes) -> UpstreamFailure:
    """The `error` of an event in a stream. Never raises."""
    try:
        parsed = _decode_error(error)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        parsed = _Error()
    return _failure(parsed.code if type(parsed.code) is int else 0, parsed)


def _failure(status: int, error: _Error) -> UpstreamFailure:
    details = _details(error.details)
    code = next((_BY_REASON[word] for detail in details if (word := str(detail.reason)) in _BY_REASON), None)
    if code is None:
        words = (error.code, error.status, error.type)
        known = (_BY_WORD.get(word.lower()) for word in words if isinstance(word, str))
        code = next((found for found in known if found is not None), None) or _by_status(status)
    if code == base.RATE_LIMIT and any("PerDay" in str(one.quota_id) for one in _violations(details)):
        # Waiting a little does not help: the day's allowance is used up.
        code = base.QUOTA
    message = error.message if isinstance(error.message, str) and error.message else ""
    return UpstreamFailure(code, message or "the provider gave no reason", status, _param(error, details))


def _by_status(status: int) -> str:
    return _BY_STATUS.get(status) or (base.INVALID if 400 <= status < 500 else base.SERVER)


def _details(details: object) -> list[_Detail]:
    found = []
    for detail in details if isinstance(details, list) else ():
        try:
            found.append(msgspec.convert(detail, _Detail))
        except msgspec.ValidationError:
            # A kind of detail that we do not read.
            continue
    return found


def _violations(details: list[_Detail]) -> list[_Violation]:
    return [one for detail in details for one in detail.violations or ()]


def _param(error: _Error, details: list[_Detail]) -> str | None:
    if isinstance(error.param, str):
        return error.param
    for detail in details:
        for violation in detail.field_violations or ():
            if isinstance(violation.field, str) and violation.field:
                return violation.field
    return None


def error_body(error: GatewayError) -> bytes:
    """The JSON body that tells the caller of `error`."""
    body: dict[str, object] = {"error": _error(error.status, error.message)}
    if error.status == 429 and error.retry_after_s is not None:
        body |= {"message": error.message, "retryAfterSeconds": error.retry_after_s}
    return _encode(body)


def error_element(error: GatewayError) -> bytes:
    """The same as the last element of a stream that is a JSON array, has begun and is never closed."""
    return b",\r\n" + error_body(error) + b"\n"


def failure_body(code: str, message: str) -> bytes:
    """The same for a failure of an upstream, by its class."""
    return _encode({"error": _error(_STATUSES.get(code, 500), message)})


def _error(status: int, message: str) -> dict[str, object]:
    canonical = _CANONICAL.get(status) or ("INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    return {"code": status, "message": message, "status": canonical}
