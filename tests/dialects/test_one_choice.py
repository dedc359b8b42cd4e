"""What is common to the encoders of dialects with one choice."""

from __future__ import annotations

import pytest

from llmgw.core.errors import GatewayError, UpstreamBroken
from llmgw.core.events import (
    TEXT,
    ChatEvent,
    ChoiceEnded,
    Counted,
    Delta,
    Failed,
    Finished,
    PartEnded,
    PartStarted,
    Signed,
    Started,
)
from llmgw.core.usage import Usage
from llmgw.dialects.base import SERVER
from llmgw.dialects.one_choice import OneChoiceEncoder


class Encoder(OneChoiceEncoder):
    def _start(self, event: Started) -> bytes:
        return b"start;"

    def _begin_part(self, event: PartStarted) -> bytes:
        return b"part;"

    def _delta(self, event: Delta) -> bytes:
        return event.text.encode() + b";"

    def _end_part(self, part: int) -> bytes:
        return b"end %d;" % part

    def _finish(self) -> bytes:
        self._ended = True
        return f"{self._stop} {self._usage.output_tokens if self._usage else None};".encode()

    def _break(self, error: GatewayError | Failed) -> bytes:
        self._ended = True
        return error.message.encode()


WHOLE: list[ChatEvent] = [
    Started(),
    PartStarted(0, 0, TEXT),
    Delta(0, 0, "hi"),
    Signed(0, 0, "proof"),
    PartEnded(0, 0),
    ChoiceEnded(0, "length"),
    Counted(Usage(1, 2)),
    Finished(),
]


def test_each_event_is_written_in_its_turn() -> None:
    encoder = Encoder()

    assert b"".join(map(encoder.feed, WHOLE)) == b"start;part;hi;end 0;length 2;"


def test_other_choices_are_passed_over() -> None:
    encoder = Encoder()
    others: list[ChatEvent] = [
        PartStarted(1, 0, TEXT),
        Delta(1, 0, "no"),
        PartEnded(1, 0),
        ChoiceEnded(1, "stop"),
    ]

    assert b"".join(map(encoder.feed, others)) == b""
    assert encoder.feed(Finished()) == b"None None;"


@pytest.mark.parametrize("end", [Finished(), Failed(SERVER, "broke")])
def test_nothing_follows_the_end(end: ChatEvent) -> None:
    encoder = Encoder()
    encoder.feed(end)

    assert b"".join(map(encoder.feed, WHOLE)) == b""
    assert encoder.fail(UpstreamBroken("late", phase="body")) == b""


def test_our_own_error_ends_it_too() -> None:
    encoder = Encoder()

    assert encoder.fail(UpstreamBroken("cut", phase="body")) == b"cut"
    assert encoder.feed(Delta(0, 0, "more")) == b""
