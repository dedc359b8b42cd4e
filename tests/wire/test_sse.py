"""The splitter cuts where events end, and nowhere else, however the bytes arrive."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.wire.sse import MAX_PENDING, SseSplitter, event_data, event_name, render_event

STREAM = [
    b": a comment\n\n",
    b'data: {"a":1}\n\n',
    b"event: ping\r\ndata: x\r\n\r\n",
    b"data: one\rdata: two\r\r",
    b"\n",
    b"retry: 10\nid: 7\ndata:first\r\ndata\rdata: third\n\r\n",
    b"\r\n",
    b"data: \xff\xfe not text\n\n",
    b"data: mixed\r\n\n",
    b"data: [DONE]\n\n",
]

chunks = st.lists(st.text("\r\n:d a", max_size=12).map(str.encode), max_size=12)


def split(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = SseSplitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return events, bytes(splitter.pending)


def test_whole() -> None:
    """Fed at once, every event comes out with its own end."""
    assert split([b"".join(STREAM)]) == (STREAM, b"")


def test_byte_by_byte() -> None:
    """Fed one byte at a time, the events are the same."""
    assert split([bytes([byte]) for byte in b"".join(STREAM)]) == (STREAM, b"")


@pytest.mark.parametrize("seed", range(50))
def test_cut_at_random(seed: int) -> None:
    """Cut anywhere, the events are the same."""
    print(f"seed {seed}")
    dice = random.Random(seed)
    whole = b"".join(STREAM)
    cuts = sorted(dice.sample(range(1, len(whole)), dice.randint(1, 20)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert split(pieces) == (STREAM, b"")


def test_k01_every_offset_and_line_end() -> None:
    """Cut in two at every offset, with each line end, a stream passes byte for byte and is read alike."""
    for end in (b"\n", b"\r\n", b"\r"):
        lines = (
            b": hello",
            b"",
            b"event: e",
            b"data: a",
            b"data:  b",
            b"",
            b"data: [DONE]",
            b"",
            b"retry: 1",
        )
        whole = end.join(lines) + end
        for cut in range(len(whole) + 1):
            events, rest = split([whole[:cut], whole[cut:]])

            assert b"".join(events) + rest == whole
            assert [event_data(event) for event in events] == [None, b"a\n b", b"[DONE]"]
            assert event_name(events[1]) == b"e"


@given(chunks)
def test_k01_any_chunks(pieces: list[bytes]) -> None:
    """Nothing is lost or added, and the cuts do not depend on the chunks."""
    events, rest = split(pieces)
    whole = b"".join(pieces)

    assert b"".join(events) + rest == whole
    assert split([whole]) == (events, rest)
    assert split([bytes([byte]) for byte in whole]) == (events, rest)


@given(chunks)
def test_k01_data_is_what_a_line_reader_finds(pieces: list[bytes]) -> None:
    """The data of the events is what the standard's line by line algorithm gives."""
    whole = b"".join(pieces)
    events, _ = split([whole])
    expected = []
    data: list[bytes] = []
    for line in b"".join(events).splitlines():
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif not line and data:
            expected.append(b"\n".join(data))
            data = []

    assert [found for event in events if (found := event_data(event)) is not None] == expected
    assert not data


def test_usual_chunk_is_not_copied() -> None:
    """One event in one chunk comes back as the very object."""
    chunk = b'data: {"choices":[]}\n\n'

    assert SseSplitter().feed(chunk)[0] is chunk


def test_pending_shows_the_unfinished_event() -> None:
    """What has not ended is held, and visible."""
    splitter = SseSplitter()

    assert splitter.feed(b"data: a\n\ndata: b\n") == [b"data: a\n\n"]
    assert splitter.pending == b"data: b\n"
    assert splitter.feed(b"\n") == [b"data: b\n\n"]
    assert not splitter.pending


def test_carriage_return_at_the_end_waits() -> None:
    """A CR may be half of a CRLF; the second of two CRs may not."""
    splitter = SseSplitter()

    assert splitter.feed(b"data: a\r\n\r") == []
    assert splitter.feed(b"\n") == [b"data: a\r\n\r\n"]
    assert splitter.feed(b"data: b\r\r") == [b"data: b\r\r"]


def test_endless_event_is_refused() -> None:
    """An event without an end does not fill the memory."""
    splitter = SseSplitter()
    splitter.feed(b"data: " + b"x" * (MAX_PENDING - 6))

    with pytest.raises(ValueError, match="longer than 1048576 bytes"):
        splitter.feed(b"x")


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"data:\n\n", b""),
        (b"data\n\n", b""),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data: a\rdata: b\r\n\r\n", b"a\nb"),
        (b"data: a\rb\n\n", b"a"),
        (b"\xef\xbb\xbfdata: x\n\n", b"x"),
        (b"database: x\n\n", None),
        (b": data: x\n\n", None),
        (b"\n", None),
        (b"", None),
    ],
)
def test_event_data(raw: bytes, data: bytes | None) -> None:
    """Data lines are joined and lose one leading space; other lines say nothing."""
    assert event_data(raw) == data


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"event: a\nevent: b\ndata: x\n\n", b"b"),
        (b"event:\ndata: x\n\n", None),
        (b"data: event: x\n\n", None),
    ],
)
def test_event_name(raw: bytes, name: bytes | None) -> None:
    """The last name counts; an empty one is none."""
    assert event_name(raw) == name


@given(st.binary(max_size=40), st.none() | st.just(b"error"))
def test_k05_rendered_is_one_event(data: bytes, name: bytes | None) -> None:
    """Whatever the data, exactly one event comes out, with that data and that name."""
    rendered = render_event(data, name)

    assert split([rendered]) == ([rendered], b"")
    assert event_data(rendered) == data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert event_name(rendered) == name


@pytest.mark.parametrize("name", [b"a\nb", b"a\rdata: x", b"\r\n"])
def test_k05_line_end_in_a_name_is_refused(name: bytes) -> None:
    """A name cannot smuggle a line in."""
    with pytest.raises(ValueError, match="line end"):
        render_event(b"x", name)
