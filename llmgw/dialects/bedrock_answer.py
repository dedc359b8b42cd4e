"""A whole answer of Bedrock's Converse, its usage and its errors.

Facts (Amazon Bedrock API reference, Converse, TokenUsage and "Common errors"): `inputTokens` leaves out
what was read from and written to the cache. An error is `{"message"}`, at times with `__type`; most say
their kind only in a header, so the status has to tell. 424 is the model's own failure.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from llmgw.core.chat import (
    CONTENT_FILTER,
    LENGTH,
    STOP,
    STOP_SEQUENCE,
    TOOL_CALLS,
    ChatAnswer,
    Choice,
    Part,
    Text,
    Thinking,
    ToolCall,
)
from llmgw.core.usage import Usage
from llmgw.dialects.base import (
    AUTH,
    INVALID,
    NOT_FOUND,
    OVERLOADED,
    PERMISSION,
    QUOTA,
    RATE_LIMIT,
    SERVER,
    UpstreamFailure,
)

_LONGEST = 2000  # characters of the provider's words that are passed on
_ABSURD = 10**9

_STOPS = {
    "end_turn": STOP,
    "tool_use": TOOL_CALLS,
    "max_tokens": LENGTH,
    "model_context_window_exceeded": LENGTH,
    "stop_sequence": STOP_SEQUENCE,
    "guardrail_intervened": CONTENT_FILTER,
    "content_filtered": CONTENT_FILTER,
}
_KINDS = {
    "accessdeniedexception": PERMISSION,
    "expiredtokenexception": AUTH,
    "incompletesignatureexception": AUTH,
    "internalserverexception": SERVER,
    "invalidsignatureexception": AUTH,
    "missingauthenticationtokenexception": AUTH,
    "modelerrorexception": SERVER,
    "modelnotreadyexception": OVERLOADED,
    "modelstreamerrorexception": SERVER,
    "modeltimeoutexception": SERVER,
    "resourcenotfoundexception": NOT_FOUND,
    "servicequotaexceededexception": QUOTA,
    "serviceunavailableexception": OVERLOADED,
    "throttlingexception": RATE_LIMIT,
    "unrecognizedclientexception": AUTH,
    "validationexception": INVALID,
}
"""In lower case: a stream writes the first letter small."""

_STATUSES = {
    401: AUTH,
    403: PERMISSION,
    404: NOT_FOUND,
    408: SERVER,
    424: SERVER,
    429: RATE_LIMIT,
    503: OVERLOADED,
}


PROVIDERS_OWN = "server_tool_use"
"""The type of a call that the provider runs itself. Others have none, or `tool_use`."""


class WireUsage(Struct, rename="camel"):
    """`usage`. Counts are read as they come, since one that cannot be must not cost the answer."""

    input_tokens: object = None
    output_tokens: object = None
    cache_read_input_tokens: object = None
    cache_write_input_tokens: object = None


class _ToolUse(Struct, rename="camel"):
    tool_use_id: str = ""
    name: str = ""
    input: Raw = Raw()
    type: str | None = None


class _ReasoningText(Struct):
    text: str = ""
    signature: str | None = None


class _Reasoning(Struct, rename="camel"):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str | None = None


class _CitedText(Struct):
    text: str = ""


class _Citations(Struct):
    content: list[_CitedText] = []


class _Block(Struct, rename="camel"):
    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None
    citations_content: _Citations | None = None


class _Message(Struct):
    content: list[_Block]


class _Output(Struct):
    message: _Message


class _Answer(Struct, rename="camel"):
    output: _Output
    stop_reason: str | None = None
    usage: WireUsage | None = None


class _Error(Struct):
    message: object = None
    capital: object = msgspec.field(default=None, name="Message")
    kind: object = msgspec.field(default=None, name="__type")


_decode = msgspec.json.Decoder(_Answer).decode
_decode_error = msgspec.json.Decoder(_Error).decode


def parse_answer(body: bytes) -> ChatAnswer:
    """A whole answer. It names neither itself nor its model. Raises ValueError when it is none."""
    try:
        wire = _decode(body)
        parts = tuple(part for block in wire.output.message.content if (part := _part(block)) is not None)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"the answer is not one of Converse: {error}") from None
    stop = parse_stop(wire.stop_reason) if wire.stop_reason is not None else None
    return ChatAnswer(id="", model="", choices=(Choice(parts, stop),), usage=parse_usage(wire.usage))


def parse_stop(reason: str) -> str:
    """Why an answer ended, in our words; reasons that nobody knows yet are an end like any other."""
    return _STOPS.get(reason, STOP)


def parse_usage(wire: WireUsage | None) -> Usage | None:
    """Ours, inclusive; None where a count of input or output cannot be, negative or absurd, as then we count.

    Of parts, such a count tells nothing.
    """
    if wire is None:
        return None
    told = (wire.input_tokens, wire.output_tokens)
    into, out = map(_count, told)
    if told == (None, None) or any(
        said is not None and count is None for said, count in zip(told, (into, out), strict=True)
    ):
        return None
    cached = _count(wire.cache_read_input_tokens) or 0
    written = _count(wire.cache_write_input_tokens) or 0
    return Usage((into or 0) + cached + written, out or 0, cached, written)


def parse_failure(status: int, body: bytes) -> UpstreamFailure:
    """An upstream's error. Whatever the body is, never raises."""
    error = _error(body)
    kind = error.kind if isinstance(error.kind, str) else ""
    message = message_of(body) or f"the provider answered with status {status}"
    return UpstreamFailure(class_of(kind.rpartition("#")[2], status), message, status)


def class_of(kind: str, status: int) -> str:
    """The class of a failure. kind: Amazon's name, "" if unknown; status: 0 inside a stream."""
    known = _KINDS.get(kind.lower()) or _STATUSES.get(status)
    if known is not None:
        return known
    return INVALID if 400 <= status < 500 else SERVER


def message_of(body: bytes) -> str:
    """The provider's own words, "" for none."""
    error = _error(body)
    said = next((text for text in (error.message, error.capital) if isinstance(text, str)), "")
    return said[:_LONGEST]


def _error(body: bytes) -> _Error:
    try:
        return _decode_error(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _Error()


def _part(block: _Block) -> Part | None:
    if block.text is not None:
        return Text(block.text)
    tool, thought = block.tool_use, block.reasoning_content
    if tool is not None:
        if tool.type == PROVIDERS_OWN:
            return None  # of a tool that the provider ran itself
        arguments = bytes(tool.input).decode()
        return ToolCall(tool.tool_use_id, tool.name, "" if arguments == "null" else arguments)
    if block.citations_content is not None:
        return Text("".join(cited.text for cited in block.citations_content.content))
    if thought is None:
        return None
    if thought.redacted_content is not None:
        return Thinking("", None, thought.redacted_content)
    told = thought.reasoning_text
    return Thinking(told.text, told.signature or None) if told is not None else None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _ABSURD else None
