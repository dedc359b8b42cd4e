"""The stream of an upstream that speaks chat completions, read into events.

Facts (OpenAI API reference, chat streaming; the services' own): chunks are server-sent events
that end with `[DONE]`; a chunk with empty `choices` may come first (Azure: what its filter made of
the prompt) or last (usage). A part begins where its member first has text: there is no event for
it, and llama.cpp and vLLM may even leave out the chunk with the role.

Tool calls are told apart by `index`. Where it is missing, or one index has calls of several ids
(Gemini's compatible endpoint), by `id`; an `id` repeated on every piece is the same call. Where one
index has calls without ids, another begins with a name after whole arguments.

Images in a stream (OpenRouter) have no event of ours and end it.

A stream has said that it is complete with `[DONE]`, or when every choice has its `finish_reason`
and the bytes end (Writer and Perplexity send no `[DONE]`). Usage that comes with every chunk
(Perplexity) is told once the choices have ended, or when the bytes do.
"""

from __future__ import annotations

import msgspec

from llmgw.core.chat import STOP, TOOL_CALLS
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
from llmgw.dialects.base import INVALID
from llmgw.dialects.openai_chat_answer import WireAnswer, WireDelta, made_id, text_or_empty
from llmgw.dialects.openai_chat_failures import failed
from llmgw.dialects.openai_chat_messages import WireCall
from llmgw.dialects.openai_chat_thoughts import read_details
from llmgw.dialects.openai_chat_usage import parse_usage
from llmgw.dialects.sse_decoder import SseDecoder
from llmgw.wire.sse import event_data, event_name

_decode = msgspec.json.Decoder(WireAnswer).decode
_decode_any = msgspec.json.Decoder().decode

_MEDIA = "the model answers with media, which only a whole answer can hold"


class Decoder(SseDecoder):
    """Implements `dialects.base.StreamDecoder`."""

    __slots__ = ("_choices", "_done", "_failed", "_started", "_told", "_usage")

    def __init__(self) -> None:
        super().__init__()
        self._choices: dict[int, _Choice] = {}
        self._started = False
        self._failed = False
        self._done = False
        self._usage: Usage | None = None
        self._told: Usage | None = None

    def close(self) -> list[ChatEvent]:
        out = super().close()
        if not self._done:
            self._count(out)
            choices = self._choices.values()
            if choices and not self._failed and all(choice.ended for choice in choices):
                out.append(Finished())
            self._done = True
        return out

    def _event(self, raw: bytes, out: list[ChatEvent]) -> None:
        data = event_data(raw)
        if data is None or self._done:
            return
        data = data.strip()
        if data == b"[DONE]":
            self._finish(out)
            return
        if not data:
            return
        try:
            chunk = _decode(data)
            if _is_error(chunk) or (chunk.choices is None and event_name(raw) == b"error"):
                self._fail(chunk, data, out)
            else:
                self._chunk(chunk, out)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ValueError(f"an event is not a chunk of a chat completion: {error}") from None

    def _fail(self, chunk: WireAnswer, data: bytes, out: list[ChatEvent]) -> None:
        """OpenRouter repeats why an answer was cut as an error, after its `finish_reason`: that is none."""
        choices = self._choices.values()
        if chunk.choices and choices and all(choice.ended for choice in choices):
            self._chunk(chunk, out)
            return
        if chunk.usage is not None:
            self._usage = parse_usage(chunk.usage) or self._usage
        self._count(out)
        if not self._failed:
            self._failed = True
            out.append(failed(_decode_any(data)))

    def _finish(self, out: list[ChatEvent]) -> None:
        if not self._failed:
            for choice in self._choices.values():
                choice.end(None, None, out)
        self._count(out)
        if not self._failed:
            out.append(Finished())
        self._done = True

    def _chunk(self, chunk: WireAnswer, out: list[ChatEvent]) -> None:
        wires = chunk.choices
        if not self._started and (wires or text_or_empty(chunk.id)):
            self._started = True
            out.append(Started(text_or_empty(chunk.id), text_or_empty(chunk.model), chunk.created_s))
        if wires and not self._failed:
            for wire in wires:
                index = wire.index if wire.index is not None else 0
                choice = self._choices.get(index)
                if choice is None:
                    choice = self._choices[index] = _Choice(index)
                if choice.ended:
                    continue
                delta = wire.delta or wire.message
                if delta is not None:
                    choice.delta(delta, out)
                    if delta.images:
                        self._failed = True
                        out.append(Failed(INVALID, _MEDIA))
                        return
                if wire.broken:
                    self._failed = True
                    out.append(failed({"code": wire.broken, "message": "the provider broke off"}))
                elif wire.finish_reason:
                    choice.end(*wire.stop(), out)
        usage = chunk.usage
        if usage is None and isinstance(chunk.x_groq, dict):
            usage = chunk.x_groq.get("usage")
        if usage is not None:
            self._usage = parse_usage(usage) or self._usage
            if not wires or all(choice.ended for choice in self._choices.values()):
                self._count(out)

    def _count(self, out: list[ChatEvent]) -> None:
        """Tell the usage, if it was not told yet."""
        if self._usage is not None and self._usage != self._told:
            self._told = self._usage
            out.append(Counted(self._usage))


