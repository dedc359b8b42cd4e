"""Amazon's event streams (`application/vnd.amazon.eventstream`) as bytes: frames found and read.

A frame (AWS SDK reference, "Event stream encoding"), numbers big-endian: its whole length and the length
of its headers, 4 bytes each; the CRC-32 of those 8; headers; payload; the CRC-32 of all before it. A
header is its name behind a length of 1 byte, a type of 1 byte and a value.
"""

from __future__ import annotations

from binascii import crc32
from struct import Struct as Layout

from msgspec import Struct

MAX_FRAME = 1024 * 1024
"""Bytes of a whole frame. Amazon allows 16 MiB; answers come in pieces of a few words."""

_PRELUDE = Layout(">III")
_CRC = Layout(">I")
_LEAST = _PRELUDE.size + _CRC.size
_LENGTH = 2  # bytes before a value of variable length

_BYTES, _TEXT = 6, 7
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a value by the type of its header: true, false, integers, a time, a UUID."""


class Frame(Struct, frozen=True):
    """headers: those that are text."""

    headers: dict[str, str]
    payload: bytes


class FrameSplitter:
    """Cuts a byte stream into frames.

    pending: the bytes of the frame that has not ended yet; empty between frames.
    """

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending = bytearray()

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that `chunk` completes.

        Raises ValueError for a checksum that is wrong and a frame that cannot be or is longer than
        `MAX_FRAME`; the stream cannot be followed after that.
        """
        pending = self.pending
        pending += chunk
        frames = []
        at = 0
        while len(pending) - at >= _PRELUDE.size:
            size, headers_size, checksum = _PRELUDE.unpack_from(pending, at)
            if crc32(pending[at : at + 8]) != checksum:
                raise ValueError("the checksum of a frame's prelude is wrong")
            if size > MAX_FRAME:
                raise ValueError(f"a frame is longer than {MAX_FRAME} bytes")
            if size < _LEAST + headers_size:
                raise ValueError("a frame is shorter than its headers")
            if len(pending) - at < size:
                break
            frames.append(_frame(bytes(pending[at : at + size]), headers_size))
            at += size
        del pending[:at]
        return frames


def _frame(raw: bytes, headers_size: int) -> Frame:
    end = len(raw) - _CRC.size
    if (crc32(raw[:end]),) != _CRC.unpack_from(raw, end):
        raise ValueError("the checksum of a frame is wrong")
    begin = _PRELUDE.size + headers_size
    return Frame(_headers(raw[_PRELUDE.size : begin]), raw[begin:end])


def _headers(raw: bytes) -> dict[str, str]:
    headers = {}
    at = 0
    try:
        while at < len(raw):
            begin = at + 1 + raw[at]
            name = raw[at + 1 : begin].decode()
            kind = raw[begin]
            value = begin + 1
            if kind in (_BYTES, _TEXT):
                value += _LENGTH
                at = value + int.from_bytes(raw[value - _LENGTH : value], "big")
                if kind == _TEXT:
                    headers[name] = raw[value:at].decode()
            else:
                at = value + _SIZES[kind]
    except (IndexError, KeyError, UnicodeDecodeError):
        raise ValueError("the headers of a frame cannot be read") from None
    if at != len(raw):
        raise ValueError("a header of a frame is longer than its headers")
    return headers
