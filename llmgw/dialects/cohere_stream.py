"""Streams of Cohere's chat, version 2, and what they share with whole answers.

Facts (Cohere API reference, "Chat with Streaming", and recordings): events are named, and say their
name again as `type`. `content-*` are text or thinking, `tool-plan-delta` comes before calls, and
`tool-call-*` have an index of their own; `message-end` says why it ended and what it cost, and
may be followed by `[DONE]`. Citations are left out. A generation that failed ends with `ERROR` or `TIMEOUT`.

Tokens are counted twice: `tokens` as the model saw them, Cohere's own preamble included, and
`billed_units`. `tokens` are used where they are.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct, structs

from llmgw.core.chat import CONTENT_FILTER, LENGTH, STOP, STOP_SEQUENCE, TOOL_CALLS
from llmgw.core.events import (
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
    Started,
)
from llmgw.core.usage import Usage
from llmgw.dialects.base import AUTH, CONTEXT_LENGTH, SERVER, UpstreamFailure
from llmgw.dialects.openai_chat_failures import read_failure
from llmgw.dialects.sse_decoder import SseDecoder
from llmgw.wire.sse import event_data, event_name

FAILED_ENDS = frozenset({"ERROR", "TIMEOUT"})
"""Reasons to end that are no answers."""

_STOPS = {
    "COMPLETE": STOP,
    "STOP_SEQUENCE": STOP_SEQUENCE,
    "MAX_TOKENS": LENGTH,
    "ERROR_LIMIT": LENGTH,
    "TOOL_CALL": TOOL_CALLS,
    "ERROR_TOXIC": CONTENT_FILTER,
}
_ERROR_TYPES = {"TOO_MANY_TOKENS": CONTEXT_LENGTH}
_INVALID_TOKEN = 498
_ABSURD = 10**9


class WireTokens(Struct):
    input_tokens: object = None
    output_tokens: object = None
    reasoning_tokens: object = None


class WireUsage(Struct):
    tokens: WireTokens | None = None
    billed_units: WireTokens | None = None
    cached_tokens: object = None


class WireFunction(Struct):
    name: str | None = None
    arguments: str | None = None


class WireCall(Struct):
    id: str | None = None
    function: WireFunction | None = None


class WireBlock(Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class _Message(Struct):
    content: WireBlock | list[WireBlock] | None = None
    tool_plan: str | None = None
    tool_calls: WireCall | list[WireCall] | None = None


class _Delta(Struct):
    message: _Message | None = None
    finish_reason: str | None = None
    usage: WireUsage | None = None
    error: str | None = None


class _Event(Struct):
    type: str | None = None
    id: str | None = None
    index: int | None = None
    delta: _Delta | None = None
    message: object = None
    error: object = None


_decode = msgspec.json.Decoder(_Event).decode
_decode_any = msgspec.json.Decoder().decode


def parse_usage(wire: WireUsage | None) -> Usage | None:
    """Ours; None when either direction was not counted."""
    if wire is None:
        return None
    for counts in (wire.tokens, wire.billed_units):
        if counts is None:
            continue
        into, out = _count(counts.input_tokens), _count(counts.output_tokens)
        if into is not None and out is not None:
            cached = min(_count(wire.cached_tokens) or 0, into)
            reasoning = min(_count(counts.reasoning_tokens) or 0, out)
            return Usage(into, out, cached_tokens=cached, reasoning_tokens=reasoning)
    return None


def _count(value: object) -> int | None:
    """A number of tokens, which the reference gives as a double."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= _ABSURD else None


def parse_stop(reason: str | None, called: bool) -> str:
    """Why an answer ended, in our words. called: whether it holds a tool call."""
    return _STOPS.get(reason or "", TOOL_CALLS if called else STOP)


def failure_of(document: object, status: int) -> UpstreamFailure:
    """An error of Cohere's, `{"message", "error_type"}`; status: 0 inside a stream."""
    failure = read_failure(document, status)
    kind = document.get("error_type") if isinstance(document, dict) else None
    code = _ERROR_TYPES.get(kind) if isinstance(kind, str) else None
    if code is None and status == _INVALID_TOKEN:
        code = AUTH
    if code is None and status == 499:
        code = SERVER  # cancelled, or a streaming error: not the caller's fault
    return structs.replace(failure, code=code) if code is not None else failure


