"""Client certificates as proxies tell of them, read strictly: what is not exactly that is nothing.

Facts: RFC 9440 section 2 (`Client-Cert`), RFC 8941 section 3.3.5 (byte sequences), Envoy's HTTP
header manipulation (`x-forwarded-client-cert`).
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error

_MAX_BYTES = 16 * 1024
_MAX_ELEMENTS = 32
_SEQUENCE = re.compile(rb":([A-Za-z0-9+/]+={0,2}):")
_PAIR = re.compile(
    rb'([A-Za-z]+)=("(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"|[^",;\\\x00-\x1f\x7f]*)([;,]|$)'
)
_ESCAPED = re.compile(rb'\\(["\\])')
_HASH = re.compile(rb"[0-9a-fA-F]{64}")
_KEYS = frozenset({b"by", b"hash", b"cert", b"chain", b"subject", b"uri", b"dns"})
_REPEATED = frozenset({b"by", b"uri", b"dns"})

Element = dict[bytes, list[bytes]]
"""What one proxy says of its own client: values by key, in lower case."""


class NotTold(ValueError):
    """A proxy's header is not what it should be. The text says why, and holds nothing of it."""


def parse_client_cert(value: bytes) -> bytes:
    """The certificate in `Client-Cert`, as DER. Raises NotTold."""
    found = _SEQUENCE.fullmatch(value) if len(value) <= _MAX_BYTES else None
    if found is None:
        # Two proxies' or two clients' values, joined by a comma, are none either.
        raise NotTold("it is no single byte sequence of RFC 8941")
    try:
        return b64decode(found[1], validate=True)
    except Error as error:
        raise NotTold("it is not in base64") from error


def parse_forwarded_cert(value: bytes) -> Element:
    """What the nearest proxy says in `x-forwarded-client-cert`, which is on the right. Raises NotTold.

    What stands before is of proxies behind it, or of anybody.
    """
    if len(value) > _MAX_BYTES:
        raise NotTold("it is too long")
    elements: list[Element] = [{}]
    at, end = 0, b","
    while end:
        found = _PAIR.match(value, at)
        if found is None:
            raise NotTold("it is no list of KEY=VALUE pairs")
        key, text, end = found[1].lower(), found[2], found[3]
        element = elements[-1]
        if key not in _KEYS:
            raise NotTold("it has a key that is none of Envoy's")
        if key in element and key not in _REPEATED:
            raise NotTold("it says something twice")
        if text.startswith(b'"'):
            text = _ESCAPED.sub(rb"\1", text[1:-1])
        element.setdefault(key, []).append(text)
        at = found.end()
        if end == b",":
            if len(elements) == _MAX_ELEMENTS:
                raise NotTold("it has too many elements")
            elements.append({})
            while value[at : at + 1] in (b" ", b"\t"):
                at += 1
    for element in elements:
        if not _HASH.fullmatch(element.get(b"hash", [b""])[0]):
            raise NotTold("an element has no hash of a certificate")
    return elements[-1]
