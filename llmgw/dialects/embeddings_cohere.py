"""Cohere's embeddings, version 2. Facts: Cohere API reference, "Embed".

`input_type` is required of models since version 3; who does not say is taken to embed documents.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from llmgw.core.embeddings import (
    BASE64,
    CLASSIFICATION,
    CLUSTERING,
    DOCUMENT,
    END,
    FLOAT,
    NONE,
    QUERY,
    START,
    EmbedAnswer,
    EmbedRequest,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.core.operation import Endpoint
from llmgw.dialects.base import Rendered
from llmgw.dialects.embed_usage import Meta, parse_units
from llmgw.dialects.members import count_of, others, read_object, text_of, texts_of
from llmgw.dialects.vectors import as_base64, as_numbers, checked

_KNOWN = frozenset(
    {"model", "texts", "inputs", "images", "input_type", "embedding_types", "output_dimension", "truncate"}
)
_TASKS = {
    QUERY: "search_query",
    DOCUMENT: "search_document",
    CLASSIFICATION: "classification",
    CLUSTERING: "clustering",
}
_TASK_OF = {word: task for task, word in _TASKS.items()}
_CUTS = {NONE: "NONE", START: "START", END: "END"}
_CUT_OF = {word: cut for cut, word in _CUTS.items()}
_NAMES = {"task": "input_type", "dimensions": "output_dimension"}


class _Vectors(Struct, rename={"numbers": "float"}):
    numbers: list[Raw] | None = None
    base64: list[Raw] | None = None


class _Answer(Struct):
    embeddings: _Vectors
    id: object = None
    meta: Meta | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


def parse_request(body: bytes, model: str, endpoint: Endpoint) -> EmbedRequest:
    """What a client asks. Raises InvalidRequest, and UnsupportedOperation for what is not text."""
    members = read_object(body)
    if "images" in members:
        raise UnsupportedOperation("this model is given text only, no images", param="images")
    task = text_of(members, "input_type")
    cut = text_of(members, "truncate")
    if cut is not None and cut not in _CUT_OF:
        raise InvalidRequest("member 'truncate' must be NONE, START or END", param="truncate")
    return EmbedRequest(
        model,
        _inputs(members["inputs"]) if "inputs" in members else texts_of(members, "texts"),
        encodings=_encodings(members),
        dimensions=count_of(members, "output_dimension"),
        task=None if task is None else _TASK_OF.get(task, task),
        truncate=None if cut is None else _CUT_OF[cut],
        names=_NAMES,
        unknown=others(members, _KNOWN),
    )


def _inputs(value: object) -> tuple[str, ...]:
    """The texts of `inputs`: each a list of parts."""
    if not isinstance(value, list) or not value:
        raise InvalidRequest("member 'inputs' must be a list with at least one", param="inputs")
    texts = []
    for one in value:
        parts = one.get("content") if isinstance(one, dict) else None
        if not isinstance(parts, list) or not parts:
            raise InvalidRequest("an input must have a list 'content'", param="inputs")
        for part in parts:
            if not isinstance(part, dict) or not isinstance(part.get("text"), str):
                raise UnsupportedOperation("this model is given text only", param="inputs")
        texts.append("".join(part["text"] for part in parts))
    return tuple(texts)


def _encodings(members: dict[str, object]) -> tuple[str, ...]:
    given = members.get("embedding_types", [FLOAT])
    if not isinstance(given, list) or not given:
        raise InvalidRequest("member 'embedding_types' must be a list", param="embedding_types")
    for one in given:
        if one not in (FLOAT, BASE64):
            raise UnsupportedOperation(
                "this model gives embeddings as float or base64 only", param="embedding_types"
            )
    return tuple(given)


def render_request(request: EmbedRequest, vendor: str | None) -> Rendered:
    task = _TASKS.get(request.task or DOCUMENT)
    body: dict[str, object] = {
        "model": request.model,
        "texts": request.texts,
        "input_type": task or _TASKS[DOCUMENT],
        "embedding_types": [FLOAT],
    }
    lost = ["title"] if task else ["title", "task"]
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    if request.truncate is not None:
        body["truncate"] = _CUTS[request.truncate]
    return Rendered(_encode(body), request.dropped(*lost))


def parse_answer(body: bytes) -> EmbedAnswer:
    """Raises ValueError when it is none."""
    try:
        wire = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the answer holds no embeddings: {error}") from None
    found = wire.embeddings.numbers or wire.embeddings.base64
    if found is None:
        raise ValueError("the answer holds neither float nor base64 embeddings")
    return EmbedAnswer(
        tuple(checked(bytes(vector)) for vector in found),
        parse_units(wire.meta),
        id=wire.id if isinstance(wire.id, str) else "",
    )


def render_answer(answer: EmbedAnswer, request: EmbedRequest) -> bytes:
    """Raises ValueError for vectors that cannot be had in the form that was asked for."""
    forms = {FLOAT: as_numbers, BASE64: as_base64}
    meta: dict[str, object] = {"api_version": {"version": "2"}}
    if answer.usage is not None:
        meta["billed_units"] = {"input_tokens": answer.usage.input_tokens}
    return _encode(
        {
            "id": answer.id,
            "embeddings": {
                name: [Raw(forms[name](vector)) for vector in answer.vectors] for name in request.encodings
            },
            "texts": request.texts,
            "meta": meta,
            "response_type": "embeddings_by_type",
        }
    )
