"""Anthropic's messages API, as what a client speaks and as what an upstream speaks."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from llmgw.core.chat import ChatAnswer, ChatRequest
from llmgw.dialects.anthropic_answer import parse_answer, render_answer
from llmgw.dialects.anthropic_encoder import Encoder
from llmgw.dialects.anthropic_render import render_count_request, render_request
from llmgw.dialects.anthropic_request import parse_request
from llmgw.dialects.anthropic_stream import Decoder
from llmgw.dialects.base import Dialect, Rendered, StreamDecoder, StreamEncoder, UpstreamFailure
from llmgw.dialects.openai_chat_failures import parse_failure


class _Count(Struct):
    input_tokens: int


_decode_count = msgspec.json.Decoder(_Count).decode


class Anthropic:
    """The dialect, and the counting of tokens at `/v1/messages/count_tokens`.

    always_counts: an answer has to have its usage (Anthropic API reference: `usage` is required).
    """

    __slots__ = ()

    always_counts = True

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
        return Decoder()

    def encoder(self, request: ChatRequest, model: str, include_usage: bool) -> StreamEncoder:
        """include_usage: of no effect; clients of this dialect always expect usage."""
        return Encoder(model)

    def parse_count_request(self, body: bytes, model: str) -> ChatRequest:
        """What is to be counted. It has the shape of a request, without what only shapes the answer."""
        return parse_request(body, model, stream=False)

    def render_count_request(self, request: ChatRequest) -> Rendered:
        return render_count_request(request)

    def parse_count_answer(self, body: bytes) -> int:
        """Tokens of the input. Raises ValueError when it is not of the dialect's shape."""
        try:
            tokens = _decode_count(body).input_tokens
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ValueError(f"the answer is not a count of tokens: {error}") from None
        if tokens < 0:
            raise ValueError(f"the answer counts {tokens} tokens")
        return tokens

    def render_count_answer(self, input_tokens: int) -> bytes:
        return msgspec.json.encode({"input_tokens": input_tokens})


ANTHROPIC = Anthropic()
DIALECT: Dialect = ANTHROPIC
