"""OpenAI's responses API, as what a client speaks and as what an upstream speaks."""

from __future__ import annotations

from llmgw.core.chat import ChatAnswer, ChatRequest
from llmgw.dialects.base import Dialect, Rendered, StreamDecoder, StreamEncoder, UpstreamFailure
from llmgw.dialects.openai_chat_failures import parse_failure
from llmgw.dialects.openai_responses_answer import parse_answer, render_answer
from llmgw.dialects.openai_responses_events import ResponsesEncoder
from llmgw.dialects.openai_responses_render import render_request
from llmgw.dialects.openai_responses_request import parse_request
from llmgw.dialects.openai_responses_stream import ResponsesDecoder


class Responses:
    """The dialect. stateful: whether what the upstream keeps may be used; see `openai_responses_request`."""

    __slots__ = ("_stateful",)

    def __init__(self, stateful: bool) -> None:
        self._stateful = stateful

    def parse_request(self, body: bytes, model: str, stream: bool) -> ChatRequest:
        return parse_request(body, model, stream, self._stateful)

    def render_request(self, request: ChatRequest) -> Rendered:
        return render_request(request, self._stateful)

    def parse_answer(self, body: bytes) -> ChatAnswer:
        return parse_answer(body)

    def render_answer(self, answer: ChatAnswer) -> bytes:
        return render_answer(answer)

    def parse_failure(self, status: int, body: bytes) -> UpstreamFailure:
        return parse_failure(status, body)

    def decoder(self) -> StreamDecoder:
        return ResponsesDecoder()

    def encoder(self, request: ChatRequest, model: str, include_usage: bool) -> StreamEncoder:
        return ResponsesEncoder(request, model)


DIALECT: Dialect = Responses(stateful=False)
"""For translating to and from other dialects."""

STATEFUL: Dialect = Responses(stateful=True)
"""For one side that speaks the dialect to the provider that keeps its state."""
