"""Answers to clients of Cohere's chat, version 2: whole, and as a stream of named events."""

from __future__ import annotations

from uuid import uuid4

import msgspec

from llmgw.core.chat import (
    CONTENT_FILTER,
    LENGTH,
    REFUSAL,
    STOP_SEQUENCE,
    TOOL_CALLS,
    ChatAnswer,
    Choice,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from llmgw.core.errors import GatewayError
from llmgw.core.events import THINKING, TOOL_CALL, Delta, Failed, PartStarted, Started
from llmgw.core.usage import Usage
from llmgw.dialects.cohere_failures import failed_end
from llmgw.dialects.one_choice import OneChoiceEncoder
from llmgw.dialects.unsaid import unknown_media
from llmgw.wire.sse import render_event

Json = dict[str, object]

_REASONS = {
    LENGTH: "MAX_TOKENS",
    TOOL_CALLS: "TOOL_CALL",
    STOP_SEQUENCE: "STOP_SEQUENCE",
    CONTENT_FILTER: "ERROR_TOXIC",
    REFUSAL: "ERROR_TOXIC",
}

_encode = msgspec.json.Encoder().encode


def render_answer(answer: ChatAnswer) -> bytes:
    """A whole answer. Of several choices the first. Raises UnsupportedOperation for images and the like."""
    choice = answer.choices[0] if answer.choices else Choice(())
    content: list[Json] = []
    calls: list[Json] = []
    for part in choice.parts:
        if isinstance(part, Text | Refusal):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, Thinking) and part.text:
            content.append({"type": "thinking", "thinking": part.text})
        elif isinstance(part, ToolCall):
            calls.append(_call(part.id, part.name, part.arguments or "{}"))
        elif not isinstance(part, Thinking):
            raise unknown_media()
    message: Json = {"role": "assistant"}
    if content or not calls:
        message["content"] = content
    if calls:
        message["tool_calls"] = calls
    body: Json = {
        "id": answer.id or str(uuid4()),
        "finish_reason": _reason(choice.stop),
        "message": message,
    }
    if answer.usage is not None:
        body["usage"] = _usage(answer.usage)
    return _encode(body)


def _reason(stop: str | None) -> str:
    return _REASONS.get(stop or "", "COMPLETE")


def _call(call_id: str, name: str, arguments: str) -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _usage(usage: Usage) -> Json:
    tokens = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    body: Json = {"billed_units": tokens, "tokens": tokens, "cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens:
        body["tokens"] = {**tokens, "reasoning_tokens": usage.reasoning_tokens}
    return body


class CohereEncoder(OneChoiceEncoder):
    """A `StreamEncoder`. Texts and thoughts are numbered as content, calls by numbers of their own."""

    __slots__ = ("_begun", "_calls", "_contents", "_id", "_open")

    def __init__(self) -> None:
        super().__init__()
        self._id = ""
        self._begun = False
        self._open: dict[int, tuple[str, int]] = {}
        self._contents = 0
        self._calls = 0

    def _start(self, event: Started) -> bytes:
        self._id = event.id
        return self._begin()

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        self._id = self._id or str(uuid4())
        return _event("message-start", {"id": self._id, "delta": {"message": message}})

    def _begin_part(self, event: PartStarted) -> bytes:
        begun = self._begin()
        if event.kind == TOOL_CALL:
            self._open[event.part] = ("tool-call", self._calls)
            call = _call(event.call_id or f"call_{self._calls}", event.name or "", "")
            self._calls += 1
            return begun + self._at(event.part, "start", {"tool_calls": call})
        kind = "thinking" if event.kind == THINKING else "text"
        self._open[event.part] = (kind, self._contents)
        self._contents += 1
        return begun + self._at(event.part, "start", {"content": {"type": kind, kind: ""}})

    def _delta(self, event: Delta) -> bytes:
        kind = self._open.get(event.part)
        if kind is None or not event.text:
            return b""
        if kind[0] == "tool-call":
            return self._at(event.part, "delta", {"tool_calls": {"function": {"arguments": event.text}}})
        return self._at(event.part, "delta", {"content": {kind[0]: event.text}})

    def _end_part(self, part: int) -> bytes:
        if part not in self._open:
            return b""
        event = self._at(part, "end", None)
        del self._open[part]
        return event

    def _at(self, part: int, what: str, message: Json | None) -> bytes:
        """An event of an open part."""
        kind, index = self._open[part]
        body: Json = {"index": index}
        if message is not None:
            body["delta"] = {"message": message}
        return _event(f"{kind if kind == 'tool-call' else 'content'}-{what}", body)

    def _finish(self) -> bytes:
        pieces = [self._begin(), *(self._end_part(part) for part in list(self._open))]
        self._ended = True
        delta: Json = {"finish_reason": _reason(self._stop)}
        if self._usage is not None:
            delta["usage"] = _usage(self._usage)
        pieces.append(_event("message-end", {"id": self._id, "delta": delta}))
        return b"".join(pieces)

    def _break(self, error: GatewayError | Failed) -> bytes:
        begun = self._begin()
        self._ended = True
        return begun + failed_end(error.message)


def _event(name: str, body: Json) -> bytes:
    return render_event(_encode({"type": name, **body}), name.encode())
