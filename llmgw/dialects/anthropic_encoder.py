"""A stream of the messages API, written for a client.

Blocks come one after another, so what is said of a later tool call while an earlier one is open waits. The
reason to end and the usage stand together in one `message_delta`, which therefore waits for the end: other
providers tell their usage last. A client of this dialect is always told the usage.

A thinking block is begun when its first text or proof comes, since one that is redacted has another type.
"""

from __future__ import annotations

import msgspec

from llmgw.core.errors import GatewayError
from llmgw.core.events import (
    REFUSED,
    TEXT,
    THINKING,
    TOOL_CALL,
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
from llmgw.dialects.anthropic_answer import (
    made_call_id,
    made_message_id,
    redacted_block,
    signature_block,
    stop_reason,
)
from llmgw.dialects.anthropic_failures import error_event, failed_event
from llmgw.dialects.anthropic_usage import render_usage
from llmgw.wire.sse import render_event

_encode = msgspec.json.Encoder().encode

_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}}\n\n'
_DELTAS = {
    TEXT: b'{"type":"text_delta","text":%b',
    REFUSED: b'{"type":"text_delta","text":%b',
    THINKING: b'{"type":"thinking_delta","thinking":%b',
    TOOL_CALL: b'{"type":"input_json_delta","partial_json":%b',
}


class _Part:
    """A part of the answer.

    index: its block's, None until that has begun. waiting: what came before its turn.
    """

    __slots__ = ("call_id", "ended", "index", "kind", "name", "signature", "waiting")

    def __init__(self, kind: str, call_id: str, name: str) -> None:
        self.kind = kind
        self.call_id = call_id
        self.name = name
        self.index: int | None = None
        self.ended = False
        self.signature: str | None = None
        self.waiting: list[Delta | Signed] = []


