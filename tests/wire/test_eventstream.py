"""Frames of Amazon's event streams: whole, cut, broken."""

from __future__ import annotations

import random
import struct
from binascii import crc32

import pytest

from llmgw.wire.eventstream import MAX_FRAME, Frame, FrameSplitter
from tests.fakes.eventstream import event_frame, frame, text_header

FRAMES = [event_frame("messageStart", {"role": "assistant"}), event_frame("messageStop", {"é": ":"})]


def test_frames_are_read_with_their_headers() -> None:
    found = FrameSplitter().feed(b"".join(FRAMES))

    assert [one.headers[":event-type"] for one in found] == ["messageStart", "messageStop"]
    assert found[0].headers[":message-type"] == "event"
    assert found[0].payload == b'{"role": "assistant"}'


def test_where_the_network_cuts_does_not_matter() -> None:
    body = b"".join(FRAMES)
    whole = FrameSplitter().feed(body)
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    for size in (1, 2, 11, rng.randrange(3, 40)):
        splitter = FrameSplitter()
        found: list[Frame] = []
        for at in range(0, len(body), size):
            found += splitter.feed(body[at : at + size])
        assert found == whole, (seed, size)
        assert not splitter.pending


def test_headers_of_every_type_are_passed_over() -> None:
    """Only those that are text are kept."""
    values = {0: b"", 1: b"", 2: b"a", 3: b"ab", 4: b"abcd", 5: b"a" * 8, 8: b"a" * 8, 9: b"a" * 16}
    raw = b"".join(b"\x01x" + bytes([kind]) + value for kind, value in values.items())
    raw += b"\x01y\x06\x00\x03abc" + text_header("z", "last")

    assert FrameSplitter().feed(frame(raw, b"{}")) == [Frame({"z": "last"}, b"{}")]


def test_a_frame_without_headers_and_payload() -> None:
    assert FrameSplitter().feed(frame(b"", b"")) == [Frame({}, b"")]


@pytest.mark.parametrize("at", range(len(FRAMES[0])))
def test_a_byte_that_is_wrong_is_found(at: int) -> None:
    """Whichever it is: each is under one of the two checksums."""
    broken = bytearray(FRAMES[0])
    broken[at] ^= 0x10

    with pytest.raises(ValueError, match="checksum"):
        FrameSplitter().feed(bytes(broken))


def test_a_frame_that_is_too_long_is_refused_before_it_is_gathered() -> None:
    prelude = struct.pack(">II", MAX_FRAME + 1, 0)

    with pytest.raises(ValueError, match="longer than"):
        FrameSplitter().feed(prelude + struct.pack(">I", crc32(prelude)))


@pytest.mark.parametrize(("size", "headers_size"), [(15, 0), (0, 0), (20, 5), (100, 2**32 - 1)])
def test_lengths_that_cannot_be(size: int, headers_size: int) -> None:
    prelude = struct.pack(">II", size, headers_size)

    with pytest.raises(ValueError, match="shorter than its headers"):
        FrameSplitter().feed(prelude + struct.pack(">I", crc32(prelude)))


@pytest.mark.parametrize(
    "raw",
    [
        b"\x05ab",
        b"\x01a",
        b"\x01a\x63",
        b"\x01a\x07\x00",
        b"\x01a\x07\x00\x09ab",
        b"\x01\xff\x00",
        b"\x01a\x05ab",
    ],
)
def test_headers_that_cannot_be_read(raw: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        FrameSplitter().feed(frame(raw, b"{}"))
