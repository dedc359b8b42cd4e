"""What is common to the decoders of server-sent events."""

from __future__ import annotations

import pytest

from llmgw.core.events import ChatEvent, Started
from llmgw.dialects.sse_decoder import SseDecoder
from llmgw.wire.sse import event_data


class Decoder(SseDecoder):
    """Each event's data is an id."""

    def _event(self, raw: bytes, out: list[ChatEvent]) -> None:
        data = event_data(raw)
        if data is None:
            return
        out.append(Started(data.decode()))
        if data == b"bad":
            raise ValueError("bad")


def test_events_are_read_wherever_they_are_cut() -> None:
    decoder = Decoder()

    assert decoder.feed(b"data: a\n\nda") == [Started("a")]
    assert decoder.feed(b"ta: b\r\n\r\n") == [Started("b")]
    assert decoder.close() == []


def test_a_last_event_without_its_blank_line_is_read_once() -> None:
    decoder = Decoder()
    decoder.feed(b"data: a")

    assert decoder.close() == [Started("a")]
    assert decoder.close() == []


def test_a_last_event_that_was_cut_within_says_nothing() -> None:
    decoder = Decoder()
    decoder.feed(b"data: bad")

    assert decoder.close() == []


def test_a_whole_event_that_cannot_be_read_is_told() -> None:
    with pytest.raises(ValueError, match="bad"):
        Decoder().feed(b"data: bad\n\n")
