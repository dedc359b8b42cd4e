"""Streams of Ollama's API: one JSON object a line, of `/api/chat` or `/api/generate`.

Each line is a piece of thinking, of text, or whole tool calls; the last says `done` with the
reason and the counts. A count of zero is left out of it (Ollama's `omitempty`). An error is a
line with `error` and nothing after it.
"""

from __future__ import annotations

import time
import zlib
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from llmgw.core.chat import LENGTH, STOP, TOOL_CALLS, ToolCall
from llmgw.core.errors import GatewayError, InvalidRequest
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
from llmgw.dialects.ollama_render import Json, render_call
from llmgw.dialects.ollama_request import WireMessage, arguments_of
from llmgw.dialects.one_choice import OneChoiceEncoder
from llmgw.dialects.openai_chat_failures import failed

MAX_LINE = 1024 * 1024
_ABSURD = 10**9


class WireAnswer(Struct):
    """A line of a stream, or a whole answer."""

    model: str | None = None
    created_at: str | None = None
    message: WireMessage | None = None
    response: str | None = None
    thinking: str | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: object = None
    eval_count: object = None
    error: object = None


_decode = msgspec.json.Decoder(WireAnswer).decode
_encode = msgspec.json.Encoder().encode


def read(data: bytes) -> WireAnswer:
    """A line or an answer. Raises ValueError when it is not one."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the answer is not of Ollama's API: {error}") from None


def parse_usage(wire: WireAnswer) -> Usage | None:
    """Ours from the last line; None when the prompt was not counted: it may have been cached."""
    into = wire.prompt_eval_count
    out = 0 if wire.eval_count is None else wire.eval_count
    if type(into) is not int or type(out) is not int:
        return None
    return Usage(into, out) if 0 <= into <= _ABSURD and 0 <= out <= _ABSURD else None


def created_s(wire: WireAnswer) -> int | None:
    """UTC seconds; None when the time is missing or cannot be read."""
    try:
        return int(datetime.fromisoformat(wire.created_at or "").timestamp())
    except ValueError:
        return None


def created_at(seconds: int | None) -> str:
    """The time as Ollama writes it; now when it is None."""
    moment = time.time() if seconds is None else seconds
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def stop_of(wire: WireAnswer, calls: bool) -> str:
    """Why an answer ended. calls: whether it holds a tool call."""
    if wire.done_reason == "length":
        return LENGTH
    return TOOL_CALLS if calls else STOP


def calls_of(wire: WireAnswer, before: int) -> list[ToolCall]:
    """The tool calls of a line. before: how many came in the lines before it.

    A call without an id gets one that differs between answers, by the time they were made at.
    """
    calls: list[ToolCall] = []
    for call in (wire.message.tool_calls if wire.message else None) or ():
        if call.function is not None and call.function.name:
            number = before + len(calls)
            made = f"call_{zlib.crc32((wire.created_at or '').encode()):08x}_{number}"
            calls.append(ToolCall(call.id or made, call.function.name, arguments_of(call.function)))
    return calls


class OllamaDecoder:
    """A `StreamDecoder`."""

    __slots__ = ("_calls", "_ended", "_open", "_parts", "_pending", "_started")

    def __init__(self) -> None:
        self._pending = b""
        self._started = False
        self._ended = False
        self._open: str | None = None
        self._parts = 0
        self._calls = 0

    def feed(self, data: bytes) -> list[ChatEvent]:
        *lines, pending = (self._pending + data if self._pending else data).split(b"\n")
        if len(pending) > MAX_LINE:
            raise ValueError(f"a line is longer than {MAX_LINE} bytes")
        self._pending = pending
        out: list[ChatEvent] = []
        for line in lines:
            self._read(line, out)
        return out

    def close(self) -> list[ChatEvent]:
        out: list[ChatEvent] = []
        try:
            self._read(self._pending, out)
        except ValueError:
            return []  # cut within its last line
        return out

    def _read(self, line: bytes, out: list[ChatEvent]) -> None:
        line = line.strip()
        if not line or self._ended:
            return
        wire = read(line)
        if not self._started:
            self._started = True
            out.append(Started("", wire.model or "", created_s(wire)))
        if wire.error is not None:
            self._end_part(out)
            out.append(failed({"error": wire.error}))
            self._ended = True
            return
        message = wire.message
        self._add(THINKING, message.thinking if message else wire.thinking, out)
        self._add(TEXT, message.content if message else wire.response, out)
        for call in calls_of(wire, self._calls):
            self._call(call, out)
        if wire.done:
            self._end_part(out)
            out.append(ChoiceEnded(0, stop_of(wire, self._calls > 0)))
            usage = parse_usage(wire)
            if usage is not None:
                out.append(Counted(usage))
            out.append(Finished())
            self._ended = True

    def _add(self, kind: str, text: str | None, out: list[ChatEvent]) -> None:
        if not text:
            return
        if self._open != kind:
            self._end_part(out)
            self._open = kind
            out.append(PartStarted(0, self._parts, kind))
        out.append(Delta(0, self._parts, text))

    def _call(self, call: ToolCall, out: list[ChatEvent]) -> None:
        self._end_part(out)
        out.append(PartStarted(0, self._parts, TOOL_CALL, call.id, call.name))
        if call.arguments:
            out.append(Delta(0, self._parts, call.arguments))
        out.append(PartEnded(0, self._parts))
        self._parts += 1
        self._calls += 1

    def _end_part(self, out: list[ChatEvent]) -> None:
        if self._open is not None:
            self._open = None
            out.append(PartEnded(0, self._parts))
            self._parts += 1


class _Call(Struct):
    id: str
    name: str
    pieces: list[str]


class OllamaEncoder(OneChoiceEncoder):
    """A `StreamEncoder`. generate: for `/api/generate`, which has no tool calls."""

    __slots__ = ("_calls", "_created", "_generate", "_kinds", "_model", "_said")

    def __init__(self, model: str, generate: bool) -> None:
        super().__init__()
        self._model = model
        self._generate = generate
        self._created: str | None = None
        self._kinds: dict[int, str] = {}
        self._calls: dict[int, _Call] = {}
        self._said = 0

    def _start(self, event: Started) -> bytes:
        self._created = self._created or created_at(event.created_s)
        return b""

    def _begin_part(self, event: PartStarted) -> bytes:
        self._kinds[event.part] = event.kind
        if event.kind == TOOL_CALL:
            call_id = event.call_id or f"call_{event.part}"
            self._calls[event.part] = _Call(call_id, event.name or "", [])
        return b""

    def _delta(self, event: Delta) -> bytes:
        if not event.text:
            return b""
        call = self._calls.get(event.part)
        if call is not None:
            call.pieces.append(event.text)
            return b""
        if self._kinds.get(event.part) == THINKING:
            return self._line(message(self._generate, "", event.text))
        return self._line(message(self._generate, event.text))

    def _end_part(self, part: int) -> bytes:
        call = self._calls.pop(part, None)
        if call is None or self._generate:
            return b""
        try:
            rendered = render_call(ToolCall(call.id, call.name, "".join(call.pieces)), self._said)
        except InvalidRequest as error:
            return self._break(error)
        self._said += 1
        return self._line(message(False, "", calls=[rendered]))

    def _finish(self) -> bytes:
        out = b"".join(self._end_part(part) for part in list(self._calls))
        if self._ended:
            return out
        self._ended = True
        return out + self._line({**message(self._generate, ""), **ending(self._stop, self._usage)})

    def _break(self, error: GatewayError | Failed) -> bytes:
        self._ended = True
        return _encode({"error": error.message}) + b"\n"

    def _line(self, body: Json) -> bytes:
        self._created = self._created or created_at(None)
        whole = {"model": self._model, "created_at": self._created, "done": False, **body}
        return _encode(whole) + b"\n"


def message(
    generate: bool,
    text: str,
    thinking: str = "",
    calls: list[Json] | None = None,
    images: list[str] | None = None,
) -> Json:
    """What a line or an answer says. images: base64, with `/api/chat` only."""
    body: Json = {} if generate else {"role": "assistant"}
    body["response" if generate else "content"] = text
    if thinking:
        body["thinking"] = thinking
    if calls:
        body["tool_calls"] = calls
    if images:
        body["images"] = images
    return body if generate else {"message": body}


def ending(stop: str | None, usage: Usage | None) -> Json:
    """What the last line says besides."""
    body: Json = {"done": True, "done_reason": "length" if stop == LENGTH else "stop"}
    if usage is not None:
        body["prompt_eval_count"] = usage.input_tokens
        body["eval_count"] = usage.output_tokens
    return body
