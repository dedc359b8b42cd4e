"""Jina's reranking, which vLLM, Together, Novita and others speak too; Cohere's first version is alike.

Facts: the API references of Jina ("Reranker"), vLLM ("Re-rank API"), Together ("Create a rerank request")
and Cohere ("Rerank", v1). Jina and vLLM count tokens; vLLM and Together return the documents unasked.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.core.operation import Endpoint
from llmgw.core.rerank import Ranked, RerankAnswer, RerankRequest
from llmgw.dialects.base import Rendered
from llmgw.dialects.embed_usage import Meta, parse_tokens, parse_units
from llmgw.dialects.members import count_of, flag_of, others, read_object, text_of
from llmgw.dialects.rerank_cohere import WireResult, parse_ranks
from llmgw.dialects.usage_taps import WireUsage

_KNOWN = frozenset(
    {"model", "query", "documents", "top_n", "return_documents", "rank_fields", "max_tokens_per_doc"}
)


class _Answer(Struct):
    results: list[WireResult]
    id: object = None
    usage: WireUsage | None = None
    meta: Meta | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


def parse_request(body: bytes, model: str, endpoint: Endpoint) -> RerankRequest:
    """What a client asks. Raises InvalidRequest, and UnsupportedOperation for what is not text."""
    members = read_object(body)
    query = text_of(members, "query")
    if query is None:
        raise InvalidRequest("the body has no 'query'", param="query")
    if members.get("rank_fields", ["text"]) != ["text"]:
        raise UnsupportedOperation("this model ranks documents by their text only", param="rank_fields")
    documents = members.get("documents")
    if not isinstance(documents, list) or not documents:
        raise InvalidRequest("member 'documents' must be a list with at least one", param="documents")
    return RerankRequest(
        model,
        query,
        tuple(_text(one) for one in documents),
        count_of(members, "top_n"),
        count_of(members, "max_tokens_per_doc"),
        flag_of(members, "return_documents") or False,
        others(members, _KNOWN),
    )


def _text(document: object) -> str:
    text = document.get("text") if isinstance(document, dict) else document
    if not isinstance(text, str):
        raise UnsupportedOperation("this model ranks texts only", param="documents")
    return text


def render_request(request: RerankRequest, vendor: str | None) -> Rendered:
    body: dict[str, object] = {
        "model": request.model,
        "query": request.query,
        "documents": request.documents,
        "return_documents": False,
    }
    if request.top is not None:
        body["top_n"] = request.top
    lost = request.unknown if request.cut_tokens is None else ("max_tokens_per_doc", *request.unknown)
    return Rendered(_encode(body), lost)


def parse_answer(body: bytes) -> RerankAnswer:
    """Raises ValueError when it is none."""
    try:
        wire = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the answer ranks nothing: {error}") from None
    return RerankAnswer(
        parse_ranks(wire.results),
        parse_tokens(wire.usage) or parse_units(wire.meta),
        id=wire.id if isinstance(wire.id, str) else "",
    )


def render_answer(answer: RerankAnswer, request: RerankRequest) -> bytes:
    """Raises ValueError for a rank of a document that is not there."""
    results = []
    for one in answer.results:
        result: dict[str, object] = {"index": one.index, "relevance_score": Raw(one.score)}
        if request.returned:
            result["document"] = {"text": document_of(request, one)}
        results.append(result)
    body: dict[str, object] = {"id": answer.id, "model": answer.model, "object": "list", "results": results}
    usage = answer.usage
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
        if usage.searches:
            body["meta"] = {"billed_units": {"search_units": usage.searches}}
    return _encode(body)


def document_of(request: RerankRequest, ranked: Ranked) -> str:
    if ranked.index >= len(request.documents):
        raise ValueError(f"the answer ranks document {ranked.index}, which is not there")
    return request.documents[ranked.index]
