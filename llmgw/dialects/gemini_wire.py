"""A Gemini answer as it is on the wire: its shape, its usage, its reasons to end.

Facts (Gemini and Vertex AI API references: GenerateContentResponse, UsageMetadata, FinishReason):
a stream's chunks have the shape of a whole answer; counts are cumulative; `promptTokenCount` holds
the cached part, while tokens of the tools' own prompts and of thoughts stand beside the prompt and
the candidates and are not in them. Vertex AI writes enums as numbers when asked to.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw, Struct

from llmgw.core import chat
from llmgw.core.usage import Usage

_ABSURD = 10**9


def is_null(raw: Raw) -> bool:
    """Whether a member is absent or null."""
    size = len(memoryview(raw))
    return size == 0 or (size == 4 and bytes(raw) == b"null")


class Blob(Struct, rename="camel"):
    mime_type: str | None = None
    data: str | None = None


class FileData(Struct, rename="camel"):
    mime_type: str | None = None
    file_uri: str | None = None


class PartialArg(Struct, rename="camel"):
    json_path: str = ""
    string_value: str | None = None
    number_value: Raw = Raw()
    bool_value: bool | None = None


class FunctionCall(Struct, rename="camel"):
    name: str | None = None
    id: str | None = None
    args: Raw = Raw()
    partial_args: list[PartialArg] | None = None
    will_continue: bool | None = None


class WirePart(Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None


class Content(Struct):
    parts: list[WirePart] | None = None


class Candidate(Struct, rename="camel"):
    content: Content | None = None
    finish_reason: str | int | None = None
    index: int | None = None

    @property
    def parts(self) -> list[WirePart]:
        return (self.content.parts if self.content is not None else None) or []


class PromptFeedback(Struct, rename="camel"):
    block_reason: str | int | None = None


class WireUsage(Struct, rename="camel"):
    """Any of it can be absent, and is when it is zero."""

    prompt_token_count: object = None
    tool_use_prompt_token_count: object = None
    candidates_token_count: object = None
    thoughts_token_count: object = None
    cached_content_token_count: object = None


class WireAnswer(Struct, rename="camel"):
    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: WireUsage | None = None
    model_version: str | None = None
    response_id: str | None = None
    create_time: str | None = None
    error: Raw = Raw()

    @property
    def failed(self) -> bool:
        return not is_null(self.error)

    @property
    def blocked(self) -> bool:
        """The prompt was refused: there are no candidates, and will be none."""
        return self.prompt_feedback is not None and bool(self.prompt_feedback.block_reason)


_decode_answer = msgspec.json.Decoder(WireAnswer).decode


def decode_answer(document: bytes) -> WireAnswer:
    """Raises ValueError when `document` is not an answer, a part of one, or an error."""
    try:
        return _decode_answer(document)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"not a Gemini answer: {error}") from None


class UsageCount:
    """The usage of a stream: each count as it was last told."""

    __slots__ = ("_cached", "_candidates", "_prompt", "_thoughts", "_tools")

    def __init__(self) -> None:
        self._prompt: object = None
        self._tools: object = None
        self._candidates: object = None
        self._thoughts: object = None
        self._cached: object = None

    def take(self, wire: WireUsage) -> None:
        if wire.prompt_token_count is not None:
            self._prompt = wire.prompt_token_count
        if wire.tool_use_prompt_token_count is not None:
            self._tools = wire.tool_use_prompt_token_count
        if wire.candidates_token_count is not None:
            self._candidates = wire.candidates_token_count
        if wire.thoughts_token_count is not None:
            self._thoughts = wire.thoughts_token_count
        if wire.cached_content_token_count is not None:
            self._cached = wire.cached_content_token_count

    @property
    def usage(self) -> Usage | None:
        """None when nothing that counts was told, or a count that cannot be."""
        counts = (self._prompt, self._tools, self._candidates, self._thoughts)
        told = [count for count in counts if count is not None]
        if not told or any(type(count) is not int or not 0 <= count <= _ABSURD for count in told):
            return None
        prompt, tools, candidates, thoughts = map(_count, counts)
        return Usage(
            input_tokens=prompt + tools,
            output_tokens=candidates + thoughts,
            cached_tokens=min(_count(self._cached), prompt),
            reasoning_tokens=thoughts,
        )


def parse_usage(wire: WireUsage | None) -> Usage | None:
    """Ours from the wire's; None when the wire tells nothing that counts."""
    if wire is None:
        return None
    count = UsageCount()
    count.take(wire)
    return count.usage


def _count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def render_usage(usage: Usage) -> dict[str, int]:
    """Gemini's counts, which leave the thoughts out of the candidates."""
    thoughts = min(usage.reasoning_tokens, usage.output_tokens)
    wire = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - thoughts,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    if thoughts:
        wire["thoughtsTokenCount"] = thoughts
    if usage.cached_tokens:
        wire["cachedContentTokenCount"] = usage.cached_tokens
    return wire


_NUMBERED = (
    "FINISH_REASON_UNSPECIFIED",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "MODEL_ARMOR",
)
"""Vertex AI's numbers for its reasons."""
_FILTERED = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MODEL_ARMOR",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)
_REASONS = {
    chat.LENGTH: "MAX_TOKENS",
    chat.CONTENT_FILTER: "SAFETY",
    chat.REFUSAL: "PROHIBITED_CONTENT",
    chat.PAUSE: "OTHER",
}
MALFORMED_CALL = "MALFORMED_FUNCTION_CALL"
"""What Gemini says when the model's call is not one that can be made."""


def parse_stop(reason: str | int | None, called: bool) -> str | None:
    """Why a candidate ended; None when it has not. called: it has function calls.

    Gemini ends a turn of calls with `STOP`, and does not tell a stop sequence from a natural end.
    """
    if isinstance(reason, int):
        reason = _NUMBERED[reason] if 0 <= reason < len(_NUMBERED) else "OTHER"
    if not reason or reason == _NUMBERED[0]:
        return None
    if reason == "MAX_TOKENS":
        return chat.LENGTH
    if reason in _FILTERED:
        return chat.CONTENT_FILTER
    return chat.TOOL_CALLS if called else chat.STOP


def render_stop(stop: str | None) -> str:
    return _REASONS.get(stop or "", "STOP")


_id_text = re.compile(r"[A-Za-z0-9_-]{8,27}")
_made_id = re.compile(r"call_(?:[A-Za-z0-9_-]{8,27}_)?\d{1,3}")


def make_call_id(position: int, answer_id: str | None = None) -> str:
    """An id for a call that has none: the same each time the answer is read.

    answer_id: makes it unlike those of other turns. At most 36 characters.
    """
    if answer_id and _id_text.fullmatch(answer_id):
        return f"call_{answer_id}_{position}"
    return f"call_{position}"


def is_made(call_id: str) -> bool:
    """Whether `make_call_id` made it. Gemini is not shown such an id: it knows the call by its place."""
    return _made_id.fullmatch(call_id) is not None
