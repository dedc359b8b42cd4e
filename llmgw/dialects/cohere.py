"""Cohere's chat, version 2, as what a client speaks and as what an upstream speaks."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from llmgw.core.chat import ChatAnswer, ChatRequest, Choice, Part, Text, Thinking, ToolCall
from llmgw.dialects.base import Dialect, Rendered, StreamDecoder, StreamEncoder, UpstreamFailure
from llmgw.dialects.cohere_encoder import CohereEncoder, render_answer
from llmgw.dialects.cohere_render import render_request
from llmgw.dialects.cohere_request import parse_request
from llmgw.dialects.cohere_stream import (
    FAILED_ENDS,
    CohereDecoder,
    WireBlock,
    WireCall,
    WireUsage,
    failure_of,
    parse_stop,
    parse_usage,
)


class WireMessage(Struct):
    content: list[WireBlock] | str | None = None
    tool_plan: str | None = None
    tool_calls: list[WireCall] | None = None


class WireAnswer(Struct):
    message: WireMessage
    id: str | None = None
    finish_reason: str | None = None
    usage: WireUsage | None = None


_decode = msgspec.json.Decoder(WireAnswer).decode
_decode_any = msgspec.json.Decoder().decode


def read(body: bytes) -> WireAnswer:
    """A whole answer as it stands. Raises ValueError when it is not one."""
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the answer is not of Cohere's chat: {error}") from None


def parse_answer(body: bytes) -> ChatAnswer:
    """A whole answer. Raises ValueError when it is not one, or when its generation failed."""
    wire = read(body)
    if wire.finish_reason in FAILED_ENDS:
        raise ValueError(f"the generation ended with {wire.finish_reason}")
    parts = parts_of(wire.message)
    called = any(isinstance(part, ToolCall) for part in parts)
    choice = Choice(tuple(parts), parse_stop(wire.finish_reason, called))
    return ChatAnswer(id=wire.id or "", model="", choices=(choice,), usage=parse_usage(wire.usage))


def parts_of(message: WireMessage) -> list[Part]:
    """What a message says, in order. Raises ValueError for a call of no tool."""
    parts: list[Part] = []
    blocks = message.content or []
    for block in [WireBlock(text=blocks)] if isinstance(blocks, str) else blocks:
        if block.thinking:
            parts.append(Thinking(block.thinking))
        if block.text:
            parts.append(Text(block.text))
    if message.tool_plan:
        parts.append(Thinking(message.tool_plan))
    parts.extend(_call(call, number) for number, call in enumerate(message.tool_calls or ()))
    return parts


def _call(call: WireCall, number: int) -> ToolCall:
    if call.function is None or not call.function.name:
        raise ValueError("a tool call names no tool")
    return ToolCall(call.id or f"call_{number}", call.function.name, call.function.arguments or "")


def parse_failure(status: int, body: bytes) -> UpstreamFailure:
    """An upstream's error. Whatever the body is, never raises."""
    try:
        document = _decode_any(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        document = None
    return failure_of(document, status)


class Cohere:
    """The dialect.

    always_counts: an answer says its usage (Cohere's own always does).
    """

    __slots__ = ()

    always_counts = True

    def parse_request(self, body: bytes, model: str, stream: bool) -> ChatRequest:
        return parse_request(body, model)

    def render_request(self, request: ChatRequest) -> Rendered:
        return render_request(request)

    def parse_answer(self, body: bytes) -> ChatAnswer:
        return parse_answer(body)

    def render_answer(self, answer: ChatAnswer) -> bytes:
        return render_answer(answer)

    def parse_failure(self, status: int, body: bytes) -> UpstreamFailure:
        return parse_failure(status, body)

    def decoder(self) -> StreamDecoder:
        return CohereDecoder()

    def encoder(self, request: ChatRequest, model: str, include_usage: bool) -> StreamEncoder:
        return CohereEncoder()


DIALECT: Dialect = Cohere()
