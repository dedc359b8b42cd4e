"""Header fields between their three forms here: pairs, a dictionary, and lines ready to send."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

_NUMBER = re.compile(rb"\d{1,9}(\.\d{1,9})?")


def fields_of(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """By name; a repeated one is a list, as RFC 9110 section 5.3 reads it. Names come in lower case."""
    fields: dict[bytes, bytes] = {}
    for name, value in pairs:
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields


def pairs_of(head: bytes) -> list[tuple[bytes, bytes]]:
    """From lines of `name: value`, each ended by CRLF."""
    return [
        (name, value)
        for name, colon, value in (line.partition(b": ") for line in head.split(b"\r\n"))
        if colon
    ]


def wait_s(fields: Iterable[tuple[bytes, bytes]]) -> float | None:
    """How long a refusal asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date.

    RFC 9110 section 10.2.3; the first is OpenAI's. None where neither is there or readable.
    """
    found: float | None = None
    for name, value in fields:
        if name == b"retry-after-ms" and _NUMBER.fullmatch(value):
            return float(value) / 1000
        if name == b"retry-after":
            found = float(value) if _NUMBER.fullmatch(value) else _until(value)
    return found


def _until(date: bytes) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date.decode("latin-1")).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
