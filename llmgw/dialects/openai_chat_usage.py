"""Token counts as chat completions tell them, and as clients of them read them.

OpenAI counts inclusively, as we do: `prompt_tokens` holds the cached ones and `completion_tokens`
the reasoning. Compatible services differ, and are read by what they say:

- DeepSeek has `prompt_cache_hit_tokens`, Moonshot `cached_tokens`, beside the totals.
- xAI leaves reasoning out of `completion_tokens`; then `total_tokens` is the sum of all three,
  which is how it is told apart. (xAI API reference, chat completions, `usage`.)
"""

from __future__ import annotations

from llmgw.core.usage import Usage

_ABSURD = 10**9
_INTO = ("prompt_tokens", "input_tokens")
_OUT = ("completion_tokens", "output_tokens")


def parse_usage(wire: object) -> Usage | None:
    """Ours from `usage`; None when it tells nothing, or counts that cannot be."""
    if not isinstance(wire, dict):
        return None
    into = _count(wire, *_INTO)
    out = _count(wire, *_OUT)
    if (into is None and out is None) or _cannot_be(into) or _cannot_be(out):
        return None
    if (into is None and _tells(wire, _INTO)) or (out is None and _tells(wire, _OUT)):
        return None
    into = into or 0
    out = out or 0
    details = _object(wire, "prompt_tokens_details", "input_tokens_details")
    cached = _count(details, "cached_tokens")
    if cached is None:
        cached = _count(wire, "prompt_cache_hit_tokens", "cached_tokens")
    written = _count(details, "cache_write_tokens")
    reasoning = _count(
        _object(wire, "completion_tokens_details", "output_tokens_details"), "reasoning_tokens"
    )
    if reasoning is None:
        reasoning = _count(wire, "reasoning_tokens")
    reasoning = _part(reasoning, _ABSURD)
    if reasoning and _count(wire, "total_tokens") == into + out + reasoning:
        out += reasoning
    cached = _part(cached, into)
    return Usage(into, out, cached, _part(written, into - cached), min(reasoning, out))


def render_usage(usage: Usage) -> dict[str, object]:
    """`usage` for a client."""
    details = {"cached_tokens": usage.cached_tokens}
    if usage.cache_write_tokens:
        details["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _object(wire: dict[str, object], *names: str) -> dict[str, object]:
    for name in names:
        value = wire.get(name)
        if isinstance(value, dict):
            return value
    return {}


def _count(wire: dict[str, object], *names: str) -> int | None:
    """The first of the members that is a whole number."""
    for name in names:
        value = wire.get(name)
        if type(value) is int:
            return value
        if type(value) is float and value.is_integer():
            return int(value)
    return None


def _tells(wire: dict[str, object], names: tuple[str, ...]) -> bool:
    return any(wire.get(name) is not None for name in names)


def _cannot_be(value: int | None) -> bool:
    return value is not None and not 0 <= value <= _ABSURD


def _part(value: int | None, whole: int) -> int:
    return min(max(value or 0, 0), whole)
