"""Vectors as JSON, in either of the two forms that clients ask for.

A vector is kept as the JSON that it came as, so that numbers keep their digits; it is decoded only
where the client wants the other form. (OpenAI API reference, embeddings, `encoding_format`: base64 is
of little-endian 32-bit floats. Cohere's `base64` is the same.)
"""

from __future__ import annotations

import base64
import binascii
import struct

import msgspec

_numbers = msgspec.json.Decoder(list[float]).decode
_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def checked(vector: bytes) -> bytes:
    """`vector`, which must be a list or a string. Raises ValueError."""
    if vector[:1] not in (b"[", b'"'):
        raise ValueError("an embedding is neither numbers nor base64")
    return vector


def as_numbers(vector: bytes) -> bytes:
    """As a JSON list of numbers. Raises ValueError for base64 that is none."""
    if vector[:1] == b"[":
        return vector
    try:
        data = base64.b64decode(_text(vector), validate=True)
    except (msgspec.MsgspecError, binascii.Error) as error:
        raise ValueError(f"an embedding is not base64: {error}") from None
    if len(data) % 4:
        raise ValueError("an embedding is not of 32-bit floats")
    return _encode(struct.unpack(f"<{len(data) // 4}f", data))


def as_base64(vector: bytes) -> bytes:
    """As a JSON string of base64. Raises ValueError for what are no 32-bit floats."""
    if vector[:1] == b'"':
        return vector
    try:
        values = _numbers(vector)
        return _encode(base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode())
    except (msgspec.MsgspecError, OverflowError, struct.error) as error:
        raise ValueError(f"an embedding is not of 32-bit floats: {error}") from None
