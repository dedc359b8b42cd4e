"""The stream of Bedrock's ConverseStream, read into events.

Facts (Amazon Bedrock API reference, ConverseStream): frames of `application/vnd.amazon.eventstream` named
by `:event-type`, each with JSON. Blocks have an index; only calls have a start of their own; `messageStop`
has the reason to end, and `metadata` with the usage comes after it. A frame whose `:message-type` is
`exception` or `error` ends the stream. Blocks of tools that the provider ran itself are no part of the
answer.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

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
    Signed,
    Started,
)
from llmgw.dialects.bedrock_answer import (
    PROVIDERS_OWN,
    WireUsage,
    class_of,
    message_of,
    parse_stop,
    parse_usage,
)
from llmgw.wire.eventstream import Frame, FrameSplitter


class _ToolStart(Struct, rename="camel"):
    tool_use_id: str = ""
    name: str = ""
    type: str | None = None


class _Start(Struct, rename="camel"):
    tool_use: _ToolStart | None = None


class _ToolInput(Struct):
    input: str = ""


class _Reasoning(Struct, rename="camel"):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _Delta(Struct, rename="camel"):
    text: str | None = None
    tool_use: _ToolInput | None = None
    reasoning_content: _Reasoning | None = None


class _Event(Struct, rename="camel"):
    content_block_index: int = 0
    start: _Start | None = None
    delta: _Delta | None = None
    stop_reason: str | None = None
    usage: WireUsage | None = None


_decode = msgspec.json.Decoder(_Event).decode

_KNOWN = frozenset(
    {"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"}
)


class Decoder:
    """Implements `dialects.base.StreamDecoder`. The bytes are frames, not text."""

    __slots__ = ("_block", "_done", "_ended", "_kind", "_open", "_part", "_splitter", "_started")

    def __init__(self) -> None:
        self._splitter = FrameSplitter()
        self._started = False
        self._block: int | None = None
        self._kind: str | None = None
        self._open = False
        self._part = -1
        self._ended = False
        self._done = False

    def feed(self, data: bytes) -> list[ChatEvent]:
        out: list[ChatEvent] = []
        for frame in self._splitter.feed(data):
            if not self._done:
                self._frame(frame, out)
        return out

    def close(self) -> list[ChatEvent]:
        """The answer is whole once `messageStop` has come, with its usage or without."""
        self._splitter.pending.clear()
        if self._ended and not self._done:
            self._done = True
            return [Finished()]
        return []

    def _frame(self, frame: Frame, out: list[ChatEvent]) -> None:
        headers = frame.headers
        kind = headers.get(":message-type", "event")
        if kind != "event":
            self._done = True
            name = headers.get(":exception-type") or headers.get(":error-code") or ""
            said = headers.get(":error-message") or message_of(frame.payload)
            out.append(Failed(class_of(name, 0), said or "the provider reported an error"))
            return
        name = headers.get(":event-type", "")
        if name not in _KNOWN:
            return
        try:
            event = _decode(frame.payload)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ValueError(f"an event has the wrong shape: {error}") from None
        if name == "metadata":
            self._metadata(event, out)
        elif self._ended:
            return
        elif name == "messageStart":
            self._start(out)
        elif name == "contentBlockStart":
            self._block_start(event, out)
        elif name == "contentBlockDelta":
            self._delta(event, out)
        elif name == "contentBlockStop":
            if event.content_block_index == self._block:
                self._close(out)
        else:
            self._start(out)
            self._close(out)
            self._ended = True
            out.append(ChoiceEnded(0, parse_stop(event.stop_reason or "")))

    def _start(self, out: list[ChatEvent]) -> None:
        if not self._started:
            self._started = True
            out.append(Started())

    def _block_start(self, event: _Event, out: list[ChatEvent]) -> None:
        tool = event.start.tool_use if event.start is not None else None
        self._close(out)
        self._block = event.content_block_index
        self._kind = None
        if tool is not None and tool.type != PROVIDERS_OWN:
            self._begin(event.content_block_index, TOOL_CALL, out, tool)

    def _delta(self, event: _Event, out: list[ChatEvent]) -> None:
        delta, index = event.delta, event.content_block_index
        if delta is None:
            return
        if delta.tool_use is not None:
            if index == self._block and self._kind is None:
                return  # of a tool that the provider runs itself
            if index != self._block or self._kind != TOOL_CALL or not self._open:
                raise ValueError("a tool call goes on without its start")
            if delta.tool_use.input:
                out.append(Delta(0, self._part, delta.tool_use.input))
        elif delta.reasoning_content is not None:
            thought = delta.reasoning_content
            self._continue(index, THINKING, out)
            if thought.text:
                out.append(Delta(0, self._part, thought.text))
            if thought.signature or thought.redacted_content:
                out.append(Signed(0, self._part, thought.signature or None, thought.redacted_content or None))
        elif delta.text:
            self._continue(index, TEXT, out)
            out.append(Delta(0, self._part, delta.text))

    def _continue(self, index: int, kind: str, out: list[ChatEvent]) -> None:
        """Go on with the open part when it is this one, else begin it."""
        if not self._open or index != self._block or kind != self._kind:
            self._begin(index, kind, out, None)

    def _begin(self, index: int, kind: str, out: list[ChatEvent], tool: _ToolStart | None) -> None:
        self._start(out)
        self._close(out)
        self._block, self._kind, self._open = index, kind, True
        self._part += 1
        if tool is None:
            out.append(PartStarted(0, self._part, kind))
        else:
            out.append(PartStarted(0, self._part, kind, tool.tool_use_id, tool.name))

    def _close(self, out: list[ChatEvent]) -> None:
        if self._open:
            self._open = False
            out.append(PartEnded(0, self._part))

    def _metadata(self, event: _Event, out: list[ChatEvent]) -> None:
        usage = parse_usage(event.usage)
        if usage is not None:
            out.append(Counted(usage))
        if self._ended:
            self._done = True
            out.append(Finished())
