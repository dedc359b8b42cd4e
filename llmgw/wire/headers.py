"""Header fields between their three forms here: pairs, a dictionary, and lines ready to send."""

from __future__ import annotations

from collections.abc import Iterable


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
