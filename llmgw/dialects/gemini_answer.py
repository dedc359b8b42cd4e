"""A whole Gemini answer, read and written.

A call whose arguments are not a JSON object cannot be written: it is left out, and the candidate ends as
Gemini itself ends such a turn, with `MALFORMED_FUNCTION_CALL`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from llmgw.core import chat
from llmgw.core.chat import ChatAnswer, Choice, Part, Text, Thinking, ToolCall, ToolResult
from llmgw.dialects.gemini_parts import Wire, arguments_object, inline_media, linked_media, render_parts
from llmgw.dialects.gemini_signatures import client_signature, read_signature
from llmgw.dialects.gemini_wire import (
    MALFORMED_CALL,
    Candidate,
    FunctionCall,
    WirePart,
    decode_answer,
    make_call_id,
    parse_stop,
    parse_usage,
    render_stop,
    render_usage,
)

_encode = msgspec.json.Encoder().encode


def parse_answer(body: bytes) -> ChatAnswer:
    """A whole answer of an upstream. Raises ValueError when it is not of Gemini's shape."""
    wire = decode_answer(body)
    if wire.failed:
        raise ValueError("an error with a status of success")
    if wire.candidates is None and wire.prompt_feedback is None and wire.usage_metadata is None:
        raise ValueError("not a Gemini answer: it has no candidates")
    answer_id = wire.response_id or ""
    calls = iter(range(10**6))
    candidates = list(enumerate(wire.candidates or ()))
    candidates.sort(key=lambda pair: pair[0] if pair[1].index is None else pair[1].index)
    choices = tuple(_choice(candidate, answer_id, calls) for _, candidate in candidates)
    if not choices:
        choices = (Choice((), chat.CONTENT_FILTER if wire.blocked else None),)
    return ChatAnswer(
        id=answer_id,
        model=wire.model_version or "",
        choices=choices,
        usage=parse_usage(wire.usage_metadata),
        created_s=parse_time(wire.create_time),
    )


def parse_time(text: str | None) -> int | None:
    """UTC seconds of a time such as `2026-05-04T20:01:02.264968Z`; None when it is not one."""
    if not text:
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return None


def _choice(candidate: Candidate, answer_id: str, calls: Iterator[int]) -> Choice:
    parts: list[Part] = []
    for wire in candidate.parts:
        parts.extend(_parts(wire, answer_id, calls))
    called = any(isinstance(part, ToolCall) for part in parts)
    return Choice(tuple(parts), parse_stop(candidate.finish_reason, called))


def _parts(wire: WirePart, answer_id: str, calls: Iterator[int]) -> Iterator[Part]:
    """Ours for one of Gemini's. What the provider's own tools did is not a part of the answer."""
    signature = wire.thought_signature
    if wire.function_call is not None:
        call = wire.function_call
        call_id = call.id or make_call_id(next(calls), answer_id)
        yield ToolCall(call_id, call.name or "", arguments_text(call), signature)
        return
    if wire.thought and wire.text:
        yield Thinking(wire.text, read_signature(signature))
        return
    if wire.text:
        yield Text(wire.text)
    elif wire.inline_data is not None and wire.inline_data.data:
        yield inline_media(wire.inline_data.mime_type, wire.inline_data.data)
    elif wire.file_data is not None and wire.file_data.file_uri:
        yield linked_media(wire.file_data.mime_type, wire.file_data.file_uri)
    if signature is not None:
        yield Thinking("", read_signature(signature))


def arguments_text(call: FunctionCall) -> str:
    """The arguments as they came; "" for none."""
    text = bytes(call.args).decode()
    return "" if text == "null" else text


def render_answer(answer: ChatAnswer) -> bytes:
    """A whole answer to a client."""
    body: Wire = {"candidates": [_candidate(choice, at) for at, choice in enumerate(answer.choices)]}
    if answer.usage is not None:
        body["usageMetadata"] = render_usage(answer.usage)
    body["modelVersion"] = answer.model
    if answer.id:
        body["responseId"] = answer.id
    if answer.created_s is not None:
        body["createTime"] = datetime.fromtimestamp(answer.created_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return _encode(body)


def _candidate(choice: Choice, index: int) -> Wire:
    malformed = False

    def call(part: ToolCall | ToolResult) -> list[Wire]:
        nonlocal malformed
        if isinstance(part, ToolResult):
            return []
        try:
            return [render_call(part)]
        except ValueError:
            malformed = True
            return []

    candidate: Wire = {
        "content": {"parts": render_parts(choice.parts, call, client_signature), "role": "model"}
    }
    if choice.stop is not None:
        candidate["finishReason"] = stop_reason(choice.stop, malformed)
    candidate["index"] = index
    return candidate


def stop_reason(stop: str | None, malformed: bool) -> str:
    """malformed: a call was left out."""
    reason = render_stop(stop)
    return MALFORMED_CALL if malformed and reason == "STOP" else reason


def render_call(part: ToolCall) -> Wire:
    """A call as the model makes it. Raises ValueError when its arguments are not a JSON object."""
    call: Wire = {"name": part.name, "args": arguments_object(part.arguments)}
    if part.id:
        call = {"id": part.id, **call}
    wire: Wire = {"functionCall": call}
    if part.signature is not None:
        wire["thoughtSignature"] = part.signature
    return wire
