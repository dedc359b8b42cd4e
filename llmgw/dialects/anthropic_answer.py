"""A message: a whole answer of the messages API.

Facts (Anthropic API reference, Messages and "Handling stop reasons"): an answer is one choice, a list of
blocks. Blocks of tools that the provider ran itself are no part of what was said. A tool call's input is
an object; arguments that are none are given as `{"INVALID_JSON": ...}`, which Anthropic's guide to
fine-grained tool streaming uses for it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from llmgw.core.chat import (
    CONTENT_FILTER,
    LENGTH,
    PAUSE,
    REFUSAL,
    STOP,
    STOP_SEQUENCE,
    TOOL_CALLS,
    ChatAnswer,
    Choice,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from llmgw.dialects.anthropic_turns import Wire, input_object
from llmgw.dialects.anthropic_usage import WireUsage, parse_usage, render_usage
from llmgw.dialects.openai_responses_signatures import CALL, wrap
from llmgw.dialects.unsaid import unknown_media

_encode = msgspec.json.Encoder().encode

_STOPS = {
    "end_turn": STOP,
    "max_tokens": LENGTH,
    "model_context_window_exceeded": LENGTH,
    "stop_sequence": STOP_SEQUENCE,
    "tool_use": TOOL_CALLS,
    "pause_turn": PAUSE,
    "refusal": REFUSAL,
}
_REASONS = {
    STOP: "end_turn",
    LENGTH: "max_tokens",
    STOP_SEQUENCE: "stop_sequence",
    TOOL_CALLS: "tool_use",
    PAUSE: "pause_turn",
    REFUSAL: "refusal",
    CONTENT_FILTER: "refusal",
}


class WireBlock(Struct):
    """A block of an answer, whichever it is."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: object = None
    id: str | None = None
    name: str | None = None
    input: Raw = Raw()

    @property
    def arguments(self) -> str:
        """A call's input as JSON text, "" for none."""
        text = bytes(self.input).decode()
        return "" if text == "null" else text


class WireMessage(Struct):
    content: list[WireBlock]
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: WireUsage | None = None


_decode = msgspec.json.Decoder(WireMessage).decode


def parse_answer(body: bytes) -> ChatAnswer:
    """A whole answer of an upstream. Raises ValueError when it is not of the dialect's shape."""
    try:
        wire = _decode(body)
        parts = tuple(part for block in wire.content if (part := _part(block)) is not None)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"the answer is not a message: {error}") from None
    stop = parse_stop(wire.stop_reason) if wire.stop_reason is not None else None
    return ChatAnswer(
        id=wire.id or "",
        model=wire.model or "",
        choices=(Choice(parts, stop, wire.stop_sequence),),
        usage=parse_usage(wire.usage),
    )


def parse_stop(reason: str) -> str:
    """Why an answer ended, in our words; reasons that nobody knows yet are an end like any other."""
    return _STOPS.get(reason, STOP)


def stop_reason(stop: str | None, *, calls: bool) -> str:
    """Why an answer ended, in Anthropic's words.

    calls: whether it has tool calls. A client runs tools only when it reads `tool_use`, while some
    providers end such answers like any other. A refusal in words is an end like any other: `refusal`
    is what Anthropic says when its filters step in.
    """
    if stop in (None, STOP):
        stop = TOOL_CALLS if calls else STOP
    return _REASONS.get(stop or STOP, "end_turn")


def render_answer(answer: ChatAnswer) -> bytes:
    """A whole answer to a client. The first choice; a client of this dialect cannot ask for more."""
    choice = answer.choices[0] if answer.choices else Choice(())
    parts = choice.parts
    content: list[Wire] = []
    for part in parts:
        content += _blocks(part)
    reason = stop_reason(choice.stop, calls=any(isinstance(part, ToolCall) for part in parts))
    return _encode(
        {
            "id": answer.id or made_message_id(),
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": choice.stop_sequence if reason == "stop_sequence" else None,
            "usage": render_usage(answer.usage),
        }
    )


def made_message_id() -> str:
    """An id for an answer that came without one."""
    return "msg_" + secrets.token_hex(12)


def made_call_id() -> str:
    """An id for a call that came without one. Unlike a number, no later turn has it again."""
    return "toolu_" + secrets.token_hex(12)


def redacted_block(data: str) -> Wire:
    return {"type": "redacted_thinking", "data": data}


def signature_block(call_id: str, signature: str) -> Wire:
    """What a provider wants back with a tool call, in a block that clients return as it came."""
    return redacted_block(wrap(CALL, signature, call_id))


def _part(block: WireBlock) -> Part | None:
    kind = block.type
    if kind == "text":
        return Text(block.text or "")
    if kind == "tool_use":
        return ToolCall(block.id or made_call_id(), block.name or "", block.arguments)
    if kind == "thinking":
        return Thinking(block.thinking or "", block.signature or None)
    if kind == "redacted_thinking" and isinstance(block.data, str):
        return Thinking("", None, block.data)
    return None


def _blocks(part: Part) -> Sequence[Wire]:
    if isinstance(part, (Text, Refusal)):
        return [{"type": "text", "text": part.text}]
    if isinstance(part, Thinking):
        if part.redacted is not None:
            return [redacted_block(part.redacted)]
        return [{"type": "thinking", "thinking": part.text, "signature": part.signature or ""}]
    if not isinstance(part, ToolCall):
        raise unknown_media()
    call_id = part.id or made_call_id()
    value: object = input_object(part.arguments)
    if value is None:
        value = {"INVALID_JSON": part.arguments}
    call: Wire = {"type": "tool_use", "id": call_id, "name": part.name, "input": value}
    if part.signature is None:
        return [call]
    return [signature_block(call_id, part.signature), call]
