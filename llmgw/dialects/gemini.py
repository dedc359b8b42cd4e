"""Gemini's dialect: `generateContent`, `streamGenerateContent`, `countTokens`.

The same on the Gemini API and on Vertex AI. `streamGenerateContent` answers with a JSON array unless it is
asked with `alt=sse`; `DIALECT` writes events, `ARRAY` the array, and both read either.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from llmgw.core.chat import ChatAnswer, ChatRequest
from llmgw.dialects.base import Dialect, Rendered, StreamDecoder, StreamEncoder, UpstreamFailure
from llmgw.dialects.gemini_answer import parse_answer, render_answer
from llmgw.dialects.gemini_encoder import GeminiEncoder
from llmgw.dialects.gemini_errors import parse_failure
from llmgw.dialects.gemini_render import render_request
from llmgw.dialects.gemini_request import parse_request
from llmgw.dialects.gemini_stream import GeminiDecoder


class _CountAnswer(Struct, rename="camel"):
    total_tokens: int


_decode_count = msgspec.json.Decoder(_CountAnswer).decode


class Gemini:
    """array: streams to clients are JSON arrays."""

    __slots__ = ("_array",)

    def __init__(self, array: bool = False) -> None:
        self._array = array

    def parse_request(self, body: bytes, model: str, stream: bool) -> ChatRequest:
        return parse_request(body, model, stream)

    def render_request(self, request: ChatRequest) -> Rendered:
        return render_request(request)

    def parse_answer(self, body: bytes) -> ChatAnswer:
        return parse_answer(body)

    def render_answer(self, answer: ChatAnswer) -> bytes:
        return render_answer(answer)

    def parse_failure(self, status: int, body: bytes) -> UpstreamFailure:
        return parse_failure(status, body)

    def decoder(self) -> StreamDecoder:
        return GeminiDecoder()

    def encoder(self, request: ChatRequest, model: str, include_usage: bool) -> StreamEncoder:
        """include_usage is of no effect: Gemini's streams always tell it."""
        return GeminiEncoder(model, self._array)


DIALECT: Dialect = Gemini()
ARRAY: Dialect = Gemini(array=True)


def parse_count_answer(body: bytes) -> int:
    """The tokens that an upstream counted. Raises ValueError when it does not say."""
    try:
        count = _decode_count(body).total_tokens
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise ValueError(f"not a count of tokens: {error}") from None
    if count < 0:
        raise ValueError("not a count of tokens: it is negative")
    return count


def render_count_answer(tokens: int) -> bytes:
    return b'{"totalTokens":%d}' % tokens
