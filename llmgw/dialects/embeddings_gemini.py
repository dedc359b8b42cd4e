"""Gemini's embeddings: `embedContent` for one text, `batchEmbedContents` for many.

Facts: Google's Gemini API reference, "Embeddings". Each request of a batch has settings of its own, and
names the model of the path once more. Members may be written in either of protobuf's two spellings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from llmgw.core.embeddings import (
    CLASSIFICATION,
    CLUSTERING,
    DOCUMENT,
    QUERY,
    SIMILARITY,
    EmbedAnswer,
    EmbedRequest,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.core.operation import Endpoint
from llmgw.dialects.base import Rendered
from llmgw.dialects.embed_usage import PromptCount, parse_prompt_count
from llmgw.dialects.endpoints import EMBED_CONTENT
from llmgw.dialects.members import count_of, others, read_object, text_of
from llmgw.dialects.vectors import as_numbers, checked
from llmgw.wire.envelope import Envelope

_KNOWN = frozenset({"model", "content", "taskType", "title", "outputDimensionality", "embedContentConfig"})
TASKS = {
    QUERY: "RETRIEVAL_QUERY",
    DOCUMENT: "RETRIEVAL_DOCUMENT",
    CLASSIFICATION: "CLASSIFICATION",
    CLUSTERING: "CLUSTERING",
    SIMILARITY: "SEMANTIC_SIMILARITY",
}
"""Google's words for them, on Vertex AI too."""
_TASK_OF = {word: task for task, word in TASKS.items()}
_UNSAID = "TASK_TYPE_UNSPECIFIED"
_NAMES = {"task": "taskType", "dimensions": "outputDimensionality"}
_HUMP = re.compile(r"_([a-z])")


class _Vector(Struct):
    values: Raw


class _Answer(Struct, rename="camel"):
    embeddings: list[_Vector] | None = None
    embedding: _Vector | None = None
    usage_metadata: PromptCount | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


def parse_request(body: bytes, model: str, endpoint: Endpoint) -> EmbedRequest:
    """What a client asks. Raises InvalidRequest, and UnsupportedOperation for what is not text, and for
    a batch whose requests differ in more than their texts."""
    members = read_object(body)
    if endpoint is EMBED_CONTENT:
        return _single(members, model, single=True)
    given = members.get("requests")
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise InvalidRequest("member 'requests' must be a list with at least one object", param="requests")
    requests = [_single(one, model, single=False) for one in given]
    first = requests[0]
    texts = tuple(text for one in requests for text in one.texts)
    if any(msgspec.structs.replace(one, texts=first.texts) != first for one in requests):
        raise UnsupportedOperation(
            "this model is given one taskType, title and outputDimensionality for all requests of a batch",
            param="requests",
        )
    return msgspec.structs.replace(first, texts=texts)


def _single(given: Mapping[str, object], model: str, *, single: bool) -> EmbedRequest:
    members = _camel(given)
    config = members.get("embedContentConfig")
    if isinstance(config, dict):
        members = {**members, **_camel(config)}
    task = text_of(members, "taskType")
    return EmbedRequest(
        model,
        (_text(members.get("content")),),
        single,
        dimensions=count_of(members, "outputDimensionality"),
        task=None if task is None or task == _UNSAID else _TASK_OF.get(task, task),
        title=text_of(members, "title"),
        names=_NAMES,
        unknown=others(members, _KNOWN),
    )


def _camel(members: Mapping[str, object]) -> dict[str, object]:
    return {
        _HUMP.sub(lambda found: found[1].upper(), name): value
        for name, value in members.items()
        if value is not None
    }


def _text(content: object) -> str:
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not parts:
        raise InvalidRequest("member 'content' must have parts", param="content")
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str):
            raise UnsupportedOperation("this model is given text only", param="content")
        texts.append(text)
    return "".join(texts)


def render_request(request: EmbedRequest, vendor: str | None) -> Rendered:
    """As a batch, whatever the number of texts."""
    shared: dict[str, object] = {"model": _resource(request.model)}
    task = TASKS.get(request.task or "")
    if task is not None:
        shared["taskType"] = task
    if request.title is not None:
        shared["title"] = request.title
    if request.dimensions is not None:
        shared["outputDimensionality"] = request.dimensions
    lost = ["truncate"] if task else ["truncate", "task"]
    requests = [{**shared, "content": {"parts": [{"text": text}]}} for text in request.texts]
    return Rendered(_encode({"requests": requests}), request.dropped(*lost))


def parse_answer(body: bytes) -> EmbedAnswer:
    """Raises ValueError when it is none."""
    try:
        wire = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the answer holds no embeddings: {error}") from None
    found = wire.embeddings if wire.embedding is None else [wire.embedding]
    if found is None:
        raise ValueError("the answer holds no embeddings")
    return EmbedAnswer(
        tuple(checked(bytes(one.values)) for one in found),
        parse_prompt_count(wire.usage_metadata),
    )


def render_answer(answer: EmbedAnswer, request: EmbedRequest) -> bytes:
    """Raises ValueError for vectors that cannot be had as numbers."""
    vectors = [{"values": Raw(as_numbers(vector))} for vector in answer.vectors]
    body: dict[str, object] = {"embedding": vectors[0]} if request.single else {"embeddings": vectors}
    if answer.usage is not None:
        body["usageMetadata"] = {"promptTokenCount": answer.usage.input_tokens}
    return _encode(body)


def renamed(envelope: Envelope, model: str) -> dict[str, bytes]:
    """What has to be set so that a body of either method names `model` wherever it names one."""
    edits: dict[str, bytes] = {}
    name = _encode(_resource(model))
    if "model" in envelope.members:
        edits["model"] = name
    requests = envelope.value("requests")
    if isinstance(requests, list):
        edits["requests"] = b"[%b]" % b",".join(
            Envelope(_encode(one)).spliced({"model": name}) if isinstance(one, dict) else _encode(one)
            for one in requests
        )
    return edits


def _resource(model: str) -> str:
    return model if model.startswith("models/") else f"models/{model}"
