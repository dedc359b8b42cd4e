"""Ollama's embeddings: `/api/embed`, and the older `/api/embeddings` for one text.

Facts: Ollama's docs, `api.md`, "Generate Embeddings" and "Generate Embedding". A text that is too long is
cut at its end unless `truncate` is false.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from llmgw.core.embeddings import END, NONE, EmbedAnswer, EmbedRequest
from llmgw.core.errors import InvalidRequest
from llmgw.core.operation import Endpoint
from llmgw.dialects.base import Rendered
from llmgw.dialects.embed_usage import parse_prompt_eval_count
from llmgw.dialects.endpoints import OLLAMA_EMBED_ONE
from llmgw.dialects.members import count_of, flag_of, others, read_object, text_of, texts_of
from llmgw.dialects.vectors import as_numbers, checked

_KNOWN = frozenset({"model", "input", "truncate", "dimensions"})
_KNOWN_OF_ONE = frozenset({"model", "prompt"})
_CUTS = {END: True, NONE: False}


class _Answer(Struct):
    embeddings: list[Raw]
    prompt_eval_count: object = None


_decode = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


def parse_request(body: bytes, model: str, endpoint: Endpoint) -> EmbedRequest:
    """What a client asks. Raises InvalidRequest."""
    members = read_object(body)
    if endpoint is OLLAMA_EMBED_ONE:
        prompt = text_of(members, "prompt")
        if prompt is None:
            raise InvalidRequest("the body has no 'prompt'", param="prompt")
        return EmbedRequest(model, (prompt,), single=True, unknown=others(members, _KNOWN_OF_ONE))
    given = members.get("input")
    cut = flag_of(members, "truncate")
    return EmbedRequest(
        model,
        (given,) if isinstance(given, str) else texts_of(members, "input"),
        dimensions=count_of(members, "dimensions"),
        truncate=None if cut is None else END if cut else NONE,
        unknown=others(members, _KNOWN),
    )


def render_request(request: EmbedRequest, vendor: str | None) -> Rendered:
    body: dict[str, object] = {"model": request.model, "input": request.texts}
    lost = ["task", "title"]
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.truncate in _CUTS:
        body["truncate"] = _CUTS[request.truncate]
    else:
        lost.append("truncate")
    return Rendered(_encode(body), request.dropped(*lost))


def parse_answer(body: bytes) -> EmbedAnswer:
    """Raises ValueError when it is none."""
    try:
        wire = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the answer holds no embeddings: {error}") from None
    return EmbedAnswer(
        tuple(checked(bytes(vector)) for vector in wire.embeddings),
        parse_prompt_eval_count(wire.prompt_eval_count),
    )


def render_answer(answer: EmbedAnswer, request: EmbedRequest) -> bytes:
    """Raises ValueError for vectors that cannot be had as numbers."""
    vectors = [Raw(as_numbers(vector)) for vector in answer.vectors]
    if request.single:
        return _encode({"embedding": vectors[0]})
    return _encode(
        {
            "model": answer.model,
            "embeddings": vectors,
            "total_duration": 0,
            "load_duration": 0,
            "prompt_eval_count": answer.usage.input_tokens if answer.usage is not None else 0,
        }
    )
