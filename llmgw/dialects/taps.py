"""What knows the usage of an answer, whichever dialect it is in and whether it is translated."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, Protocol

from llmgw.core.operation import Endpoint, Operation
from llmgw.core.usage import Usage
from llmgw.dialects.endpoints import ANTHROPIC, COHERE, GEMINI, OLLAMA, OPENAI, STREAM_ARRAY
from llmgw.dialects.usage_taps import BodyTap, StreamTap


class Tap(Protocol):
    """upstream_id: the answer's own id. usage: the last reported so far."""

    @property
    def usage(self) -> Usage | None: ...
    @property
    def upstream_id(self) -> str | None: ...
    def delivered_text(self) -> str:
        """What was answered, as far as it is text that tokens can be counted in."""


class WholeTap(Tap, Protocol):
    """Of a whole answer. body: as the client gets it."""

    body: bytes


class StreamedTap(Tap, Protocol):
    """Of a stream. done: the upstream said that it is complete. failed: it ended it with an error."""

    @property
    def done(self) -> bool: ...
    @property
    def failed(self) -> bool: ...
    def feed(self, chunk: bytes) -> bytes:
        """What the client gets for it. Raises ValueError for what cannot be passed on."""

    def rest(self) -> bytes:
        """What the end of the upstream's bytes still gives."""

    def delivered_bytes(self) -> int:
        """How much text has passed, roughly."""

    def moved(self) -> bool:
        """Whether anything has passed since this was last asked."""


_TAPS = {
    ANTHROPIC: ("llmgw.dialects.anthropic_tap", "AnthropicBodyTap", "AnthropicStreamTap"),
    COHERE: ("llmgw.dialects.cohere_tap", "CohereBodyTap", "CohereStreamTap"),
    GEMINI: ("llmgw.dialects.gemini_tap", "GeminiBodyTap", "GeminiStreamTap"),
    OLLAMA: ("llmgw.dialects.ollama_tap", "OllamaBodyTap", "OllamaStreamTap"),
}
"""Of the dialects but OpenAI's, which is always at hand."""
_COUNTED_ONLY = frozenset({Operation.EMBEDDINGS, Operation.RERANK})
"""Operations whose answers hold no text."""


def body_tap(endpoint: Endpoint, body: bytes) -> WholeTap:
    """For an answer that goes on as it came. Raises ValueError when it is not of the dialect's shape."""
    if endpoint.operation in _COUNTED_ONLY:
        counted: WholeTap = import_module("llmgw.dialects.whole").CountTap(body)
        return counted
    if endpoint.dialect == OPENAI:
        return BodyTap(body)
    tap: WholeTap = _classes(endpoint.dialect)[0](body)
    return tap


def stream_tap(endpoint: Endpoint, hide_usage: bool) -> StreamedTap:
    """For a stream that goes on as it came."""
    if endpoint.dialect == OPENAI:
        return StreamTap(endpoint, hide_usage)
    tap: StreamedTap = (
        import_module("llmgw.dialects.gemini_array").GeminiArrayTap(endpoint, hide_usage)
        if endpoint is STREAM_ARRAY
        else _classes(endpoint.dialect)[1](endpoint, hide_usage)
    )
    return tap


@cache
def _classes(dialect: str) -> tuple[Any, Any]:  # Any: classes that are found by name
    module, body, stream = _TAPS[dialect]
    found = import_module(module)
    return getattr(found, body), getattr(found, stream)
