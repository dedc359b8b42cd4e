"""Reads usage beside a relayed answer, without decoding what carries none.

A tap sees every byte of an OpenAI answer and tells, at its end, what it cost and whether it was
whole. On a stream it looks for `"usage"` in a chunk and decodes only then. What was delivered
is remembered as text, at most `_KEPT_BYTES` of undecoded chunks at a time, so that tokens can
be counted when the provider reports none.

Facts (OpenAI API reference, chat streaming): with `stream_options.include_usage` one event
with empty `choices` comes before `[DONE]`, and every other event has `usage: null`. Some
compatible services put the usage on the last content event instead, and repeat it.
Responses: `response.completed`, `.incomplete` and `.failed` end a stream and hold the whole
response with its `usage`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Struct

from llmgw.core.operation import Endpoint, Operation
from llmgw.core.usage import Usage
from llmgw.wire.sse import SseSplitter, event_data

_KEPT_BYTES = 6144
_ABSURD = 10**9
_Known = TypeVar("_Known")


class _InputDetails(Struct):
    cached_tokens: object = None
    cache_write_tokens: object = None


class _OutputDetails(Struct):
    reasoning_tokens: object = None


class WireUsage(Struct):
    """`usage` of chat, completions and embeddings (`prompt_`), or responses and images (`input_`).

    What services differ in is as `dialects.openai_chat_usage` says, which reads the same for
    answers that are translated.
    """

    prompt_tokens: object = None
    completion_tokens: object = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    total_tokens: object = None
    reasoning_tokens: object = None
    prompt_cache_hit_tokens: object = None
    cached_tokens: object = None
    input_tokens: object = None
    output_tokens: object = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Function(Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(Struct):
    function: _Function | None = None


class _Message(Struct):
    content: object = None
    reasoning_content: object = None
    reasoning: object = None
    refusal: object = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(Struct):
    delta: _Message | None = None
    message: _Message | None = None
    text: object = None
    finish_reason: object = None


class _Response(Struct):
    id: object = None
    usage: WireUsage | None = None


class _Event(Struct):
    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    error: object = None
    type: str | None = None
    delta: object = None
    response: _Response | None = None


class _Body(Struct):
    id: object = None
    usage: WireUsage | None = None


class _TextBody(Struct):
    choices: list[_Choice] | None = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_body = msgspec.json.Decoder(_Body).decode
_decode_text = msgspec.json.Decoder(_TextBody).decode
_decode_any = msgspec.json.Decoder().decode
_DETAILS = tuple(name for name in WireUsage.__struct_fields__ if name.endswith("_details"))
_RESPONSES_END = frozenset({"response.completed", "response.incomplete", "response.failed"})


def parse_usage(wire: WireUsage | None) -> Usage | None:
    """Ours from the wire's; None when the wire tells nothing that counts.

    Counts that cannot be, negative, above `_ABSURD` or no whole numbers, tell nothing, and neither does
    an answer's count without its prompt's: the request is counted here instead and marked as
    estimated. Parts are clamped to their whole.
    """
    if wire is None:
        return None
    into = wire.prompt_tokens
    out = wire.completion_tokens
    details = wire.prompt_tokens_details
    out_details = wire.completion_tokens_details
    if into is None:
        into = wire.input_tokens
        details = details or wire.input_tokens_details
    if out is None:
        out = wire.output_tokens
        out_details = out_details or wire.output_tokens_details
    if into is None or _cannot_be(into) or _cannot_be(out):
        return None
    input_tokens = _count(into)
    output_tokens = _count(out)
    cached = written = reasoning = 0
    if details is not None and (details.cached_tokens is not None or details.cache_write_tokens is not None):
        cached = min(_count(details.cached_tokens), input_tokens)
        written = min(_count(details.cache_write_tokens), input_tokens - cached)
    if not cached and (wire.prompt_cache_hit_tokens is not None or wire.cached_tokens is not None):
        cached = min(_count(wire.prompt_cache_hit_tokens) or _count(wire.cached_tokens), input_tokens)
    thoughts = out_details.reasoning_tokens if out_details is not None else None
    if thoughts is None:
        thoughts = wire.reasoning_tokens
    if thoughts is not None:
        reasoning = _count(thoughts)
        if reasoning and wire.total_tokens == input_tokens + output_tokens + reasoning:
            output_tokens += reasoning
        reasoning = min(reasoning, output_tokens)
    return Usage(input_tokens, output_tokens, cached, written, reasoning)


def _cannot_be(value: object) -> bool:
    if value is None:
        return False
    if type(value) is float:
        return not (value.is_integer() and 0 <= value <= _ABSURD)
    return type(value) is not int or not 0 <= value <= _ABSURD


def _count(value: object) -> int:
    if type(value) is float and value.is_integer():
        return max(0, int(value))
    return value if type(value) is int and value > 0 else 0


def _tells_no_output(wire: WireUsage | None) -> bool:
    return wire is not None and wire.completion_tokens is None and wire.output_tokens is None


def _without_odd_details(data: bytes, decode: Callable[[bytes], _Known]) -> _Known:
    """A document whose `usage` has details that are no objects, such as PHP's `[]`, without these.

    Raises MsgspecError, UnicodeDecodeError, RecursionError.
    """
    document = _decode_any(data)
    for holder in (document, document.get("response")) if isinstance(document, dict) else ():
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if isinstance(usage, dict):
            for name in _DETAILS:
                if not isinstance(usage.get(name), dict):
                    usage.pop(name, None)
    return decode(msgspec.json.encode(document))


class BodyTap:
    """For an answer that is one JSON document.

    upstream_id: the answer's `id`, where it is text.
    """

    __slots__ = ("body", "upstream_id", "usage")

    def __init__(self, body: bytes) -> None:
        """Read `body`. Raises ValueError when it is not a JSON object of the shape it must have."""
        try:
            try:
                parsed = _decode_body(body)
            except msgspec.ValidationError:
                parsed = _without_odd_details(body, _decode_body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"the answer is not the JSON that was promised: {error}") from None
        self.body = body
        self.usage = parse_usage(parsed.usage)
        if _tells_no_output(parsed.usage) and self.delivered_text():
            self.usage = None
        self.upstream_id = parsed.id if isinstance(parsed.id, str) else None

    def delivered_text(self) -> str:
        """What was answered, as far as it is text that tokens can be counted in."""
        pieces: list[str] = []
        try:
            for choice in _decode_text(self.body).choices or ():
                _collect(choice, pieces)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return ""
        return "".join(pieces)


class StreamTap:
    """For a stream of server-sent events.

    hide_usage: drop the event that only carries usage (empty `choices`).
    usage: the last reported so far. done: the stream said that it is complete.
    failed: the last event was an error of the upstream's.
    """

    __slots__ = (
        "_finished",
        "_kept",
        "_kept_bytes",
        "_moved",
        "_splitter",
        "_terminated",
        "_text",
        "failed",
        "hide_usage",
        "responses",
        "upstream_id",
        "usage",
    )

    def __init__(self, endpoint: Endpoint, hide_usage: bool) -> None:
        self.hide_usage = hide_usage
        self.responses = endpoint.operation is Operation.RESPONSES
        self.usage: Usage | None = None
        self.upstream_id: str | None = None
        self.failed = False
        self._splitter = SseSplitter()
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._moved = False
        self._text: list[str] = []
        self._terminated = False
        self._finished = False

    def feed(self, chunk: bytes) -> bytes:
        """What of `chunk`, and of what was held back, the client may have now.

        Raises ValueError when one event is longer than the cap.
        """
        splitter = self._splitter
        if not splitter.pending and chunk.endswith(b"\n\n"):
            self._keep(chunk)
            if self._plain(chunk):
                return chunk
            events = splitter.feed(chunk)
        else:
            events = splitter.feed(chunk)
            for event in events:
                self._keep(event)
            if not self.hide_usage:
                for event in events:
                    self._look(event)
                return chunk
        shown = [event for event in events if not (self._look(event) and self.hide_usage)]
        return b"".join(shown)

    def rest(self) -> bytes:
        """What is still held back when the upstream has ended without closing its last event."""
        return bytes(self._splitter.pending) if self.hide_usage else b""

    @property
    def done(self) -> bool:
        """Whether the upstream said that the stream is complete."""
        if not self._terminated and not self._finished:
            self._digest()
        return self._terminated or self._finished

    def delivered_text(self) -> str:
        """The text that has passed."""
        self._digest()
        return "".join(self._text)

    def delivered_bytes(self) -> int:
        """How much text has passed, roughly: cheap enough to ask each second."""
        self._digest()
        return sum(map(len, self._text))

    def moved(self) -> bool:
        """Whether anything has passed since this was last asked."""
        moved, self._moved = self._moved, False
        return moved

    def _plain(self, chunk: bytes) -> bool:
        """Whether no event in `chunk` needs a look."""
        at = chunk.find(b'"usage"')
        while at >= 0:
            if not chunk[at + 7 : at + 14].replace(b" ", b"").startswith(b":null"):
                return False
            at = chunk.find(b'"usage"', at + 7)
        if b"[DONE]" in chunk:
            self._terminated = True
        return b'"error"' not in chunk

    def _look(self, raw: bytes) -> bool:
        """Take what an event says of usage and ending. True when it says nothing but usage."""
        data = event_data(raw)
        if data is None:
            return False
        if data.strip() == b"[DONE]":
            self._terminated = True
            return False
        if b'"usage"' not in data and b'"error"' not in data and not self.responses:
            return False
        try:
            event = _read_event(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        if event.type == "error" or (event.error is not None and not event.choices):
            self.failed = True
        usage = event.usage
        if event.response is not None:
            if isinstance(event.response.id, str):
                self.upstream_id = event.response.id
            usage = event.response.usage
            if event.type in _RESPONSES_END:
                self._terminated = True
        parsed = parse_usage(usage)
        if parsed is not None and not (_tells_no_output(usage) and self.delivered_text()):
            self.usage = parsed
        return parsed is not None and event.choices is not None and not event.choices

    def _keep(self, chunk: bytes) -> None:
        self._moved = True
        self._kept.append(chunk)
        self._kept_bytes += len(chunk)
        if self._kept_bytes > _KEPT_BYTES:
            self._digest()

    def _digest(self) -> None:
        """Turn the kept chunks into the text they carry."""
        if not self._kept:
            return
        pieces: list[str] = []
        for raw in SseSplitter().feed(b"".join(self._kept)):
            data = event_data(raw)
            if data is None or not data.startswith(b"{"):
                continue
            try:
                event = _read_event(data)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
            for choice in event.choices or ():
                _collect(choice, pieces)
                if choice.finish_reason is not None:
                    self._finished = True
            if isinstance(event.delta, str):
                pieces.append(event.delta)
        self._kept.clear()
        self._kept_bytes = 0
        if pieces:
            self._text.append("".join(pieces))


def _read_event(data: bytes) -> _Event:
    """Raises MsgspecError, UnicodeDecodeError, RecursionError."""
    try:
        return _decode_event(data)
    except msgspec.ValidationError:
        return _without_odd_details(data, _decode_event)


def _collect(choice: _Choice, pieces: list[str]) -> None:
    message = choice.delta or choice.message
    if isinstance(choice.text, str):
        pieces.append(choice.text)
    if message is None:
        return
    for value in (message.content, message.reasoning_content, message.reasoning, message.refusal):
        if isinstance(value, str):
            pieces.append(value)
    for call in message.tool_calls or ():
        if call.function is not None:
            pieces.append(call.function.name or "")
            pieces.append(call.function.arguments or "")