class Encoder:
    """Implements `dialects.base.StreamEncoder`. model: the public name."""

    __slots__ = (
        "_blocks",
        "_called",
        "_closed",
        "_id",
        "_model",
        "_open",
        "_out",
        "_parts",
        "_queue",
        "_started",
        "_stop",
        "_stop_sequence",
        "_usage",
    )

    def __init__(self, model: str) -> None:
        self._model = model
        self._id = ""
        self._out: list[bytes] = []
        self._parts: dict[int, _Part] = {}
        self._open: _Part | None = None
        self._queue: list[_Part] = []
        self._blocks = 0
        self._usage: Usage | None = None
        self._stop: str | None = None
        self._stop_sequence: str | None = None
        self._called = False
        self._started = False
        self._closed = False

    def feed(self, event: ChatEvent) -> bytes:
        if self._closed:
            return b""
        if isinstance(event, Delta):
            part = self._open
            if part is not None and not event.choice and part is self._parts.get(event.part):
                return self._text(part, event.text) if part.index is not None else self._took(event)
            return self._took(event)
        return self._took(event)

    def fail(self, error: GatewayError) -> bytes:
        if self._closed:
            return b""
        self._closed = True
        return error_event(error)

    def _took(self, event: ChatEvent) -> bytes:
        if isinstance(event, Started):
            self._id = event.id or self._id
            self._begin()
        elif isinstance(event, Counted):
            self._usage = event.usage
        elif isinstance(event, Failed):
            self._closed = True
            self._out.append(failed_event(event))
        elif isinstance(event, Finished):
            self._finish()
        elif event.choice == 0:
            if isinstance(event, PartStarted):
                self._new(event.part, event.kind, event.call_id, event.name)
            elif isinstance(event, PartEnded):
                self._part_ended(event.part)
            elif isinstance(event, ChoiceEnded):
                self._stop, self._stop_sequence = event.stop, event.stop_sequence
            else:
                self._more(event)
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _begin(self) -> None:
        if self._started:
            return
        self._started = True
        message: dict[str, object] = {
            "id": self._id or made_message_id(),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": render_usage(self._usage),
        }
        self._write("message_start", {"message": message})

    def _new(self, number: int, kind: str, call_id: str | None, name: str | None) -> _Part:
        part = self._parts[number] = _Part(kind, call_id or "", name or "")
        if kind == TOOL_CALL:
            part.call_id = part.call_id or made_call_id()
            self._called = True
        current = self._open
        if current is not None and current.kind != TOOL_CALL:
            self._close(current)
            current = None
        if current is None:
            self._open = part
            if kind != THINKING:
                self._start(part)
        else:
            self._queue.append(part)
        return part

    def _start(self, part: _Part) -> None:
        """Begin the part's block."""
        block: dict[str, object]
        if part.kind == TOOL_CALL:
            block = {"type": "tool_use", "id": part.call_id, "name": part.name, "input": {}}
        elif part.kind == THINKING:
            block = {"type": "thinking", "thinking": "", "signature": ""}
        else:
            block = {"type": "text", "text": ""}
        part.index = self._start_block(block)

    def _start_block(self, block: dict[str, object]) -> int:
        self._begin()
        index = self._blocks
        self._blocks += 1
        self._write("content_block_start", {"index": index, "content_block": block})
        return index

    def _whole_block(self, block: dict[str, object]) -> None:
        self._write("content_block_stop", {"index": self._start_block(block)})

    def _more(self, event: Delta | Signed) -> None:
        part = self._parts.get(event.part)
        if part is None or (part.ended and part is not self._open and part.kind != TOOL_CALL):
            # Its beginning was never told, or another part came between.
            kind = part.kind if part is not None else TEXT if isinstance(event, Delta) else THINKING
            part = self._new(event.part, kind, None, None)
        if part is self._open:
            self._apply(part, event)
        elif not part.ended:
            part.waiting.append(event)

    def _apply(self, part: _Part, event: Delta | Signed) -> None:
        if isinstance(event, Delta):
            if part.index is None:
                self._start(part)
            self._out.append(self._text(part, event.text))
        elif part.kind == TOOL_CALL:
            part.signature = event.signature or part.signature
        elif part.kind == THINKING:
            self._sign(part, event)

    def _sign(self, part: _Part, event: Signed) -> None:
        if event.redacted is not None:
            if part.index is not None:
                self._write("content_block_stop", {"index": part.index})
                part.index = None
            self._whole_block(redacted_block(event.redacted))
        elif event.signature:
            if part.index is None:
                self._start(part)
            proof = {"type": "signature_delta", "signature": event.signature}
            self._write("content_block_delta", {"index": part.index, "delta": proof})

    def _text(self, part: _Part, text: str) -> bytes:
        if not text:
            return b""
        return _DELTA % (part.index, _DELTAS[part.kind] % _encode(text))

    def _part_ended(self, number: int) -> None:
        part = self._parts.get(number)
        if part is None or part.ended:
            return
        if part is self._open:
            self._close(part)
            self._next()
        else:
            part.ended = True

    def _close(self, part: _Part) -> None:
        """End the part's block, and tell what its provider wants back with a call."""
        part.ended = True
        self._open = None
        if part.index is not None:
            self._write("content_block_stop", {"index": part.index})
        if part.signature is not None:
            self._whole_block(signature_block(part.call_id, part.signature))

    def _next(self) -> None:
        """Let those that wait have their turn, up to the first that is still open."""
        while self._queue and self._open is None:
            part = self._queue.pop(0)
            ended = part.ended
            self._open = part
            if part.kind != THINKING:
                self._start(part)
            for event in part.waiting:
                self._apply(part, event)
            part.waiting.clear()
            if ended or (self._queue and part.kind != TOOL_CALL):
                self._close(part)

    def _finish(self) -> None:
        self._closed = True
        while self._open is not None:
            self._close(self._open)
            self._next()
        self._begin()
        reason = stop_reason(self._stop, calls=self._called)
        sequence = self._stop_sequence if reason == "stop_sequence" else None
        self._write(
            "message_delta",
            {
                "delta": {"stop_reason": reason, "stop_sequence": sequence},
                "usage": render_usage(self._usage),
            },
        )
        self._write("message_stop", {})

    def _write(self, name: str, members: dict[str, object]) -> None:
        self._out.append(render_event(_encode({"type": name} | members), name.encode()))
