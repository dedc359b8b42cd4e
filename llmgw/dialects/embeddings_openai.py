"""OpenAI's embeddings, as compatible services speak them too.

Facts: OpenAI API reference, "Create embeddings". Vendors' own members: `input_type` is NVIDIA's,
Voyage's and what gateways pass on for Cohere; `task` is Jina's; Mistral says `output_dimension` for
`dimensions` (their API references).
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from llmgw.core.embeddings import (
    BASE64,
    CLASSIFICATION,
    CLUSTERING,
    DOCUMENT,
    FLOAT,
    NONE,
    QUERY,
    SIMILARITY,
    EmbedAnswer,
    EmbedRequest,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.core.operation import Endpoint
from llmgw.dialects.base import Rendered
from llmgw.dialects.embed_usage import parse_tokens
from llmgw.dialects.members import count_of, others, read_object, text_of
from llmgw.dialects.usage_taps import WireUsage
from llmgw.dialects.vectors import as_base64, as_numbers, checked

_KNOWN = frozenset({"model", "input", "encoding_format", "dimensions", "input_type", "task"})
_TASKS = {
    "query": QUERY,
    "search_query": QUERY,
    "retrieval.query": QUERY,
    "passage": DOCUMENT,
    "document": DOCUMENT,
    "search_document": DOCUMENT,
    "retrieval.passage": DOCUMENT,
    "classification": CLASSIFICATION,
    "clustering": CLUSTERING,
    "separation": CLUSTERING,
    "text-matching": SIMILARITY,
}
_TASK_OF_VENDOR: dict[str, tuple[str, dict[str, str], str | None]] = {
    "jina": (
        "task",
        {
            QUERY: "retrieval.query",
            DOCUMENT: "retrieval.passage",
            CLASSIFICATION: "classification",
            CLUSTERING: "separation",
            SIMILARITY: "text-matching",
        },
        None,
    ),
    "nvidia": ("input_type", {QUERY: "query", DOCUMENT: "passage"}, "passage"),
}
"""Where a vendor is told what the vectors are for: the member, its words, and what to say of none."""


class _Item(Struct):
    embedding: Raw
    index: int | None = None


class _Answer(Struct):
    data: list[_Item]
    id: object = None
    usage: WireUsage | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


def parse_request(body: bytes, model: str, endpoint: Endpoint) -> EmbedRequest:
    """What a client asks. Raises InvalidRequest, and UnsupportedOperation for ids of tokens."""
    members = read_object(body)
    encoding = text_of(members, "encoding_format") or FLOAT
    if encoding not in (FLOAT, BASE64):
        raise InvalidRequest("member 'encoding_format' must be float or base64", param="encoding_format")
    name = "input_type" if "input_type" in members else "task"
    task = text_of(members, name)
    return EmbedRequest(
        model,
        _texts(members.get("input")),
        encodings=(encoding,),
        dimensions=count_of(members, "dimensions"),
        task=None if task is None else _TASKS.get(task, task),
        names={"task": name},
        unknown=others(members, _KNOWN),
    )


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not value:
        raise InvalidRequest("member 'input' must be a string or a list with at least one", param="input")
    if all(isinstance(one, str) for one in value):
        return tuple(value)
    if all(isinstance(one, int | list) for one in value):
        raise UnsupportedOperation(
            "ids of tokens mean something to OpenAI's own models only; send this model text", param="input"
        )
    raise UnsupportedOperation("member 'input' holds something that is not text", param="input")


def render_request(request: EmbedRequest, vendor: str | None) -> Rendered:
    body: dict[str, object] = {"model": request.model, "input": request.texts}
    lost = ["title"]
    if request.dimensions is not None:
        body["output_dimension" if vendor == "mistral" else "dimensions"] = request.dimensions
    if request.truncate != NONE:
        lost.append("truncate")
    member, words, otherwise = _TASK_OF_VENDOR.get(vendor or "", ("", {}, None))
    task = words.get(request.task or "", otherwise)
    if task is not None:
        body[member] = task
    if request.task not in words:
        lost.append("task")
    return Rendered(_encode(body), request.dropped(*lost))


def parse_answer(body: bytes) -> EmbedAnswer:
    """Raises ValueError when it is none."""
    try:
        wire = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the answer holds no embeddings: {error}") from None
    items = wire.data
    if all(item.index is not None for item in items):
        items = sorted(items, key=lambda item: item.index or 0)
    return EmbedAnswer(
        tuple(checked(bytes(item.embedding)) for item in items),
        parse_tokens(wire.usage),
        id=wire.id if isinstance(wire.id, str) else "",
    )


def render_answer(answer: EmbedAnswer, request: EmbedRequest) -> bytes:
    """Raises ValueError for vectors that cannot be had in the form that was asked for."""
    form = as_base64 if request.encodings == (BASE64,) else as_numbers
    data = [
        {"object": "embedding", "index": index, "embedding": Raw(form(vector))}
        for index, vector in enumerate(answer.vectors)
    ]
    tokens = answer.usage.input_tokens if answer.usage is not None else 0
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _encode({"object": "list", "data": data, "model": answer.model, "usage": usage})
