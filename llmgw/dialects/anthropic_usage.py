"""Token counts of the messages API.

Facts (Anthropic API reference, Usage and streaming; prompt caching): `input_tokens` leaves out what was
read from and written to the cache, `output_tokens` holds the thinking. In a stream counts are cumulative
and sparse: `message_start` has the input and one to three tokens of output, a `message_delta` only
what it has to say. So each count holds until a later one replaces it, and nothing is added up.
"""

from __future__ import annotations

from typing import TypeVar

from msgspec import Struct

from llmgw.core.usage import Usage

_ABSURD = 10**9
_Known = TypeVar("_Known", int, int | None)


class WireUsage(Struct):
    """`usage`. Counts are read as they come, since one that cannot be must not cost the answer."""

    input_tokens: object = None
    cache_creation_input_tokens: object = None
    cache_read_input_tokens: object = None
    output_tokens: object = None
    output_tokens_details: object = None


class UsageCount:
    """The counts of one answer so far.

    After one of its input or output that cannot be, negative or absurd, none is believed: then we count.
    Of parts, such a count tells nothing.
    """

    __slots__ = ("_cached", "_input", "_odd", "_output", "_reasoning", "_written")

    def __init__(self) -> None:
        self._odd = False
        self._input: int | None = None
        self._output: int | None = None
        self._cached = 0
        self._written = 0
        self._reasoning = 0

    def take(self, wire: WireUsage) -> None:
        """What an event says now."""
        if _cannot_be(wire.input_tokens) or _cannot_be(wire.output_tokens):
            self._odd = True
        self._input = _count(wire.input_tokens, self._input)
        self._output = _count(wire.output_tokens, self._output)
        self._cached = _count(wire.cache_read_input_tokens, self._cached)
        self._written = _count(wire.cache_creation_input_tokens, self._written)
        if isinstance(wire.output_tokens_details, dict):
            self._reasoning = _count(wire.output_tokens_details.get("thinking_tokens"), self._reasoning)

    @property
    def usage(self) -> Usage | None:
        """Ours, inclusive; None while nothing that counts was said."""
        if self._odd or (self._input is None and self._output is None):
            return None
        output = self._output or 0
        return Usage(
            (self._input or 0) + self._cached + self._written,
            output,
            self._cached,
            self._written,
            min(self._reasoning, output),
        )


def parse_usage(wire: WireUsage | None) -> Usage | None:
    """The usage of a whole answer."""
    count = UsageCount()
    if wire is not None:
        count.take(wire)
    return count.usage


def render_usage(usage: Usage | None) -> dict[str, object]:
    """`usage`; zeros where none is known, since the counts are required."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    body: dict[str, object] = {
        "input_tokens": max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        body["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return body


def _cannot_be(value: object) -> bool:
    return value is not None and _count(value, None) is None


def _count(value: object, otherwise: _Known) -> int | _Known:
    return value if type(value) is int and 0 <= value <= _ABSURD else otherwise
