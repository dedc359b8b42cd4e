"""Answers of chat completions: what upstreams send, read, and what clients get, written.

Compatible services are loose: `content` may be a list (Mistral), arguments an object, ids and
indices missing, `finish_reason` in words of their own. The structs here say what is looked at,
whole and in a stream; the rest is passed over.

A client sees thoughts in `reasoning_content`, and in `reasoning_details` what it must send back:
signatures and encrypted thoughts. Gemini's signatures of calls are in `extra_content.google`, as
Gemini's own OpenAI-compatible endpoint has them.
"""

from __future__ import annotations

import secrets
import time

import msgspec
from msgspec import Raw, Struct, field

from llmgw.core.chat import (
    CONTENT_FILTER,
    LENGTH,
    PAUSE,
    REFUSAL,
    STOP,
    STOP_SEQUENCE,
    TOOL_CALLS,
    ChatAnswer,
    Choice,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from llmgw.dialects.openai_chat_messages import WireCall, WirePart, parse_image
from llmgw.dialects.openai_chat_thoughts import parse_thoughts, render_details
from llmgw.dialects.openai_chat_turns import render_image
from llmgw.dialects.openai_chat_usage import parse_usage, render_usage
from llmgw.dialects.unsaid import unknown_media

_STOPS = {
    "length": LENGTH,
    "max_tokens": LENGTH,
    "model_length": LENGTH,
    "tool_calls": TOOL_CALLS,
    "function_call": TOOL_CALLS,
    "tool_use": TOOL_CALLS,
    "content_filter": CONTENT_FILTER,
    "refusal": REFUSAL,
    "stop_sequence": STOP_SEQUENCE,
}
"""Words for why an answer ended; any other means that it came to its end."""

_BROKEN = ("error", "insufficient_system_resource")
"""Words that say that the answer did not come to its end (OpenRouter, Mistral; DeepSeek)."""

_NEVER_S = 2**40  # no answer is created after this

_SAID = {
    STOP: "stop",
    STOP_SEQUENCE: "stop",
    PAUSE: "stop",
    LENGTH: "length",
    TOOL_CALLS: "tool_calls",
    CONTENT_FILTER: "content_filter",
    REFUSAL: "content_filter",
}


class WireDelta(Struct):
    """`message`, or in a stream `delta`."""

    content: str | list[WirePart] | None = None
    reasoning_content: str | None = None
    reasoning: object = None
    reasoning_details: list[Raw] | None = None
    refusal: str | None = None
    tool_calls: list[WireCall] | None = None
    images: list[WirePart] | None = None

    @property
    def thoughts(self) -> str:
        """The text member's; services that send two send the same in both."""
        text = self.reasoning_content or self.reasoning
        return text if isinstance(text, str) else ""


class WireChoice(Struct):
    index: int | None = None
    message: WireDelta | None = None
    delta: WireDelta | None = None
    finish_reason: object = None
    stop_reason: object = None

    @property
    def broken(self) -> str | None:
        """The word for it, when the provider did not bring the answer to its end."""
        word = self.finish_reason
        return word if isinstance(word, str) and word in _BROKEN else None

    def stop(self) -> tuple[str | None, str | None]:
        """Why it ended, and by which stop sequence: vLLM says that beside `finish_reason`."""
        word = self.finish_reason
        if not isinstance(word, str) or not word:
            return None, None
        stop = _STOPS.get(word.lower(), STOP)
        if stop == STOP and isinstance(self.stop_reason, str):
            return STOP_SEQUENCE, self.stop_reason
        return stop, None


class WireAnswer(Struct):
    """A whole answer, or one chunk of a stream."""

    choices: list[WireChoice] | None = None
    id: object = None
    model: object = None
    created: object = None
    usage: object = None
    x_groq: object = None
    error: object = None
    type: object = None
    kind: object = field(default=None, name="object")

    @property
    def created_s(self) -> int | None:
        created = self.created
        return int(created) if isinstance(created, int | float) and 0 <= created < _NEVER_S else None


_decode = msgspec.json.Decoder(WireAnswer).decode
_encode = msgspec.json.Encoder().encode


def parse_answer(body: bytes) -> ChatAnswer:
    """A whole answer. Raises ValueError when it is none, or broke off."""
    try:
        wire = _decode(body)
        choices = wire.choices
        if choices is None or wire.error is not None:
            raise ValueError("the answer has no choices")
        return ChatAnswer(
            id=text_or_empty(wire.id),
            model=text_or_empty(wire.model),
            choices=tuple(_choice(choice) for choice in choices),
            usage=parse_usage(wire.usage),
            created_s=wire.created_s,
        )
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"the answer is not a chat completion: {error}") from None


