"""Embeddings of Amazon Bedrock's InvokeModel, as what an upstream speaks. No client does.

Facts (Amazon Bedrock user guide, "Amazon Titan Embeddings Text" and "Cohere Embed"): each family has its own
body. Titan takes one text and counts its tokens; the first version takes nothing else. Many are written as a
list, which `providers.one_by_one` sends as a request each. Cohere takes a list and counts in a header alone
(`X-Amzn-Bedrock-Input-Token-Count`); version 3 has one size of vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from msgspec import Raw, Struct

from llmgw.core.embeddings import (
    CLASSIFICATION,
    CLUSTERING,
    DOCUMENT,
    END,
    NONE,
    QUERY,
    START,
    EmbedAnswer,
    EmbedRequest,
)
from llmgw.core.errors import UnsupportedOperation
from llmgw.core.usage import Usage
from llmgw.dialects.base import Rendered
from llmgw.dialects.vectors import checked

_ABSURD = 10**9
_MANY = b'{"inputText":['
_COUNT_HEADER = b"x-amzn-bedrock-input-token-count"
_TASKS = {
    QUERY: "search_query",
    DOCUMENT: "search_document",
    CLASSIFICATION: "classification",
    CLUSTERING: "clustering",
}
_CUTS = {NONE: "NONE", START: "START", END: "END"}
_NEWER_CUTS = {NONE: "NONE", START: "LEFT", END: "RIGHT"}
_Write = Callable[[EmbedRequest], tuple[dict[str, object], list[str]]]


class _ByType(Struct, rename={"numbers": "float"}):
    numbers: list[Raw]


class _Answer(Struct, rename="camel"):
    embedding: Raw = Raw(b"")
    embeddings: Raw = Raw(b"")
    id: object = None
    input_text_token_count: object = None


_decode = msgspec.json.Decoder(_Answer).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_vectors = msgspec.json.Decoder(list[Raw]).decode
_by_type = msgspec.json.Decoder(_ByType).decode
_encode = msgspec.json.Encoder().encode


def embeds(model: str) -> bool:
    """Whether the model with this id, inference profile or ARN is one whose embeddings are known here."""
    return _family(model) is not None


def render_request(request: EmbedRequest, vendor: str | None) -> Rendered:
    """Raises UnsupportedOperation for another size of vectors where the model has one."""
    write = _family(request.model)
    if write is None:
        raise UnsupportedOperation(f"the embeddings of '{request.model}' are not known")
    body, lost = write(request)
    return Rendered(_encode(body), request.dropped("title", *lost))


def parse_answer(body: bytes) -> EmbedAnswer:
    """Raises ValueError when it is none."""
    try:
        wire = _decode(body)
        found = [wire.embedding] if wire.embedding else _list(wire.embeddings)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the answer holds no embeddings: {error}") from None
    count = wire.input_text_token_count
    told = type(count) is int and 0 <= count <= _ABSURD
    return EmbedAnswer(
        tuple(checked(bytes(vector)) for vector in found),
        Usage(count) if told and isinstance(count, int) else None,
        id=wire.id if isinstance(wire.id, str) else "",
    )


def separate(body: bytes) -> list[bytes] | None:
    """The bodies of one text each that a request for many stands for; None for any other body."""
    if not body.startswith(_MANY):
        return None
    members = _members(body)
    texts = msgspec.json.decode(members["inputText"], type=list[str])
    return [_encode({**members, "inputText": text}) for text in texts]


def joined(bodies: Iterable[bytes]) -> bytes:
    """One answer of those to single texts. Raises ValueError when one is none."""
    answers = [parse_answer(body) for body in bodies]
    counts = [answer.usage.input_tokens for answer in answers if answer.usage is not None]
    whole: dict[str, object] = {
        "embeddings": [Raw(vector) for answer in answers for vector in answer.vectors]
    }
    if len(counts) == len(answers):
        whole["inputTextTokenCount"] = sum(counts)
    return _encode(whole)


def counted(headers: Iterable[tuple[bytes, bytes]]) -> Usage | None:
    """What the head of an answer says of its request. headers: names in lower case."""
    value = next((value for name, value in headers if name == _COUNT_HEADER), b"")
    return Usage(int(value)) if value.isdigit() and len(value) < len(str(_ABSURD)) else None


def _list(found: Raw) -> list[Raw]:
    """Cohere's vectors, as a list or by their type."""
    return _by_type(found).numbers if bytes(found)[:1] == b"{" else _vectors(found)


def _titan(request: EmbedRequest) -> tuple[dict[str, object], list[str]]:
    _one_size(request)
    return {"inputText": _texts(request)}, ["task", "truncate"]


def _titan_2(request: EmbedRequest) -> tuple[dict[str, object], list[str]]:
    body: dict[str, object] = {"inputText": _texts(request)}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body, ["task", "truncate"]


def _titan_image(request: EmbedRequest) -> tuple[dict[str, object], list[str]]:
    body: dict[str, object] = {"inputText": _texts(request)}
    if request.dimensions is not None:
        body["embeddingConfig"] = {"outputEmbeddingLength": request.dimensions}
    return body, ["task", "truncate"]


def _cohere_3(request: EmbedRequest) -> tuple[dict[str, object], list[str]]:
    _one_size(request)
    return _cohere(request, _CUTS)


def _cohere_4(request: EmbedRequest) -> tuple[dict[str, object], list[str]]:
    body, lost = _cohere(request, _NEWER_CUTS)
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    return body, lost


def _cohere(request: EmbedRequest, cuts: dict[str, str]) -> tuple[dict[str, object], list[str]]:
    task = _TASKS.get(request.task or DOCUMENT)
    body: dict[str, object] = {"texts": request.texts, "input_type": task or _TASKS[DOCUMENT]}
    if request.truncate is not None:
        body["truncate"] = cuts[request.truncate]
    return body, [] if task else ["task"]


_FAMILIES: tuple[tuple[str, _Write], ...] = (
    ("titan-embed-text-v2", _titan_2),
    ("titan-embed-image", _titan_image),
    ("titan-embed", _titan),
    ("cohere.embed-v4", _cohere_4),
    ("cohere.embed", _cohere_3),
)


def _family(model: str) -> _Write | None:
    return next((write for word, write in _FAMILIES if word in model), None)


def _texts(request: EmbedRequest) -> str | tuple[str, ...]:
    """As Titan takes one; for many, what `separate` makes one body of each of."""
    return request.texts if len(request.texts) > 1 else request.texts[0]


def _one_size(request: EmbedRequest) -> None:
    if request.dimensions is not None:
        name = request.names.get("dimensions", "dimensions")
        raise UnsupportedOperation(f"the vectors of this model have one size; leave {name} out", param=name)
