"""One hostile or odd request, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass

HOST = b"Host: gateway.test"
FIELDS = (b"Authorization: Bearer sk-test", b"Content-Type: application/json")
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
LINE = b"POST /v1/chat/completions HTTP/1.1"
OTHER_LINE = b"POST /v1/chat/completions?by=asgi HTTP/1.1"
"""Not in the table of hot paths, so it goes by the app."""
CHUNKED = b"Transfer-Encoding: chunked"
BAD = ((400, "invalid_request"),)
GOOD = ((200, None),)


@dataclass(frozen=True, slots=True)
class Case:
    """pieces: what is sent, each in a packet of its own.

    answers: status and code of each answer, in order; none where the connection is just closed,
    and "cut" where one is waited for.
    upstream: how many requests reach the provider. closes: whether the connection ends by that.
    leaves: whether the client then ends its side without reading.
    """

    name: str
    pieces: tuple[bytes, ...]
    answers: tuple[tuple[int, str | None] | str, ...] = BAD
    upstream: int = 0
    closes: bool = True
    leaves: bool = False


def post(
    *fields: bytes,
    line: bytes = LINE,
    host: bytes | None = HOST,
    body: bytes = BODY,
    length: bool = True,
    end: bytes = b"\r\n",
) -> bytes:
    """A request that would be answered, were it not for what a case changes."""
    lines = [line, *(() if host is None else (host,)), *FIELDS, *fields]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return end.join([*lines, b"", b""]) + body


def chunked(body: bytes, *fields: bytes, line: bytes = LINE) -> bytes:
    """A request whose body is framed as `body` says."""
    return post(CHUNKED, *fields, line=line, body=body, length=False)


def fine(name: str, *pieces: bytes, closes: bool = False) -> Case:
    """What looks odd and is right."""
    return Case(name, pieces, GOOD, upstream=1, closes=closes)


def refused(name: str, *pieces: bytes, status: int = 400, code: str | None = "invalid_request") -> Case:
    """What is answered with an error, whereupon the connection ends."""
    return Case(name, pieces, ((status, code),))


def answered(name: str, *pieces: bytes, status: int, code: str | None) -> Case:
    """What is answered with an error and leaves the connection in order."""
    return Case(name, pieces, ((status, code),), closes=False)
