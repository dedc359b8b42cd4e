"""Cohere's chat, version 2, as what an upstream speaks. No client does, so half a dialect is refused."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from llmgw.core.chat import ChatAnswer, ChatRequest, Choice, Part, Text, Thinking, ToolCall
from llmgw.core.errors import UnsupportedOperation
from llmgw.dialects.base import Dialect, Rendered, StreamDecoder, StreamEncoder, UpstreamFailure
from llmgw.dialects.cohere_render import render_request
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


class _Message(Struct):
    content: list[WireBlock] | str | None = None
    tool_plan: str | None = None
    tool_calls: list[WireCall] | None = None


class _Answer(Struct):
    message: _Message
    id: str | None = None
    finish_reason: str | None = None
    usage: WireUsage | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_decode_any = msgspec.json.Decoder().decode


def parse_answer(body: bytes) -> ChatAnswer:
    """A whole answer. Raises ValueError when it is not one, or when its generation failed."""
    try:
        wire = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the answer is not of Cohere's chat: {error}") from None
    if wire.finish_reason in FAILED_ENDS:
        raise ValueError(f"the generation ended with {wire.finish_reason}")
    message = wire.message
    parts: list[Part] = []
    blocks = message.content or []
    for block in [WireBlock(text=blocks)] if isinstance(blocks, str) else blocks:
        if block.thinking:
            parts.append(Thinking(block.thinking))
        if block.text:
            parts.append(Text(block.text))
    if message.tool_plan:
        parts.append(Thinking(message.tool_plan))
    calls = [_call(call, number) for number, call in enumerate(message.tool_calls or ())]
    parts.extend(calls)
    choice = Choice(tuple(parts), parse_stop(wire.finish_reason, bool(calls)))
    return ChatAnswer(id=wire.id or "", model="", choices=(choice,), usage=parse_usage(wire.usage))


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
    """The dialect, in an upstream's role."""

    __slots__ = ()

    def parse_request(self, body: bytes, model: str, stream: bool) -> ChatRequest:
        raise _no_client()

    def render_request(self, request: ChatRequest) -> Rendered:
        return render_request(request)

    def parse_answer(self, body: bytes) -> ChatAnswer:
        return parse_answer(body)

    def render_answer(self, answer: ChatAnswer) -> bytes:
        raise _no_client()

    def parse_failure(self, status: int, body: bytes) -> UpstreamFailure:
        return parse_failure(status, body)

    def decoder(self) -> StreamDecoder:
        return CohereDecoder()

    def encoder(self, request: ChatRequest, model: str, include_usage: bool) -> StreamEncoder:
        raise _no_client()


def _no_client() -> UnsupportedOperation:
    return UnsupportedOperation("clients are not served in Cohere's own API")


DIALECT: Dialect = Cohere()
