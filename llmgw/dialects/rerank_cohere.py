"""Cohere's reranking, version 2. Facts: Cohere API reference, "Rerank".

It is billed by the search: a query with up to 100 documents is one unit.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from llmgw.core.errors import InvalidRequest
from llmgw.core.operation import Endpoint
from llmgw.core.rerank import Ranked, RerankAnswer, RerankRequest
from llmgw.dialects.base import Rendered
from llmgw.dialects.embed_usage import Meta, parse_units
from llmgw.dialects.members import count_of, others, read_object, text_of, texts_of

_KNOWN = frozenset({"model", "query", "documents", "top_n", "max_tokens_per_doc"})
_FIRST_OF_NUMBER = b"-0123456789"


class WireResult(Struct):
    """A rank as every service writes it."""

    index: int
    relevance_score: Raw


class _Answer(Struct):
    results: list[WireResult]
    id: object = None
    meta: Meta | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


def parse_ranks(results: Sequence[WireResult]) -> tuple[Ranked, ...]:
    """Raises ValueError for what cannot be a rank."""
    ranks = []
    for one in results:
        score = bytes(one.relevance_score)
        if one.index < 0 or score[:1] not in _FIRST_OF_NUMBER:
            raise ValueError("the answer holds a rank without a document or a score")
        ranks.append(Ranked(one.index, score))
    return tuple(ranks)


def parse_request(body: bytes, model: str, endpoint: Endpoint) -> RerankRequest:
    """What a client asks. Raises InvalidRequest."""
    members = read_object(body)
    query = text_of(members, "query")
    if query is None:
        raise InvalidRequest("the body has no 'query'", param="query")
    return RerankRequest(
        model,
        query,
        texts_of(members, "documents"),
        count_of(members, "top_n"),
        count_of(members, "max_tokens_per_doc"),
        unknown=others(members, _KNOWN),
    )


def render_request(request: RerankRequest, vendor: str | None) -> Rendered:
    body: dict[str, object] = {
        "model": request.model,
        "query": request.query,
        "documents": request.documents,
    }
    if request.top is not None:
        body["top_n"] = request.top
    if request.cut_tokens is not None:
        body["max_tokens_per_doc"] = request.cut_tokens
    return Rendered(_encode(body), request.unknown)


def parse_answer(body: bytes) -> RerankAnswer:
    """Raises ValueError when it is none."""
    try:
        wire = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the answer ranks nothing: {error}") from None
    return RerankAnswer(
        parse_ranks(wire.results), parse_units(wire.meta), id=wire.id if isinstance(wire.id, str) else ""
    )


def render_answer(answer: RerankAnswer, request: RerankRequest) -> bytes:
    units: dict[str, int] = {}
    if answer.usage is not None:
        if answer.usage.searches:
            units["search_units"] = answer.usage.searches
        if answer.usage.input_tokens:
            units["input_tokens"] = answer.usage.input_tokens
    return _encode(
        {
            "id": answer.id,
            "results": [{"index": one.index, "relevance_score": Raw(one.score)} for one in answer.results],
            "meta": {"api_version": {"version": "2"}, "billed_units": units},
        }
    )
