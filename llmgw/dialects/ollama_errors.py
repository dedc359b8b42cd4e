"""Our errors as Ollama's clients are told them: a text and nothing else."""

from __future__ import annotations

import msgspec

from llmgw.core.errors import GatewayError

_encode = msgspec.json.Encoder().encode


def error_body(error: GatewayError) -> bytes:
    """The JSON body that tells a client of `error`. A limit also says when to come back."""
    body: dict[str, object] = {"error": error.message}
    if error.status == 429 and error.retry_after_s is not None:
        body |= {"message": error.message, "retryAfterSeconds": error.retry_after_s}
    return _encode(body)


def error_line(error: GatewayError) -> bytes:
    """The same inside a stream: a line, with nothing after it."""
    return error_body(error) + b"\n"
