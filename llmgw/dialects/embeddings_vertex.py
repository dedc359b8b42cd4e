"""Embeddings of Vertex AI, as what an upstream speaks. No client does.

Facts: Vertex AI's "Text embeddings API": `instances` of a text each, `parameters` for all; each prediction
counts its own tokens. Texts that are too long are cut unless `autoTruncate` is false.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from llmgw.core.embeddings import END, NONE, EmbedAnswer, EmbedRequest
from llmgw.core.usage import Usage
from llmgw.dialects.base import Rendered
from llmgw.dialects.embeddings_gemini import TASKS
from llmgw.dialects.vectors import checked

_CUTS = {END: True, NONE: False}


class _Statistics(Struct):
    token_count: float | None = None


class _Embeddings(Struct):
    values: Raw
    statistics: _Statistics | None = None


class _Prediction(Struct):
    embeddings: _Embeddings


class _Answer(Struct):
    predictions: list[_Prediction]


_decode = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


def render_request(request: EmbedRequest, vendor: str | None) -> Rendered:
    parameters: dict[str, object] = {}
    shared: dict[str, object] = {}
    lost = []
    if request.dimensions is not None:
        parameters["outputDimensionality"] = request.dimensions
    if request.truncate in _CUTS:
        parameters["autoTruncate"] = _CUTS[request.truncate]
    else:
        lost.append("truncate")
    if request.task in TASKS:
        shared["task_type"] = TASKS[request.task]
    else:
        lost.append("task")
    if request.title is not None:
        shared["title"] = request.title
    body: dict[str, object] = {"instances": [{"content": text, **shared} for text in request.texts]}
    if parameters:
        body["parameters"] = parameters
    return Rendered(_encode(body), request.dropped(*lost))


def parse_answer(body: bytes) -> EmbedAnswer:
    """Raises ValueError when it is none."""
    try:
        found = [one.embeddings for one in _decode(body).predictions]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the answer holds no embeddings: {error}") from None
    counts = [one.statistics.token_count for one in found if one.statistics is not None]
    told = [count for count in counts if count is not None and 0 <= count < 1e9]
    return EmbedAnswer(
        tuple(checked(bytes(one.values)) for one in found),
        Usage(int(sum(told))) if told and len(told) == len(found) else None,
    )
