"""Writes frames of `application/vnd.amazon.eventstream`, as Bedrock does."""

from __future__ import annotations

import json
import struct
from binascii import crc32

from tests.fakes.upstream import Step, headers

CONTENT_TYPE = "application/vnd.amazon.eventstream"


def text_header(name: str, value: str) -> bytes:
    """A header of type string."""
    return (
        bytes([len(name)]) + name.encode() + b"\x07" + len(value.encode()).to_bytes(2, "big") + value.encode()
    )


def frame(raw_headers: bytes, payload: bytes) -> bytes:
    """A frame with its checksums."""
    prelude = struct.pack(">II", 16 + len(raw_headers) + len(payload), len(raw_headers))
    body = prelude + struct.pack(">I", crc32(prelude)) + raw_headers + payload
    return body + struct.pack(">I", crc32(body))


def event_frame(name: str, members: object) -> bytes:
    """One event of a stream."""
    return frame(
        text_header(":event-type", name)
        + text_header(":content-type", "application/json")
        + text_header(":message-type", "event"),
        json.dumps(members).encode(),
    )


def exception_frame(name: str, message: str) -> bytes:
    """What ends a stream that failed."""
    return frame(
        text_header(":exception-type", name) + text_header(":message-type", "exception"),
        json.dumps({"message": message}).encode(),
    )


def eventstream_head() -> Step:
    """The head of a stream of frames, chunked."""
    return headers(200, {"content-type": CONTENT_TYPE})
