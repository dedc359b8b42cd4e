"""How a journal's entries lie in a file, and how they are read back.

A frame is eight bytes of header and a payload: two magic bytes (the first, 0xc1, is the one
byte MessagePack never uses), the payload's length, its CRC-32, then the entry as a tagged
MessagePack array. A reader that meets a damaged frame looks for the next magic, so one bad
sector costs the entries in it and no others.

A file ends in the middle of a frame when its writer died during a `write`; such a tail is not
damage while nothing readable follows it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeVar
from zlib import crc32

from msgspec import DecodeError, Struct
from msgspec.msgpack import Decoder, Encoder
from msgspec.structs import replace

from llmgw.core.record import Opened, Progress, Settled

MAGIC = b"\xc1J"
HEADER = struct.Struct("<2sHI")
LONGEST_FRAME = HEADER.size + 0xFFFF
LARGEST_INTEGER = 2**63 - 1
_LONGEST_TEXT = 1000

CHUNK_BYTES = 128 * 1024

_pack = HEADER.pack
_unpack = HEADER.unpack_from
_encode = Encoder().encode
AnyEntry = TypeVar("AnyEntry", bound=Struct)


class Seal(Struct, frozen=True, array_like=True, gc=False, tag=4):
    """The last frame of a finished segment.

    carried: what was still open stands at the start of the writer's next segment.
    clean: no write to this segment ever failed, so nothing read from it was taken back.
    """

    carried: bool
    clean: bool


JournalEntry = Opened | Progress | Settled | Seal
_decode = Decoder(JournalEntry).decode


class State(Enum):
    """How a segment ends."""

    SEALED = "sealed"
    OPEN = "open"
    TORN = "torn"


def frame(entry: Struct) -> bytes:
    """The entry's bytes. Never raises for what a client or an upstream can put into it."""
    try:
        payload = _encode(entry)
        return _pack(MAGIC, len(payload), crc32(payload)) + payload
    except (ValueError, OverflowError, struct.error):
        payload = _encode(tamed(entry))
        return _pack(MAGIC, len(payload), crc32(payload)) + payload


def tamed(entry: AnyEntry) -> AnyEntry:
    """The entry with texts cut and made encodable, and integers cut to 64 bits."""
    changes: dict[str, str | int] = {}
    for name in entry.__struct_fields__:
        value = getattr(entry, name)
        if isinstance(value, str):
            changes[name] = value[:_LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")
        elif isinstance(value, int) and not isinstance(value, bool):
            changes[name] = max(-LARGEST_INTEGER, min(LARGEST_INTEGER, value))
    return replace(entry, **changes)


def split(data: bytes, *, final: bool) -> tuple[list[bytes], int, int]:
    """The payloads in some bytes that begin at a frame: payloads, bytes used, damaged places.

    final: no more bytes will come, so a frame that ends beyond them is damage when good frames
        follow, and a torn tail when none do.
    """
    payloads: list[bytes] = []
    at = damaged = 0
    end = len(data)
    size = HEADER.size
    while end - at >= size:
        magic, length, check = _unpack(data, at)
        stop = at + size + length
        if magic == MAGIC:
            if stop <= end:
                payload = data[at + size : stop]
                if crc32(payload) == check:
                    payloads.append(payload)
                    at = stop
                    continue
            elif not final:
                break
        following = _next_frame(data, at + 1)
        if following is None:
            break
        damaged += 1
        at = following
    return payloads, at, damaged


def _next_frame(data: bytes, at: int) -> int | None:
    """Where the next whole frame begins."""
    at = data.find(MAGIC, at)
    while at >= 0 and len(data) - at >= HEADER.size:
        _, length, check = _unpack(data, at)
        payload = data[at + HEADER.size : at + HEADER.size + length]
        if len(payload) == length and crc32(payload) == check:
            return at
        at = data.find(MAGIC, at + 1)
    return None


@dataclass(frozen=True, slots=True)
class Segment:
    """What one reading of a segment found.

    next_offset: where to read on.
    damaged: places that were skipped over.
    """

    entries: list[JournalEntry]
    next_offset: int
    state: State
    damaged: int


def read_segment(path: Path, offset: int = 0) -> Segment:
    """Every entry from `offset` on, which must be where a frame begins. Never raises for its bytes."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    payloads, used, damaged = split(data, final=True)
    entries: list[JournalEntry] = []
    for payload in payloads:
        try:
            entries.append(_decode(payload))
        except DecodeError:
            damaged += 1
    sealed = bool(entries) and isinstance(entries[-1], Seal)
    torn = State.TORN if used < len(data) else State.OPEN
    return Segment(entries, offset + used, State.SEALED if sealed else torn, damaged)
