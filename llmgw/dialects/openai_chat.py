"""OpenAI chat completions, spoken to clients and by upstreams.

Facts: OpenAI's API reference, "Chat Completions"; for other services their own, as the modules
beside this one name them. Of what only OpenAI has, audio output and `logprobs` go upstream as
they came (`extra`) and are passed over in answers.

One dialect, many services: `dialect_for` gives the one that minds what a vendor does differently.
Clients are spoken to alike by all of them.
"""

from __future__ import annotations

from llmgw.core.chat import ChatAnswer, ChatRequest
from llmgw.dialects import openai_chat_answer as answers
from llmgw.dialects import openai_chat_failures as failures
from llmgw.dialects.base import Dialect, Rendered, StreamDecoder, StreamEncoder, UpstreamFailure
from llmgw.dialects.openai_chat_encoder import Encoder
from llmgw.dialects.openai_chat_render import render_request
from llmgw.dialects.openai_chat_request import parse_request
from llmgw.dialects.openai_chat_stream import Decoder
from llmgw.dialects.openai_chat_vendors import COMPATIBLE, OPENAI, VENDORS, Vendor


class OpenAIChat:
    """Implements `dialects.base.Dialect`. vendor: the service that requests are written for."""

    __slots__ = ("vendor",)

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor

    def parse_request(self, body: bytes, model: str, stream: bool) -> ChatRequest:
        return parse_request(body, model, stream)

    def render_request(self, request: ChatRequest) -> Rendered:
        return render_request(request, self.vendor)

    def parse_answer(self, body: bytes) -> ChatAnswer:
        return answers.parse_answer(body)

    def render_answer(self, answer: ChatAnswer) -> bytes:
        return answers.render_answer(answer)

    def parse_failure(self, status: int, body: bytes) -> UpstreamFailure:
        return failures.parse_failure(status, body)

    def decoder(self) -> StreamDecoder:
        return Decoder()

    def encoder(self, request: ChatRequest, model: str, include_usage: bool) -> StreamEncoder:
        return Encoder(request, model, include_usage)


DIALECT: Dialect = OpenAIChat(OPENAI)
"""OpenAI's own, and Azure's."""


def dialect_for(vendor: str | None) -> Dialect:
    """The dialect of a compatible service; vendor: its row in `config.vendors`, None when unknown."""
    return OpenAIChat(VENDORS.get(vendor, COMPATIBLE) if vendor is not None else COMPATIBLE)
