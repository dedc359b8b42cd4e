"""Tokens of a request and its answer, for when the provider reports none.

Runs in a thread: a tokenizer takes 50 microseconds a kilobyte.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import structs

from llmgw.core.exchange import Exchange
from llmgw.core.usage import ESTIMATED, Usage
from llmgw.dialects.taps import Tap
from llmgw.tokens.count import count_chat, count_text

_TEXT_MEMBERS = ("prompt", "input", "instructions", "suffix", "texts", "inputs", "content", "requests")
_NESTED_TEXT_MEMBERS = ("text", "content", "parts", "arguments", "output")


def count(ex: Exchange, delivered: Tap | None) -> Usage:
    """What the request and the delivered part of its answer come to, by tokenizer."""
    model = ex.target.model if ex.target is not None else ex.model or ""
    begun = delivered.usage if delivered is not None else None
    text = delivered.delivered_text() if delivered is not None else ""
    output = count_text(text, model) if text else 0
    if begun is not None:
        # Of a stream that was cut: its input is told at the start, its output only at the end.
        # (Anthropic: `message_start` says 1 to 3 output tokens.)
        return structs.replace(begun, output_tokens=max(output, begun.output_tokens), source=ESTIMATED)
    return Usage(_input_tokens(ex.body, model), output, source=ESTIMATED)


def _input_tokens(body: bytes, model: str) -> int:
    try:
        request = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # The envelope let it through, so it is a number beyond 64 bits somewhere inside.
        return count_text(body.decode("utf-8", "replace"), model)
    if not isinstance(request, dict):
        return 0
    total = sum(_text_tokens(request.get(name), model) for name in _TEXT_MEMBERS)
    messages = [message for message in _list(request.get("messages")) if isinstance(message, Mapping)]
    if messages:
        tools = [tool for tool in _list(request.get("tools")) if isinstance(tool, Mapping)]
        total += count_chat(messages, tools, model)
    return total


def _text_tokens(value: object, model: str) -> int:
    """Tokens of every string in a prompt or an input; a list of token ids counts itself."""
    if isinstance(value, str):
        return count_text(value, model)
    if isinstance(value, list):
        if value and all(isinstance(item, int) for item in value):
            return len(value)
        return sum(_text_tokens(item, model) for item in value)
    if isinstance(value, Mapping):
        return sum(_text_tokens(value.get(name), model) for name in _NESTED_TEXT_MEMBERS)
    return 0


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
