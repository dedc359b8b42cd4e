"""A kept answer as bytes, for places where others could have changed them.

    lgwc, version (2) | kept at (8) | until (8) | proof (16) | value

The proof is over everything before it, the key, the tenant and the value, and takes the store's secret: what
was cut, changed, put under another key or written by another version is no entry.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b
from struct import Struct as Packing

from llmgw.ports.cache import CacheKey

VERSION = 1
_MAGIC = b"lgwc"
_HEADER = Packing(">4sHdd")
_PROOF = 16
OVERHEAD = _HEADER.size + _PROOF


def sealed(secret: bytes, key: CacheKey, value: bytes, kept_s: float, until_s: float) -> bytes:
    """The entry. kept_s, until_s: when it was kept and until when it holds, by the store's clock."""
    header = _HEADER.pack(_MAGIC, VERSION, kept_s, until_s)
    return header + _proof(secret, key, header, value) + value


def unsealed(secret: bytes, key: CacheKey, entry: bytes) -> tuple[bytes, float, float] | None:
    """Value, kept_s and until_s; None for what is no entry of this key."""
    if len(entry) < OVERHEAD:
        return None
    header, proof, value = entry[: _HEADER.size], entry[_HEADER.size : OVERHEAD], entry[OVERHEAD:]
    magic, version, kept_s, until_s = _HEADER.unpack(header)
    if magic != _MAGIC or version != VERSION:
        return None
    if not hmac.compare_digest(proof, _proof(secret, key, header, value)):
        return None
    return value, kept_s, until_s


def _proof(secret: bytes, key: CacheKey, header: bytes, value: bytes) -> bytes:
    digest = blake2b(header, digest_size=_PROOF, key=secret)
    digest.update(key.digest + key.tenant.encode())
    digest.update(value)
    return digest.digest()
