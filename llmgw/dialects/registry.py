"""The dialects of conversations, by the endpoints that speak them. Imported when a request needs one."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import cast

from llmgw.core.operation import Endpoint, Operation
from llmgw.core.target import Target
from llmgw.dialects.base import Dialect, UpstreamFailure
from llmgw.dialects.endpoints import (
    ANTHROPIC,
    BEDROCK,
    COHERE,
    GEMINI,
    MISTRAL_RAW_PREDICT,
    MISTRAL_STREAM_RAW_PREDICT,
    OLLAMA,
    OLLAMA_GENERATE,
    OPENAI,
    STREAM_ARRAY,
    VERTEX,
)

_MODULES: dict[tuple[str, Operation], str] = {
    (OPENAI, Operation.CHAT): "llmgw.dialects.openai_chat",
    (OPENAI, Operation.RESPONSES): "llmgw.dialects.openai_responses",
    (ANTHROPIC, Operation.CHAT): "llmgw.dialects.anthropic",
    (BEDROCK, Operation.CHAT): "llmgw.dialects.bedrock_converse",
    (COHERE, Operation.CHAT): "llmgw.dialects.cohere",
    (GEMINI, Operation.CHAT): "llmgw.dialects.gemini",
    (OLLAMA, Operation.CHAT): "llmgw.dialects.ollama",
}

_CHAT_COMPLETIONS = "/chat/completions"
_OF_MISTRAL = frozenset({MISTRAL_RAW_PREDICT, MISTRAL_STREAM_RAW_PREDICT})
"""Where a provider of many vendors' models serves Mistral's."""
_MISTRAL_AGENT = b"mistral-client-"
"""Mistral's SDKs ask at OpenAI's path, and read the answers of their own service only."""


def is_translated(endpoint: Endpoint) -> bool:
    """Whether what is said at `endpoint` can be said in another dialect."""
    return (endpoint.dialect, endpoint.operation) in _MODULES


def client_dialect(endpoint: Endpoint, agent: bytes = b"") -> Dialect:
    """What is spoken at one of our endpoints. agent: the client's `user-agent`, where it may matter."""
    if endpoint.suffix == _CHAT_COMPLETIONS and agent.startswith(_MISTRAL_AGENT):
        return cast("Dialect", import_module("llmgw.dialects.openai_chat_mistral").DIALECT)
    if endpoint is OLLAMA_GENERATE:
        return cast("Dialect", import_module(_MODULES[OLLAMA, Operation.CHAT]).GENERATE)
    if endpoint is STREAM_ARRAY:
        return cast("Dialect", import_module(_MODULES[GEMINI, Operation.CHAT]).ARRAY)
    return _dialect(endpoint.dialect, endpoint.operation)


def reads_otherwise(endpoint: Endpoint, target: Target, agent: bytes) -> bool:
    """Whether a client cannot read the stream that a target of its own endpoint's dialect gives."""
    return (
        endpoint.suffix == _CHAT_COMPLETIONS
        and agent.startswith(_MISTRAL_AGENT)
        and "mistral" not in (target.kind, target.vendor)
    )


def target_dialect(endpoint: Endpoint, target: Target) -> Dialect:
    """What a target speaks at one of its endpoints, with what its vendor does differently."""
    if endpoint.dialect == OPENAI and endpoint.operation is Operation.CHAT and target.kind != "openai":
        module = import_module(_MODULES[OPENAI, Operation.CHAT])
        return cast("Dialect", module.dialect_for("mistral" if endpoint in _OF_MISTRAL else target.vendor))
    return _dialect(endpoint.dialect, endpoint.operation)


def target_failure(endpoint: Endpoint, target: Target, status: int, body: bytes) -> UpstreamFailure:
    """An upstream's error at one of its endpoints, whatever is done there. Never raises."""
    if is_translated(endpoint):
        return target_dialect(endpoint, target).parse_failure(status, body)
    speaker = GEMINI if endpoint.dialect == VERTEX else endpoint.dialect
    if (speaker, Operation.CHAT) not in _MODULES:
        speaker = OPENAI
    return _dialect(speaker, Operation.CHAT).parse_failure(status, body)


@cache
def _dialect(name: str, operation: Operation) -> Dialect:
    return cast("Dialect", import_module(_MODULES[name, operation]).DIALECT)
