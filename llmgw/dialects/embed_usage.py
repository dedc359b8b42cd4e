"""What embeddings and reranking are billed by, as each service says it. None where it does not say.

Facts: the API references of OpenAI and Jina (`usage`), Cohere (`meta.billed_units`), Gemini
(`usageMetadata`) and Ollama (`prompt_eval_count`).
"""

from __future__ import annotations

from msgspec import Struct

from llmgw.core.usage import Usage
from llmgw.dialects.usage_taps import WireUsage, parse_usage

_ABSURD = 10**9


class _Units(Struct):
    search_units: object = None
    input_tokens: object = None


class Meta(Struct):
    """Cohere's."""

    billed_units: _Units | None = None


class PromptCount(Struct, rename="camel"):
    """Gemini's."""

    prompt_token_count: object = None
    total_token_count: object = None


def parse_tokens(wire: WireUsage | None) -> Usage | None:
    """Of OpenAI's shape; some say the total only."""
    usage = parse_usage(wire)
    if usage is not None or wire is None:
        return usage
    return _of(_count(wire.total_tokens))


def parse_units(meta: Meta | None) -> Usage | None:
    """Tokens, searches or both, as Cohere bills them."""
    units = meta.billed_units if meta is not None else None
    if units is None:
        return None
    tokens, searches = _count(units.input_tokens), _count(units.search_units)
    if tokens is None and searches is None:
        return None
    return Usage(tokens or 0, searches=searches or 0)


def parse_prompt_count(count: PromptCount | None) -> Usage | None:
    """Of Gemini's shape."""
    if count is None:
        return None
    tokens = _count(count.prompt_token_count)
    return _of(tokens if tokens is not None else _count(count.total_token_count))


def parse_prompt_eval_count(count: object) -> Usage | None:
    """Of Ollama's shape."""
    return _of(_count(count))


def _of(tokens: int | None) -> Usage | None:
    return None if tokens is None else Usage(tokens)


def _count(value: object) -> int | None:
    """Cohere writes its counts as 3.0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _ABSURD:
        return None
    return int(value)
