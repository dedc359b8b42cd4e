"""A Gemini stream, written: as server-sent events (`alt=sse`), or as one JSON array.

Text and thoughts go out as they come. Gemini's calls are whole, so a call waits for its end. Reasons to
end and the usage come last, together, because usage may come late.

Promise: what is written is a well-formed stream of Gemini's whatever is fed; after an error nothing more
is written, not even the end of the array, and a candidate's end is only told when the upstream was
complete.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from llmgw.core import events
from llmgw.core.chat import ToolCall
from llmgw.core.errors import GatewayError
from llmgw.core.events import (
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
from llmgw.dialects.gemini_answer import render_call, stop_reason
from llmgw.dialects.gemini_array import END, element
from llmgw.dialects.gemini_errors import error_body, failure_body
from llmgw.dialects.gemini_parts import Wire
from llmgw.dialects.gemini_signatures import client_signature
from llmgw.dialects.gemini_wire import render_usage

_encode = msgspec.json.Encoder().encode


class _Part(Struct):
    """A part that has begun. text: of its arguments, for a call."""

    kind: str
    call_id: str = ""
    name: str = ""
    text: list[str] = []
    signature: str | None = None
    shown: bool = False


class GeminiEncoder:
    """Writes one stream.

    model: the public name that was asked for. array: a JSON array rather than server-sent events.
    """

    __slots__ = ("_array", "_begun", "_malformed", "_over", "_parts", "_stops", "_tail", "_usage")

    def __init__(self, model: str, array: bool) -> None:
        self._array = array
        self._tail = b',"modelVersion":' + _encode(model)
        self._parts: dict[tuple[int, int], _Part] = {}
        self._stops: dict[int, str | None] = {}
        self._malformed: set[int] = set()
        self._usage: Usage | None = None
        self._begun = False
        self._over = False

    def feed(self, event: ChatEvent) -> bytes:
        """The bytes for an event, b"" where Gemini says nothing then."""
        if self._over:
            return b""
        kind = type(event)
        if kind is Delta:
            return self._delta(event)  # type: ignore[arg-type]
        if isinstance(event, PartStarted):
            self._parts[event.choice, event.part] = _Part(event.kind, event.call_id or "", event.name or "")
            self._stops.setdefault(event.choice, None)
        elif isinstance(event, Signed):
            return self._signed(event)
        elif isinstance(event, PartEnded):
            return self._ended(event.choice, event.part)
        elif isinstance(event, ChoiceEnded):
            self._stops[event.choice] = event.stop
            return self._flush(event.choice)
        elif isinstance(event, Counted):
            self._usage = event.usage
        elif isinstance(event, Started):
            if event.id and not self._begun:
                self._tail += b',"responseId":' + _encode(event.id)
        elif isinstance(event, Failed):
            return self._end(failure_body(event.code, event.message))
        elif isinstance(event, Finished):
            return self._finish()
        return b""

    def fail(self, error: GatewayError) -> bytes:
        """The end of a stream that broke."""
        return b"" if self._over else self._end(error_body(error))

    def _delta(self, event: Delta) -> bytes:
        part = self._parts.get((event.choice, event.part))
        if part is None:
            part = self._parts[event.choice, event.part] = _Part(events.TEXT)
            self._stops.setdefault(event.choice, None)
        if part.kind == events.TOOL_CALL:
            part.text.append(event.text)
            return b""
        if not event.text:
            return b""
        part.shown = True
        thought = b',"thought":true}' if part.kind == events.THINKING else b"}"
        return self._chunk(event.choice, b'{"text":' + _encode(event.text) + thought)

    def _signed(self, event: Signed) -> bytes:
        part = self._parts.get((event.choice, event.part))
        if part is not None and part.kind == events.TOOL_CALL:
            part.signature = event.signature
            return b""
        if event.signature is None:
            return b""
        wire: Wire = {"text": "", "thoughtSignature": client_signature(event.signature)}
        if part is not None and part.kind == events.THINKING and part.shown:
            wire["thought"] = True
        self._stops.setdefault(event.choice, None)
        return self._chunk(event.choice, _encode(wire))

    def _ended(self, choice: int, number: int) -> bytes:
        part = self._parts.pop((choice, number), None)
        if part is None or part.kind != events.TOOL_CALL:
            return b""
        try:
            wire = render_call(ToolCall(part.call_id, part.name, "".join(part.text), part.signature))
        except ValueError:
            self._malformed.add(choice)
            return b""
        return self._chunk(choice, _encode(wire))

    def _flush(self, choice: int) -> bytes:
        """The calls of a choice that were not told to have ended."""
        return b"".join(
            self._ended(choice, number)
            for _, number in sorted(key for key in self._parts if key[0] == choice)
        )

    def _finish(self) -> bytes:
        out = [self._flush(choice) for choice in sorted(self._stops)]
        body: Wire = {
            "candidates": [
                {
                    "content": {"parts": [{"text": ""}], "role": "model"},
                    "finishReason": stop_reason(stop, choice in self._malformed),
                    "index": choice,
                }
                for choice, stop in sorted((self._stops or {0: None}).items())
            ]
        }
        if self._usage is not None:
            body["usageMetadata"] = render_usage(self._usage)
        out.append(self._end(_encode(body)[:-1] + self._tail + b"}"))
        if self._array:
            out.append(END)
        return b"".join(out)

    def _chunk(self, choice: int, part: bytes) -> bytes:
        return self._framed(
            b'{"candidates":[{"content":{"parts":[%b],"role":"model"},"index":%d}]%b}'
            % (part, choice, self._tail)
        )

    def _end(self, document: bytes) -> bytes:
        """The last document."""
        self._over = True
        return self._framed(document)

    def _framed(self, document: bytes) -> bytes:
        first, self._begun = not self._begun, True
        return element(document, first) if self._array else b"data: " + document + b"\r\n\r\n"
