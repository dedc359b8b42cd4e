"""Ollama's own API, as what a client speaks and as what an upstream speaks."""

from __future__ import annotations

import msgspec

from llmgw.core.chat import (
    ChatAnswer,
    ChatRequest,
    Choice,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from llmgw.core.errors import InvalidRequest
from llmgw.dialects.base import Dialect, Rendered, StreamDecoder, StreamEncoder, UpstreamFailure
from llmgw.dialects.ollama_render import Json, render_call, render_request
from llmgw.dialects.ollama_request import parse_request
from llmgw.dialects.ollama_stream import (
    OllamaDecoder,
    OllamaEncoder,
    calls_of,
    created_at,
    created_s,
    ending,
    message,
    parse_usage,
    read,
    stop_of,
)
from llmgw.dialects.openai_chat_failures import parse_failure
from llmgw.dialects.unsaid import unknown_media

_encode = msgspec.json.Encoder().encode


def parse_answer(body: bytes) -> ChatAnswer:
    """A whole answer of either path. Raises ValueError when it is not one."""
    wire = read(body)
    if wire.message is None and wire.response is None:
        raise ValueError("the answer is not of Ollama's API: it has neither message nor response")
    parts: list[Part] = []
    thinking = wire.message.thinking if wire.message else wire.thinking
    text = wire.message.content if wire.message else wire.response
    if thinking:
        parts.append(Thinking(thinking))
    if text:
        parts.append(Text(text))
    calls = calls_of(wire, 0)
    parts.extend(calls)
    choice = Choice(tuple(parts), stop_of(wire, bool(calls)))
    return ChatAnswer(
        id="",
        model=wire.model or "",
        choices=(choice,),
        usage=parse_usage(wire),
        created_s=created_s(wire),
    )


def render_answer(answer: ChatAnswer, generate: bool) -> bytes:
    """A whole answer to a client.

    Raises ValueError for a call whose arguments are not an object, and UnsupportedOperation for sound, files
    and, by `/api/generate`, images.
    """
    choice = answer.choices[0] if answer.choices else Choice(())
    texts = [part.text for part in choice.parts if isinstance(part, Text | Refusal)]
    thoughts = [part.text for part in choice.parts if isinstance(part, Thinking)]
    calls: list[Json] = []
    images: list[str] = []
    for part in choice.parts:
        if isinstance(part, ToolCall):
            if generate:
                continue
            try:
                calls.append(render_call(part, len(calls)))
            except InvalidRequest as error:
                raise ValueError(error.message) from None
        elif isinstance(part, Image) and part.data is not None and not generate:
            images.append(part.data)
        elif not isinstance(part, Text | Refusal | Thinking):
            raise unknown_media()
    body: Json = {"model": answer.model, "created_at": created_at(answer.created_s)}
    body |= message(generate, "".join(texts), "".join(thoughts), calls, images)
    return _encode({**body, **ending(choice.stop, answer.usage)})


class Ollama:
    """The dialect. generate: whether the client asks by `/api/generate`; upstreams are asked by chat."""

    __slots__ = ("_generate",)

    def __init__(self, generate: bool) -> None:
        self._generate = generate

    def parse_request(self, body: bytes, model: str, stream: bool) -> ChatRequest:
        return parse_request(body, model, self._generate)

    def render_request(self, request: ChatRequest) -> Rendered:
        return render_request(request)

    def parse_answer(self, body: bytes) -> ChatAnswer:
        return parse_answer(body)

    def render_answer(self, answer: ChatAnswer) -> bytes:
        return render_answer(answer, self._generate)

    def parse_failure(self, status: int, body: bytes) -> UpstreamFailure:
        return parse_failure(status, body)

    def decoder(self) -> StreamDecoder:
        return OllamaDecoder()

    def encoder(self, request: ChatRequest, model: str, include_usage: bool) -> StreamEncoder:
        return OllamaEncoder(model, self._generate)


DIALECT: Dialect = Ollama(generate=False)
"""`/api/chat`, and any upstream."""

GENERATE: Dialect = Ollama(generate=True)
"""`/api/generate`, for clients."""
