"""When certificate revocation lists end, which Python's `ssl` does not tell.

Facts: RFC 5280 sections 5.1 (the list) and 5.1.2.5 (`nextUpdate`), RFC 7468 section 7 (PEM).
"""

from __future__ import annotations

import math
import re
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime

_PEM = re.compile(rb"-----BEGIN X509 CRL-----(.+?)-----END X509 CRL-----", re.DOTALL)
_INTEGER, _UTC_TIME, _TIME = 0x02, 0x17, 0x18
_CENTURY_TURNS = b"50"
"""Years of two digits from here on are of the last century. (RFC 5280, 4.1.2.5.1)"""


def ends_of_lists(pem: bytes) -> dict[bytes, float]:
    """Until when there is a list of each issuer, in seconds UTC; infinite where it does not say.

    By the issuer's name in DER. What cannot be read is left out.
    """
    ends: dict[bytes, float] = {}
    for found in _PEM.finditer(pem):
        try:
            issuer, end = _read(b64decode(found[1]))
        except (ValueError, IndexError, StopIteration):
            continue
        ends[issuer] = max(end, ends.get(issuer, -math.inf))
    return ends


def _read(der: bytes) -> tuple[bytes, float]:
    _, whole = next(_values(der))
    _, signed = next(_values(whole))
    values = _values(signed)
    tag, value = next(values)
    if tag == _INTEGER:
        tag, value = next(values)
    _, issuer = next(values)
    begins, _ = next(values)
    if begins not in (_UTC_TIME, _TIME):
        raise ValueError("it is no revocation list")
    tag, value = next(values, (0, b""))
    return issuer, _moment(tag, value) if tag in (_UTC_TIME, _TIME) else math.inf


def _values(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each value, one behind another."""
    at = 0
    while at < len(der):
        tag, size, begin = der[at], der[at + 1], at + 2
        if size & 0x80:
            begin += size & 0x7F
            size = int.from_bytes(der[at + 2 : begin], "big")
        at = begin + size
        if at > len(der):
            raise ValueError("a value is longer than what it is in")
        yield tag, der[begin:at]


def _moment(tag: int, text: bytes) -> float:
    if tag == _UTC_TIME:
        text = (b"19" if text[:2] >= _CENTURY_TURNS else b"20") + text
    return datetime.strptime(text.decode(), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
