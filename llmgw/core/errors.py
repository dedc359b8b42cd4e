"""Every error the gateway can answer with. First branch: whose fault.

GatewayError
├── ClientError            the caller can mend it; never retried, never counted by a breaker
│   ├── InvalidRequest       400 invalid_request
│   ├── UnsupportedOperation 400 unsupported_operation
│   ├── InvalidCredentials   401 invalid_credentials
│   ├── PermissionDenied     403 permission_denied
│   ├── NotFound             404 not_found
│   ├── ModelNotFound        404 model_not_found
│   ├── MethodNotAllowed     405 method_not_allowed
│   ├── RequestTimeout       408 request_timeout
│   ├── RequestTooLarge      413 request_too_large
│   ├── UriTooLong           414 uri_too_long
│   ├── UnsupportedEncoding  415 unsupported_encoding
│   ├── HeadersTooLarge      431 headers_too_large
│   ├── IdempotencyKey...     400 idempotency_key_required, idempotency_key_invalid
│   │                         409 idempotency_key_in_use, idempotency_result_unavailable
│   │                         422 idempotency_key_reused
│   └── Misdirected          421 misdirected_request
├── LimitExceeded          429, with the seconds to wait
├── UpstreamError          the provider's fault; another target may do better
│   ├── UpstreamUnreachable  502 upstream_error
│   ├── UpstreamBroken       502 upstream_error       reset, closed or cut
│   ├── UpstreamMalformed    502 upstream_malformed   bytes that are not what was promised
│   ├── UpstreamOverloaded   503 overloaded           our pool for it is full
│   ├── UpstreamLimited      429 upstream_rate_limited, upstream_quota_exceeded
│   ├── UpstreamTimeout      504 upstream_timeout
│   ├── NoCredential         503 upstream_credential_unavailable
│   └── UpstreamRefused      its own status and body, as they came
├── NoTarget               503 upstream_unavailable
├── Unavailable            503 store_unavailable, issuer_unavailable, draining, overloaded
├── Fault                  500 internal_error, ours
│   └── RedactionFailed      500 redaction_failed
└── ClientGone             499, in the log only: nobody is left to answer

`message` is for the caller: lower case, what happened, to what, no secret, no upstream URL.
`detail` is for the log.
"""

from __future__ import annotations


class GatewayError(Exception):
    """An error with a stable `code` and the HTTP status it is answered with."""

    status = 500
    code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        detail: str | None = None,
        retry_after_s: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.headers = headers
        if code is not None:
            self.code = code


class ClientError(GatewayError):
    status = 400
    code = "invalid_request"


class InvalidRequest(ClientError):
    pass


class UnsupportedOperation(ClientError):
    code = "unsupported_operation"


class InvalidCredentials(ClientError):
    status = 401
    code = "invalid_credentials"


class PermissionDenied(ClientError):
    status = 403
    code = "permission_denied"


class NotFound(ClientError):
    status = 404
    code = "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class MethodNotAllowed(ClientError):
    status = 405
    code = "method_not_allowed"


class RequestTimeout(ClientError):
    status = 408
    code = "request_timeout"


class RequestTooLarge(ClientError):
    status = 413
    code = "request_too_large"


class UriTooLong(ClientError):
    status = 414
    code = "uri_too_long"


class HeadersTooLarge(ClientError):
    status = 431
    code = "headers_too_large"


class UnsupportedEncoding(ClientError):
    status = 415
    code = "unsupported_encoding"


class Misdirected(ClientError):
    status = 421
    code = "misdirected_request"


_NOT_AGAIN = (("x-should-retry", "false"),)


class IdempotencyKeyRequired(ClientError):
    """Its body has one shape in every dialect."""

    code = "idempotency_key_required"

    def __init__(self) -> None:
        super().__init__(
            "Header 'Idempotency-Key' is required for POST requests",
            headers=(
                (
                    "link",
                    "<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>; "
                    'rel="describedby"',
                ),
            ),
        )


class IdempotencyKeyInvalid(ClientError):
    code = "idempotency_key_invalid"


class IdempotencyKeyInUse(ClientError):
    status = 409
    code = "idempotency_key_in_use"

    def __init__(self) -> None:
        super().__init__(
            "a request with this idempotency key is under way. Please retry shortly.",
            retry_after_s=1,
            headers=(("x-should-retry", "true"),),
        )


class IdempotencyKeyReused(ClientError):
    status = 422
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            "this idempotency key was used for another request; send a new key with this one",
            headers=_NOT_AGAIN,
        )


class IdempotencyResultUnavailable(ClientError):
    status = 409
    code = "idempotency_result_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "the request with this idempotency key was answered, but its answer is too long to be kept; "
            "send a new key to ask again",
            headers=_NOT_AGAIN,
        )


class LimitExceeded(GatewayError):
    status = 429
    code = "rate_limit_exceeded"


class UpstreamError(GatewayError):
    """The provider failed.

    phase: where ("connect", "send", "first byte", "body").
    """

    status = 502
    code = "upstream_error"

    def __init__(self, message: str, *, phase: str = "", detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.phase = phase


class UpstreamUnreachable(UpstreamError):
    pass


class UpstreamBroken(UpstreamError):
    pass


class UpstreamMalformed(UpstreamError):
    code = "upstream_malformed"


class UpstreamOverloaded(UpstreamError):
    status = 503
    code = "overloaded"


class UpstreamLimited(UpstreamError):
    """The provider's own limits, not ours: what we counted stays counted."""

    status = 429
    code = "upstream_rate_limited"


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"


class NoTarget(GatewayError):
    status = 503
    code = "upstream_unavailable"


class Unavailable(GatewayError):
    status = 503
    code = "store_unavailable"


class Fault(GatewayError):
    pass


class RedactionFailed(Fault):
    """Neither sent nor passed on as it was."""

    code = "redaction_failed"


class ClientGone(GatewayError):
    status = 499
    code = "client_closed_request"
