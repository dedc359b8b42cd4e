"""The least that a model can be asked, by what it is for; told by its name where nobody says.

Names as the vendors' model lists have them; no shipped data says what a model is for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from llmgw.core.chat import ChatRequest, Message, Text
from llmgw.core.embeddings import EmbedRequest
from llmgw.core.operation import Endpoint, Operation
from llmgw.core.rerank import RerankRequest
from llmgw.core.target import Target
from llmgw.core.usage import Usage
from llmgw.dialects.endpoints import ENDPOINTS
from llmgw.dialects.registry import target_dialect
from llmgw.dialects.whole import whole_dialect
from llmgw.engine.convert import with_members
from llmgw.ports.provider import Provider
from llmgw.wire.envelope import Envelope

_MAX_OUTPUT = 16
_MODERATIONS = ENDPOINTS["/v1/moderations"]
_NAMES = (
    (re.compile(r"rerank|ranker"), Operation.RERANK),
    (
        re.compile(
            r"embed|(^|[/_-])(bge|gte|e5|ada-002|multilingual-e5|all-minilm|all-mpnet|voyage|arctic|clip)([-_.:]|$)"
        ),
        Operation.EMBEDDINGS,
    ),
    (re.compile(r"moderation"), Operation.MODERATION),
    (re.compile(r"whisper|transcri|voxtral.*transcribe"), Operation.TRANSCRIPTION),
    (re.compile(r"(^|[/-])tts([-_.]|$)|-tts|text-to-speech|playai"), Operation.SPEECH),
    (
        re.compile(r"dall-e|gpt-image|imagen|stable-diffusion|sdxl|flux|seedream|grok.*-image"),
        Operation.IMAGE,
    ),
)
"""The first that fits; anything else is asked in words."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that can be sent. read: what a whole answer counts and what there is to say of it.

    `read` raises ValueError for what is no answer.
    """

    endpoint: Endpoint
    head: bytes
    body: bytes
    read: Callable[[bytes], tuple[Usage | None, str]]


def operation_of(model: str) -> Operation:
    """What a model with this name is for."""
    name = model.lower()
    return next((operation for pattern, operation in _NAMES if pattern.search(name)), Operation.CHAT)


def asked(provider: Provider, target: Target, operation: Operation) -> Asked | None:
    """The request; None for what the provider does not serve, or nobody can ask for a few tokens.

    Raises GatewayError and ValueError for what cannot be said to this target.
    """
    if operation is Operation.MODERATION:
        head = provider.head(_MODERATIONS, target.model, b"application/json")
        body = json.dumps({"model": target.model, "input": "OK"}).encode()
        return None if head is None else Asked(_MODERATIONS, head, body, lambda whole: (None, ""))
    endpoint = provider.own_endpoint(operation, target.model, False)
    head = provider.head(endpoint, target.model, b"application/json") if endpoint is not None else None
    if endpoint is None or head is None:
        return None
    if operation is Operation.CHAT:
        return _in_words(endpoint, head, target)
    dialect = whole_dialect(endpoint)
    embeds = operation is Operation.EMBEDDINGS
    request: EmbedRequest | RerankRequest = (
        EmbedRequest(target.model, ("OK",))
        if embeds
        else RerankRequest(target.model, "fruit", ("an apple", "a hammer"))
    )
    body = dialect.render_request(request, target.vendor).body

    def read(whole: bytes) -> tuple[Usage | None, str]:
        answer = dialect.parse_answer(whole)
        if not (answer.vectors if embeds else answer.results):
            raise ValueError("the answer is empty")
        return answer.usage, " with a vector" if embeds else " with a ranking"

    return Asked(endpoint, head, body, read)


def _in_words(endpoint: Endpoint, head: bytes, target: Target) -> Asked:
    dialect = target_dialect(endpoint, target)
    question = Message("user", (Text("Say OK."),))
    body = dialect.render_request(
        ChatRequest(model=target.model, messages=(question,), max_output=_MAX_OUTPUT)
    ).body
    if endpoint.members:
        body = with_members(Envelope(body), endpoint.members)
    return Asked(endpoint, head, body, lambda whole: (dialect.parse_answer(whole).usage, ""))
