"""Operations that are answered whole, embeddings and reranking, in every dialect that has them.

Each dialect's module of one is a set of functions, `WholeDialect`. Imported when a request needs one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any, Protocol, cast

import msgspec
from msgspec import Struct, field, structs

from llmgw.core.embeddings import EmbedRequest
from llmgw.core.operation import Endpoint, Operation
from llmgw.core.usage import ESTIMATED, Usage
from llmgw.dialects.base import Rendered
from llmgw.dialects.embed_usage import (
    Meta,
    PromptCount,
    parse_prompt_count,
    parse_prompt_eval_count,
    parse_tokens,
    parse_units,
)
from llmgw.dialects.endpoints import BEDROCK, COHERE, GEMINI, OLLAMA, OPENAI, VERTEX
from llmgw.dialects.usage_taps import WireUsage

_MODULES = {
    (OPENAI, Operation.EMBEDDINGS): "llmgw.dialects.embeddings_openai",
    (OLLAMA, Operation.EMBEDDINGS): "llmgw.dialects.embeddings_ollama",
    (GEMINI, Operation.EMBEDDINGS): "llmgw.dialects.embeddings_gemini",
    (COHERE, Operation.EMBEDDINGS): "llmgw.dialects.embeddings_cohere",
    (VERTEX, Operation.EMBEDDINGS): "llmgw.dialects.embeddings_vertex",
    (BEDROCK, Operation.EMBEDDINGS): "llmgw.dialects.embeddings_bedrock",
    (OPENAI, Operation.RERANK): "llmgw.dialects.rerank_jina",
    (COHERE, Operation.RERANK): "llmgw.dialects.rerank_cohere",
}
_BYTES_PER_TOKEN = 4


class WholeDialect(Protocol):
    """Requests and answers are those of `core.embeddings`, or those of `core.rerank`."""

    # Any: one of the two, the same throughout a module.
    def parse_request(self, body: bytes, model: str, endpoint: Endpoint) -> Any:
        """What a client asks. Raises InvalidRequest and UnsupportedOperation, naming the member."""

    def render_request(self, request: Any, vendor: str | None) -> Rendered:
        """What an upstream is sent. vendor: the target's."""

    def parse_answer(self, body: bytes) -> Any:
        """An upstream's answer. Raises ValueError when it is none."""

    def render_answer(self, answer: Any, request: Any) -> bytes:
        """The answer as a client gets it. Raises ValueError for one that does not fit its request."""


def is_whole(endpoint: Endpoint) -> bool:
    """Whether what is done at `endpoint` is known here."""
    return (endpoint.dialect, endpoint.operation) in _MODULES


@cache
def whole_dialect(endpoint: Endpoint) -> WholeDialect:
    """What is spoken at an endpoint, ours or an upstream's."""
    return cast("WholeDialect", import_module(_MODULES[endpoint.dialect, endpoint.operation]))


def counted_by_head(endpoint: Endpoint, headers: Iterable[tuple[bytes, bytes]]) -> Usage | None:
    """What the head of an upstream's answer counts, for those that do not count in its body."""
    if endpoint.dialect != BEDROCK:
        return None
    found: Usage | None = import_module(_MODULES[BEDROCK, Operation.EMBEDDINGS]).counted(headers)
    return found


class WholeTranslation:
    """An answer read in one dialect and written in another. body: as the client gets it.

    A client of embeddings is told an estimate where the upstream counted nothing; `usage` stays None
    then, so what is settled is not this guess.
    """

    __slots__ = ("body", "upstream_id", "usage")

    def __init__(
        self,
        body: bytes,
        upstream: WholeDialect,
        client: WholeDialect,
        request: Any,
        counted: Usage | None = None,
    ) -> None:
        """request: as the client asked it, of the public model name. counted: by the answer's head.

        Raises ValueError.
        """
        answer = structs.replace(upstream.parse_answer(body), model=request.model)
        if answer.usage is None and counted is not None:
            answer = structs.replace(answer, usage=counted)
        self.usage: Usage | None = answer.usage
        self.upstream_id: str | None = answer.id or None
        if isinstance(request, EmbedRequest):
            if len(answer.vectors) != len(request.texts):
                raise ValueError(f"{len(answer.vectors)} embeddings for {len(request.texts)} texts")
            if answer.usage is None:
                answer = structs.replace(answer, usage=_estimated(request.texts))
        self.body = client.render_answer(answer, request)

    def delivered_text(self) -> str:
        """None: vectors and ranks are no text."""
        return ""


class _Body(Struct):
    """What any of the dialects says beside its vectors or ranks."""

    id: object = None
    usage: WireUsage | None = None
    meta: Meta | None = None
    prompt_eval_count: object = None
    metadata: PromptCount | None = field(name="usageMetadata", default=None)


_decode = msgspec.json.Decoder(_Body).decode


class CountTap:
    """For an answer that goes on as it came, whatever forms its vectors have. body: that."""

    __slots__ = ("body", "upstream_id", "usage")

    def __init__(self, body: bytes) -> None:
        """Raises ValueError when it is not a JSON object."""
        self.body = body
        try:
            wire = _decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"the answer is not the JSON that was promised: {error}") from None
        self.usage: Usage | None = (
            parse_tokens(wire.usage)
            or parse_units(wire.meta)
            or parse_prompt_count(wire.metadata)
            or parse_prompt_eval_count(wire.prompt_eval_count)
        )
        self.upstream_id: str | None = wire.id if isinstance(wire.id, str) and wire.id else None

    def delivered_text(self) -> str:
        """None: vectors and ranks are no text."""
        return ""


def _estimated(texts: tuple[str, ...]) -> Usage:
    size = sum(len(text.encode(errors="replace")) for text in texts)
    return Usage(-(-size // _BYTES_PER_TOKEN), source=ESTIMATED)