def _is_error(chunk: WireAnswer) -> bool:
    return chunk.error is not None or chunk.type == "error" or chunk.kind == "error"


class _Call:
    """A tool call. part: None until its name is known."""

    __slots__ = ("id", "name", "open", "part", "text", "waiting")

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.name = ""
        self.part: int | None = None
        self.open = True
        self.text: list[str] = []
        self.waiting: list[str] = []

    def is_followed_by(self, name: str, arguments: str) -> bool:
        """Whether a piece with a name but no id begins another call, rather than saying the name again."""
        if not self.name or (self.text and not self.is_whole()):
            return False
        return name != self.name or (bool(self.text) and arguments.lstrip().startswith("{"))

    def is_whole(self) -> bool:
        """Whether its arguments are a whole JSON text."""
        try:
            _decode_any("".join(self.text))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return False
        return True


class _Choice:
    """One choice: which part is open, and its tool calls."""

    __slots__ = ("_by_index", "_calls", "_detail", "_held", "_index", "_kind", "_part", "_parts", "ended")

    def __init__(self, index: int) -> None:
        self._index = index
        self._parts = 0
        self._kind: str | None = None  # of the open part, which is no tool call
        self._part = 0
        self._detail: int | None = None  # the entry of `reasoning_details` that the open part is from
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._held: list[tuple[str, str, str | None, str | None]] = []
        self.ended = False

    def delta(self, delta: WireDelta, out: list[ChatEvent]) -> None:
        if delta.reasoning_details:
            self._details(delta, out)
        else:
            self._say(THINKING, delta.thoughts, out)
        if isinstance(delta.content, str):
            self._say(TEXT, delta.content, out)
        elif delta.content is not None:
            for piece in delta.content:
                if piece.type == "thinking":
                    self._say(THINKING, piece.thoughts(), out, piece.signature)
                else:
                    self._say(TEXT, piece.text or "", out)
        if delta.refusal:
            self._say(REFUSED, delta.refusal, out)
        for call in delta.tool_calls or ():
            self._call(call, out)

    def end(self, stop: str | None, stop_sequence: str | None, out: list[ChatEvent]) -> None:
        """End the choice, once. stop: None where the provider gave no reason."""
        if self.ended:
            return
        self.ended = True
        for call in self._calls:
            if call.part is None:
                self._begin(call, out)
        self._close(out)
        self._close_calls(out)
        self._release(out)
        self._close(out)
        if stop is None:
            stop = TOOL_CALLS if self._calls else STOP
        out.append(ChoiceEnded(self._index, stop, stop_sequence))

    def _say(
        self,
        kind: str,
        text: str,
        out: list[ChatEvent],
        signature: str | None = None,
        redacted: str | None = None,
    ) -> None:
        """More of the part of a kind, which begins if another is open.

        Amid the arguments of a call it waits: no part begins while a call is open.
        """
        if not (text or signature or redacted):
            return
        if self._kind != kind:
            if any(call.open and call.part is not None and not call.is_whole() for call in self._calls):
                self._held.append((kind, text, signature, redacted))
                return
            self._release(out)
        if self._kind != kind:
            self._close(out)
            self._close_calls(out)
            self._kind = kind
            self._part = self._next()
            out.append(PartStarted(self._index, self._part, kind))
        if text:
            out.append(Delta(self._index, self._part, text))
        if signature or redacted:
            out.append(Signed(self._index, self._part, signature or None, redacted))

    def _release(self, out: list[ChatEvent]) -> None:
        held, self._held = self._held, []
        for kind, text, signature, redacted in held:
            self._say(kind, text, out, signature, redacted)

    def _close(self, out: list[ChatEvent]) -> None:
        if self._kind is not None:
            out.append(PartEnded(self._index, self._part))
            self._kind = None

    def _close_calls(self, out: list[ChatEvent], *, whole_only: bool = False) -> None:
        for call in self._calls:
            if call.open and call.part is not None and (not whole_only or call.is_whole()):
                call.open = False
                out.append(PartEnded(self._index, call.part))

    def _next(self) -> int:
        self._parts += 1
        return self._parts - 1

    def _details(self, delta: WireDelta, out: list[ChatEvent]) -> None:
        """Thoughts with entries, whose text is that of the text member where both are."""
        details = read_details(delta.reasoning_details)
        apart = delta.thoughts if "".join(d.shown for d, _ in details) != delta.thoughts else ""
        self._say(THINKING, apart, out)
        for detail, raw in details:
            redacted = detail.redacted(raw)
            if self._kind == THINKING and (redacted or (detail.shown and detail.index != self._detail)):
                self._close(out)
            if redacted:
                self._say(THINKING, "", out, detail.signature, redacted)
                self._close(out)
                continue
            self._say(THINKING, "" if apart else detail.shown, out, detail.signature)
            if detail.shown:
                self._detail = detail.index

    def _call(self, wire: WireCall, out: list[ChatEvent]) -> None:
        name = wire.name
        call = self._find(wire, name)
        if call is None:
            call = _Call(wire.id or "")
            self._calls.append(call)
            if wire.index is not None:
                self._by_index[wire.index] = call
        call.id = call.id or wire.id or ""
        call.name = call.name or name
        arguments = wire.arguments
        if call.part is None:
            if arguments:
                call.waiting.append(arguments)
            if call.name:
                self._begin(call, out)
        elif arguments and call.open:
            call.text.append(arguments)
            out.append(Delta(self._index, call.part, arguments))
        if wire.signature and call.part is not None and call.open:
            out.append(Signed(self._index, call.part, wire.signature))

    def _find(self, wire: WireCall, name: str) -> _Call | None:
        """The call that a piece belongs to, None when it begins one."""
        call_id = wire.id
        if wire.index is None:
            if not call_id:
                return None if name or not self._calls else self._calls[-1]
        else:
            call = self._by_index.get(wire.index)
            if call is None or not name:
                return call
            if not call_id:
                return None if call.is_followed_by(name, wire.arguments) else call
            if not call.id or call_id == call.id:
                return call
        return next((call for call in self._calls if call.id == call_id), None)

    def _begin(self, call: _Call, out: list[ChatEvent]) -> None:
        self._close(out)
        self._close_calls(out, whole_only=True)
        call.part = self._next()
        call.id = call.id or made_id()
        out.append(PartStarted(self._index, call.part, TOOL_CALL, call.id, call.name))
        for text in call.waiting:
            call.text.append(text)
            out.append(Delta(self._index, call.part, text))
        call.waiting.clear()