def _choice(wire: WireChoice) -> Choice:
    if wire.broken:
        raise ValueError(f"the provider broke off: {wire.broken}")
    message = wire.message or wire.delta
    stop, stop_sequence = wire.stop()
    return Choice(_parts(message) if message is not None else (), stop, stop_sequence)


def _parts(message: WireDelta) -> tuple[Part, ...]:
    parts: list[Part] = list(parse_thoughts(message.thoughts, message.reasoning_details))
    if isinstance(message.content, str):
        if message.content:
            parts.append(Text(message.content))
    else:
        for piece in message.content or ():
            if piece.type == "thinking":
                parts.append(Thinking(piece.thoughts(), piece.signature))
            elif piece.text:
                parts.append(Text(piece.text))
    for piece in message.images or ():
        if piece.image_url is not None:
            parts.append(parse_image(piece.image_url))
    if message.refusal:
        parts.append(Refusal(message.refusal))
    for call in message.tool_calls or ():
        parts.append(ToolCall(call.id or made_id(), call.name, call.arguments, call.signature))
    return tuple(parts)


def render_answer(answer: ChatAnswer) -> bytes:
    """A whole answer."""
    body: dict[str, object] = {
        "id": answer.id or made_answer_id(),
        "object": "chat.completion",
        "created": answer.created_s if answer.created_s is not None else int(time.time()),
        "model": answer.model,
        "choices": [_render_choice(choice, index) for index, choice in enumerate(answer.choices)],
    }
    if answer.usage is not None:
        body["usage"] = render_usage(answer.usage)
    return _encode(body)


def _render_choice(choice: Choice, index: int) -> dict[str, object]:
    texts: list[str] = []
    refusals: list[str] = []
    thoughts: list[Thinking] = []
    calls: list[object] = []
    images: list[object] = []
    for part in choice.parts:
        if isinstance(part, Text):
            texts.append(part.text)
        elif isinstance(part, Refusal):
            refusals.append(part.text)
        elif isinstance(part, Thinking):
            thoughts.append(part)
        elif isinstance(part, ToolCall):
            calls.append(render_call(part))
        elif isinstance(part, Image):
            images.append(render_image(part))
        else:
            raise unknown_media()
    message: dict[str, object] = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
    }
    shown = "".join(thought.text for thought in thoughts)
    if shown:
        message["reasoning_content"] = shown
    if any(thought.signature or thought.redacted for thought in thoughts):
        message["reasoning_details"] = render_details(thoughts)
    if images:
        message["images"] = images
    if calls:
        message["tool_calls"] = calls
    stop = choice.stop or (TOOL_CALLS if calls else STOP)
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish_reason(stop)}


def render_call(call: ToolCall) -> dict[str, object]:
    """An entry of `tool_calls`. Clients decode the arguments, so there are always some."""
    said: dict[str, object] = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments or "{}"},
    }
    if call.signature is not None:
        said["extra_content"] = extra_content(call.signature)
    return said


def extra_content(signature: str) -> dict[str, object]:
    """Where a call's signature goes to the client and comes back."""
    return {"google": {"thought_signature": signature}}


def finish_reason(stop: str) -> str:
    """OpenAI's word for why an answer ended."""
    return _SAID.get(stop, "stop")


def made_answer_id() -> str:
    """An id for an answer that came without one."""
    return "chatcmpl-" + secrets.token_hex(12)


def made_id() -> str:
    """An id for a call that came without one. Unlike a number, no later turn has it again."""
    return "call_" + secrets.token_hex(12)


def text_or_empty(value: object) -> str:
    return value if isinstance(value, str) else ""