class CohereDecoder(SseDecoder):
    """A `StreamDecoder`."""

    __slots__ = ("_called", "_calls", "_ended", "_open", "_parts", "_started")

    def __init__(self) -> None:
        super().__init__()
        self._started = False
        self._ended = False
        self._called = False
        self._open: str | None = None
        self._calls: dict[int, int] = {}
        self._parts = 0

    def _event(self, raw: bytes, out: list[ChatEvent]) -> None:
        data = event_data(raw)
        if data is None or self._ended or data.strip() in (b"", b"[DONE]"):
            return
        try:
            event = _decode(data)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ValueError(f"an event is not of Cohere's chat: {error}") from None
        if not self._started:
            self._started = True
            out.append(Started(event.id or ""))
        kind = event.type
        if event_name(raw) == b"error" or (kind is None and (event.message or event.error)):
            failure = failure_of(_decode_any(data), 0)
            self._fail(failure.code, failure.message, out)
            return
        delta = event.delta or _Delta()
        message = delta.message or _Message()
        if kind == "content-delta":
            self._content(message.content, out)
        elif kind == "content-start":
            self._end_open(out)
            self._content(message.content, out)
        elif kind == "content-end":
            self._end_text(out)
        elif kind == "tool-plan-delta":
            self._add(THINKING, message.tool_plan, out)
        elif kind in ("tool-call-start", "tool-call-delta"):
            self._call(kind, event.index or 0, message.tool_calls, out)
        elif kind == "tool-call-end":
            self._end_call(event.index or 0, out)
        elif kind == "message-end":
            self._end(delta, out)

    def _content(self, blocks: WireBlock | list[WireBlock] | None, out: list[ChatEvent]) -> None:
        for block in blocks if isinstance(blocks, list) else (blocks,):
            if block is not None:
                self._add(THINKING, block.thinking, out)
                self._add(TEXT, block.text, out)

    def _add(self, kind: str, text: str | None, out: list[ChatEvent]) -> None:
        if not text:
            return
        if self._open != kind:
            self._end_open(out)
            self._open = kind
            out.append(PartStarted(0, self._parts, kind))
            self._parts += 1
        out.append(Delta(0, self._parts - 1, text))

    def _call(
        self, kind: str, index: int, calls: WireCall | list[WireCall] | None, out: list[ChatEvent]
    ) -> None:
        call = calls[0] if isinstance(calls, list) and calls else calls
        if not isinstance(call, WireCall):
            return
        function = call.function or WireFunction()
        if kind == "tool-call-start":
            self._end_text(out)
            self._end_call(index, out)
            self._called = True
            self._calls[index] = self._parts
            call_id = call.id or f"call_{index}"
            out.append(PartStarted(0, self._parts, TOOL_CALL, call_id, function.name or ""))
            self._parts += 1
        part = self._calls.get(index)
        if part is None:
            raise ValueError("a tool call goes on that is not open")
        if function.arguments:
            out.append(Delta(0, part, function.arguments))

    def _end_call(self, index: int, out: list[ChatEvent]) -> None:
        part = self._calls.pop(index, None)
        if part is not None:
            out.append(PartEnded(0, part))

    def _end_text(self, out: list[ChatEvent]) -> None:
        # Nothing else begins while a text is open, so it is the last part.
        if self._open is not None:
            self._open = None
            out.append(PartEnded(0, self._parts - 1))

    def _end_open(self, out: list[ChatEvent]) -> None:
        self._end_text(out)
        for index in list(self._calls):
            self._end_call(index, out)

    def _end(self, delta: _Delta, out: list[ChatEvent]) -> None:
        usage = parse_usage(delta.usage)
        if delta.error or delta.finish_reason in FAILED_ENDS:
            if usage is not None:
                out.append(Counted(usage))
            words = delta.error or f"the generation ended with {delta.finish_reason}"
            self._fail(SERVER, words, out)
            return
        self._end_open(out)
        out.append(ChoiceEnded(0, parse_stop(delta.finish_reason, self._called)))
        if usage is not None:
            out.append(Counted(usage))
        out.append(Finished())
        self._ended = True

    def _fail(self, code: str, message: str, out: list[ChatEvent]) -> None:
        self._end_open(out)
        out.append(Failed(code, message))
        self._ended = True
