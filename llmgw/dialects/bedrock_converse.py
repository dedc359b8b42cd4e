"""Amazon Bedrock's Converse, as what an upstream speaks. No client of ours speaks it."""

from __future__ import annotations

from llmgw.core.chat import ChatAnswer, ChatRequest
from llmgw.core.errors import UnsupportedOperation
from llmgw.dialects.base import Dialect, Rendered, StreamDecoder, StreamEncoder, UpstreamFailure
from llmgw.dialects.bedrock_answer import parse_answer, parse_failure
from llmgw.dialects.bedrock_render import render_request
from llmgw.dialects.bedrock_stream import Decoder

_NO_CLIENTS = "Converse is spoken to upstreams only"


class BedrockConverse:
    """The dialect."""

    __slots__ = ()

    def parse_request(self, body: bytes, model: str, stream: bool) -> ChatRequest:
        raise UnsupportedOperation(_NO_CLIENTS)

    def render_request(self, request: ChatRequest) -> Rendered:
        return render_request(request)

    def parse_answer(self, body: bytes) -> ChatAnswer:
        return parse_answer(body)

    def render_answer(self, answer: ChatAnswer) -> bytes:
        raise UnsupportedOperation(_NO_CLIENTS)

    def parse_failure(self, status: int, body: bytes) -> UpstreamFailure:
        return parse_failure(status, body)

    def decoder(self) -> StreamDecoder:
        return Decoder()

    def encoder(self, request: ChatRequest, model: str, include_usage: bool) -> StreamEncoder:
        raise UnsupportedOperation(_NO_CLIENTS)


DIALECT: Dialect = BedrockConverse()
