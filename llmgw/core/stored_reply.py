"""A whole answer as its client saw it, kept to be given again.

Its bytes begin with a magic, a version and the CRC-32 of the rest, a MessagePack array. What is
damaged, or another version's, is as good as nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct as Packing
from zlib import crc32

from msgspec import DecodeError, Struct, ValidationError
from msgspec.msgpack import Decoder, Encoder

from llmgw.core.reply import Reply

REPLAY, CACHE = "replay", "cache"
"""Outcomes of requests that were answered with a stored reply."""
FREE_OUTCOMES = (REPLAY, CACHE)
"""No provider was asked, so that nothing is charged."""

_MAGIC = b"LR"
_VERSION = 1
_HEADER = Packing("<2sBI")
_KEPT = frozenset(
    {
        b"cache-control",
        b"content-type",
        b"vary",
        b"x-llmgw-code",
        b"x-llmgw-dropped",
        b"x-llmgw-model",
        b"x-llmgw-provider",
        b"x-should-retry",
    }
)
"""Header lines that are the answer's own; the others are about the request that got it."""


class StoredReply(Struct, frozen=True, array_like=True, gc=False):
    """head: header lines, each ended by CRLF. body: without framing; of a stream, all of it.

    streamed: it went out as a stream. provider, model: the target that gave it.
    input_tokens, output_tokens: what it came to, 0 where that was not known.
    """

    status: int
    head: bytes
    body: bytes
    streamed: bool
    provider: str
    model: str
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Replay(Reply):
    """A stored reply as the answer to a request.

    head: lines that say so, beside the stored ones. outcome: of `FREE_OUTCOMES`.
    """

    stored: StoredReply
    outcome: str


def again(stored: StoredReply, outcome: str, head: bytes) -> Replay:
    """For a policy to answer with."""
    return Replay(stored.status, head, stored.body, stored, outcome)


_encode = Encoder().encode
_decode = Decoder(StoredReply).decode


def to_bytes(reply: StoredReply) -> bytes:
    """What `from_bytes` reads."""
    payload = _encode(reply)
    return _HEADER.pack(_MAGIC, _VERSION, crc32(payload)) + payload


def from_bytes(data: bytes) -> StoredReply | None:
    """The reply; None when the bytes are damaged or of another version."""
    if len(data) < _HEADER.size:
        return None
    magic, version, check = _HEADER.unpack_from(data)
    payload = memoryview(data)[_HEADER.size :]
    if magic != _MAGIC or version != _VERSION or crc32(payload) != check:
        return None
    try:
        return _decode(payload)
    except (DecodeError, ValidationError):
        return None


def kept_lines(head: bytes) -> bytes:
    """The header lines that are worth giving again."""
    return b"".join(
        line + b"\r\n" for line in head.split(b"\r\n") if line.partition(b":")[0].lower() in _KEPT
    )
