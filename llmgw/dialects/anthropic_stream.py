"""The stream of an upstream that speaks the messages API, read into events.

Facts (Anthropic API reference, "Streaming messages"): events are named, and say their name again as
`type`; blocks come one after another, each with an index, a start, deltas and a stop; `message_delta` has
the reason to end and the usage so far; `message_stop` ends the stream; `ping` and `error` come anywhere.

Other services that speak it leave out `message_start`, the start or the stop of a block, its index or
its id, give a call's whole input in the start of its block, end with `[DONE]`, or put errors in OpenAI's
shape. A second message in the same stream is two answers spliced, of which neither can be trusted.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from llmgw.core.chat import STOP, TOOL_CALLS
from llmgw.core.events import (
    TEXT,
    THINKING,
    TOOL_CALL,
    ChatEvent,
    ChoiceEnded,
    Counted,
    Delta,
    Finished,
    PartEnded,
    PartStarted,
    Signed,
    Started,
)
from llmgw.dialects.anthropic_answer import WireBlock, made_call_id, parse_stop
from llmgw.dialects.anthropic_usage import UsageCount, WireUsage
from llmgw.dialects.openai_chat_failures import failed
from llmgw.dialects.sse_decoder import SseDecoder
from llmgw.wire.sse import event_data, event_name


class _Message(Struct):
    id: str | None = None
    model: str | None = None
    usage: WireUsage | None = None


class _Delta(Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Event(Struct):
    type: str | None = None
    index: int | None = None
    message: _Message | str | None = None
    content_block: WireBlock | None = None
    delta: _Delta | None = None
    usage: WireUsage | None = None
    error: Raw = Raw()


class _Type(Struct):
    type: object = None


_decode = msgspec.json.Decoder(_Event).decode
_decode_type = msgspec.json.Decoder(_Type).decode
_decode_any = msgspec.json.Decoder().decode

_KINDS = {"text": TEXT, "thinking": THINKING, "redacted_thinking": THINKING, "tool_use": TOOL_CALL}
_KINDS_OF_DELTAS = {
    "text_delta": TEXT,
    "thinking_delta": THINKING,
    "signature_delta": THINKING,
    "input_json_delta": TOOL_CALL,
}
_OF_EMPTY_INPUT = frozenset({"", "{}"})


class _Block:
    """A block: the part that it is, or None for what is no part of ours; whether that is still open."""

    __slots__ = ("kind", "open", "part")

    def __init__(self, kind: str | None, part: int) -> None:
        self.kind = kind
        self.part = part
        self.open = kind is not None


class Decoder(SseDecoder):
    """Implements `dialects.base.StreamDecoder`."""

    __slots__ = (
        "_blocks",
        "_called",
        "_count",
        "_done",
        "_ended",
        "_failed",
        "_last",
        "_open",
        "_parts",
        "_started",
    )

    def __init__(self) -> None:
        super().__init__()
        self._count = UsageCount()
        self._blocks: dict[int, _Block] = {}
        self._open: list[_Block] = []
        self._last: _Block | None = None
        self._parts = 0
        self._started = False
        self._called = False
        self._ended = False
        self._failed = False
        self._done = False

    def _event(self, raw: bytes, out: list[ChatEvent]) -> None:
        data = event_data(raw)
        if data is None or self._done or self._failed:
            return
        if not data.startswith(b"{"):
            data = data.strip()
            if data == b"[DONE]":
                self._finish(out)
            if data in (b"", b"[DONE]"):
                return
        try:
            event = _decode(data)
        except msgspec.ValidationError as error:
            if _is_known(data):
                raise ValueError(f"an event has the wrong shape: {error}") from None
            return
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ValueError(f"an event is not JSON: {error}") from None
        kind = event.type
        if kind == "content_block_delta":
            self._delta(event, out)
        elif kind == "content_block_start":
            self._start(event, out)
        elif kind == "content_block_stop":
            block = self._block(event.index)
            if block is not None:
                self._close(block, out)
        elif kind == "message_start":
            self._begin(event, out)
        elif kind == "message_delta":
            self._end(event, out)
        elif kind == "message_stop":
            self._finish(out)
        elif event_name(raw) == b"error" or kind == "error" or (kind is None and _has(event.error)):
            self._failed = True
            out.append(failed(_decode_any(data)))

    def _begin(self, event: _Event, out: list[ChatEvent]) -> None:
        if self._parts or self._ended:
            raise ValueError("a second message begins inside the stream")
        message = event.message
        if not isinstance(message, _Message):
            return
        if not self._started:
            self._started = True
            out.append(Started(message.id or "", message.model or ""))
        self._tally(message.usage, out)

    def _start(self, event: _Event, out: list[ChatEvent]) -> None:
        wire = event.content_block
        if wire is None or self._ended:
            return
        kind = _KINDS.get(wire.type)
        block = self._new(kind, event.index, wire, out)
        if kind == TEXT:
            self._text(block, wire.text, out)
        elif kind == THINKING:
            self._text(block, wire.thinking, out)
            if wire.signature or isinstance(wire.data, str):
                redacted = wire.data if isinstance(wire.data, str) else None
                out.append(Signed(0, block.part, wire.signature or None, redacted))
        elif kind == TOOL_CALL and wire.arguments not in _OF_EMPTY_INPUT:
            out.append(Delta(0, block.part, wire.arguments))

    def _delta(self, event: _Event, out: list[ChatEvent]) -> None:
        delta = event.delta
        if delta is None or self._ended:
            return
        kind = _KINDS_OF_DELTAS.get(delta.type or "")
        block = self._block(event.index)
        if kind is None or (block is not None and block.kind is None):
            return
        if block is None or block.kind != kind or (not block.open and kind != TOOL_CALL):
            block = self._new(kind, event.index, None, out)
        if kind == TEXT:
            self._text(block, delta.text, out)
        elif kind == TOOL_CALL:
            if not block.open and delta.partial_json:
                raise ValueError("a tool call goes on after its end")
            self._text(block, delta.partial_json, out)
        elif delta.type == "thinking_delta":
            self._text(block, delta.thinking, out)
        elif delta.signature:
            out.append(Signed(0, block.part, delta.signature))

    def _text(self, block: _Block, text: str | None, out: list[ChatEvent]) -> None:
        if text:
            out.append(Delta(0, block.part, text))

    def _new(
        self, kind: str | None, index: int | None, wire: WireBlock | None, out: list[ChatEvent]
    ) -> _Block:
        """A block that begins. Calls may stay open beside each other; all else is closed first."""
        for other in list(self._open):
            if kind is not None and (kind != TOOL_CALL or other.kind != TOOL_CALL):
                self._close(other, out)
        block = self._last = _Block(kind, self._parts)
        self._blocks[index if index is not None else len(self._blocks)] = block
        if kind is None:
            return block
        if not self._started:
            self._started = True
            out.append(Started())
        self._parts += 1
        self._open.append(block)
        if kind == TOOL_CALL:
            self._called = True
            call_id = (wire.id if wire is not None else None) or made_call_id()
            name = wire.name if wire is not None else None
            out.append(PartStarted(0, block.part, kind, call_id, name or ""))
        else:
            out.append(PartStarted(0, block.part, kind))
        return block

    def _block(self, index: int | None) -> _Block | None:
        return self._last if index is None else self._blocks.get(index)

    def _close(self, block: _Block, out: list[ChatEvent]) -> None:
        if block.open:
            block.open = False
            self._open.remove(block)
            out.append(PartEnded(0, block.part))

    def _end(self, event: _Event, out: list[ChatEvent]) -> None:
        delta = event.delta
        if delta is not None and delta.stop_reason is not None:
            self._stop(parse_stop(delta.stop_reason), delta.stop_sequence, out)
        self._tally(event.usage, out)

    def _stop(self, stop: str, stop_sequence: str | None, out: list[ChatEvent]) -> None:
        if self._ended:
            return
        self._ended = True
        if not self._started:
            self._started = True
            out.append(Started())
        for block in list(self._open):
            self._close(block, out)
        out.append(ChoiceEnded(0, stop, stop_sequence))

    def _finish(self, out: list[ChatEvent]) -> None:
        self._stop(TOOL_CALLS if self._called else STOP, None, out)
        self._done = True
        out.append(Finished())

    def _tally(self, wire: WireUsage | None, out: list[ChatEvent]) -> None:
        if wire is None:
            return
        self._count.take(wire)
        usage = self._count.usage
        if usage is not None:
            out.append(Counted(usage))


def _has(error: Raw) -> bool:
    return bytes(error) not in (b"", b"null")


def _is_known(data: bytes) -> bool:
    """Whether an event is one of those that an answer is made of."""
    try:
        kind = _decode_type(data).type
    except msgspec.MsgspecError:
        return True
    return kind is None or (isinstance(kind, str) and kind.startswith(("message_", "content_block_")))
