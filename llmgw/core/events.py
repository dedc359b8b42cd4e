"""An answer while it is written: events of parts, free of any wire format.

A part of a choice begins, grows and ends; `part` numbers the parts of a choice from 0 in the order
they begin, and none of a choice begins while another of it is open, except tool calls, which some
providers interleave. A stream is `Started` once, then parts, `ChoiceEnded` for each choice,
`Counted` at most a few times (the last one holds), and `Finished` once if the provider said so: a
stream without it was cut.
"""

from __future__ import annotations

from msgspec import Struct

from llmgw.core.usage import Usage

TEXT, THINKING, TOOL_CALL, REFUSED = "text", "thinking", "tool_call", "refusal"
"""Kinds of parts."""


class Started(Struct, frozen=True):
    """id, model: the provider's, "" where it did not say. created_s: UTC seconds."""

    id: str = ""
    model: str = ""
    created_s: int | None = None


class PartStarted(Struct, frozen=True):
    """call_id, name: of a tool call."""

    choice: int
    part: int
    kind: str
    call_id: str | None = None
    name: str | None = None


class Delta(Struct, frozen=True):
    """More of a part: its text, or more of the JSON text of a call's arguments."""

    choice: int
    part: int
    text: str


class Signed(Struct, frozen=True):
    """The signature of a thinking part or a tool call; redacted: thoughts in encrypted form."""

    choice: int
    part: int
    signature: str | None = None
    redacted: str | None = None


class PartEnded(Struct, frozen=True):
    choice: int
    part: int


class ChoiceEnded(Struct, frozen=True):
    """stop: one of `core.chat`'s words."""

    choice: int
    stop: str
    stop_sequence: str | None = None


class Counted(Struct, frozen=True):
    """Usage so far, inclusive as `core.usage` has it."""

    usage: Usage


class Failed(Struct, frozen=True):
    """The provider ended the stream with an error. code: one of `dialects.base`'s classes."""

    code: str
    message: str


class Finished(Struct, frozen=True):
    """The provider said that this was all."""


ChatEvent = Started | PartStarted | Delta | Signed | PartEnded | ChoiceEnded | Counted | Failed | Finished
