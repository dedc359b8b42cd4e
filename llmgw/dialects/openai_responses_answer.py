"""Whole answers of the responses API, and what a stream shares with them.

Facts (OpenAI API reference, "The response object"): `input_tokens` holds cached and written
tokens, `output_tokens` holds reasoning tokens; a response that was cut is `incomplete` with a
reason, one that broke is `failed` with an `error`, both under status 200.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from llmgw.core.chat import (
    CONTENT_FILTER,
    LENGTH,
    REFUSAL,
    STOP,
    TOOL_CALLS,
    ChatAnswer,
    ChatRequest,
    Choice,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from llmgw.core.usage import Usage
from llmgw.dialects.openai_chat_failures import read_failure
from llmgw.dialects.openai_responses_items import (
    Item,
    Json,
    call_item,
    call_signature_item,
    message_item,
    output_content,
    reasoning_item,
    thinking,
)
from llmgw.dialects.unsaid import unknown_media

_ABSURD = 10**9
_BROKEN = frozenset({"failed", "cancelled"})
_ENDED = frozenset({"completed", "incomplete"})


class _InputDetails(Struct):
    cached_tokens: object = None
    cache_write_tokens: object = None


class _OutputDetails(Struct):
    reasoning_tokens: object = None


class WireUsage(Struct):
    input_tokens: object = None
    output_tokens: object = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Incomplete(Struct):
    reason: str | None = None


class WireResponse(Struct):
    """A response, whole or inside an event."""

    id: str | None = None
    model: str | None = None
    created_at: float | None = None
    status: str | None = None
    error: object = None
    incomplete_details: _Incomplete | None = None
    output: list[Item] | None = None
    usage: WireUsage | None = None


_decode = msgspec.json.Decoder(WireResponse).decode
_encode = msgspec.json.Encoder().encode


def parse_usage(wire: WireUsage | None) -> Usage | None:
    """Ours from the wire's; None when it tells nothing, or what cannot be. Parts stay in their whole."""
    if wire is None:
        return None
    into, out = wire.input_tokens, wire.output_tokens
    if type(into) is not int or type(out) is not int:
        return None
    if not (0 <= into <= _ABSURD and 0 <= out <= _ABSURD):
        return None
    details = wire.input_tokens_details or _InputDetails()
    out_details = wire.output_tokens_details or _OutputDetails()
    cached = _share(details.cached_tokens, into)
    return Usage(
        into,
        out,
        cached,
        _share(details.cache_write_tokens, into - cached),
        _share(out_details.reasoning_tokens, out),
    )


def _share(value: object, whole: int) -> int:
    return min(value, whole) if type(value) is int and value > 0 else 0


def render_usage(usage: Usage | None) -> Json | None:
    """`usage` of a response; None where it is unknown."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def stop_of(response: WireResponse, calls: bool) -> str | None:
    """Why a response ended; None when it has not. calls: whether it holds a function call."""
    if response.status == "incomplete":
        reason = response.incomplete_details.reason if response.incomplete_details else None
        return CONTENT_FILTER if reason == "content_filter" else LENGTH
    if response.status in (None, *_ENDED):
        return TOOL_CALLS if calls else STOP
    return None


def outcome(stop: str | None, refused: bool) -> tuple[str, str | None]:
    """The status of a response and the reason it is incomplete. refused: whether it says so itself."""
    if stop == LENGTH:
        return "incomplete", "max_output_tokens"
    if stop == CONTENT_FILTER or (stop == REFUSAL and not refused):
        return "incomplete", "content_filter"
    return "completed", None


def response_id(given: str) -> str:
    """An id for a response: the provider's, or a new one where there is none."""
    return given or "resp_" + secrets.token_hex(16)


def response_object(given_id: str, model: str, created_s: int | None, request: ChatRequest | None) -> Json:
    """A response that has just begun. request: what it answers, where that is known."""
    return {
        "id": response_id(given_id),
        "object": "response",
        "created_at": int(time.time()) if created_s is None else created_s,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": request.max_output if request else None,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": request is None or request.parallel_tools is not False,
        "previous_response_id": None,
        "store": False,
        "temperature": request.temperature if request else None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": request.top_p if request else None,
        "truncation": "disabled",
        "usage": None,
        "user": request.user if request else None,
    }


def tail_of(identity: str) -> str:
    """What the ids of a response's items end in."""
    return identity.removeprefix("resp_")


def parse_answer(body: bytes) -> ChatAnswer:
    """A whole response. Raises ValueError for another shape, and for one that failed."""
    try:
        wire = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the answer is not a response: {error}") from None
    if wire.status in _BROKEN:
        raise ValueError(f"the response {wire.status}: {read_failure({'error': wire.error}, 0).message}")
    if wire.output is None:
        raise ValueError("the answer is not a response: it has no output")
    parts: list[Part] = []
    for item in wire.output:
        parts.extend(_parts(item))
    stop = stop_of(wire, any(isinstance(part, ToolCall) for part in parts))
    return ChatAnswer(
        id=wire.id or "",
        model=wire.model or "",
        choices=(Choice(tuple(parts), stop),),
        usage=parse_usage(wire.usage),
        created_s=None if wire.created_at is None else int(wire.created_at),
    )


def _parts(item: Item) -> list[Part]:
    """The parts of an output item; none of a hosted tool's."""
    if item.type == "message" and isinstance(item.content, list):
        return [
            Refusal(content.refusal) if content.refusal is not None else Text(content.text or "")
            for content in item.content
            if content.text is not None or content.refusal is not None
        ]
    if item.type == "function_call" and isinstance(item.arguments, str):
        return [ToolCall(item.call_id or item.id or "", item.name or "", item.arguments)]
    if item.type == "reasoning":
        thought = thinking(item)
        return [thought] if thought.text or thought.redacted else []
    return []


def render_answer(answer: ChatAnswer) -> bytes:
    """A whole response to a client. It has the first choice: there is no place for others.

    Raises UnsupportedOperation for sound and files.
    """
    choice = answer.choices[0] if answer.choices else Choice(())
    body = response_object(answer.id, answer.model, answer.created_s, None)
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    status, reason = outcome(choice.stop, refused)
    body["status"] = status
    if reason is not None:
        body["incomplete_details"] = {"reason": reason}
    body["output"] = _output(choice.parts, tail_of(str(body["id"])), status)
    body["usage"] = render_usage(answer.usage)
    return _encode(body)


def _output(parts: Sequence[Part], tail: str, status: str) -> list[Json]:
    output: list[Json] = []
    said: list[object] = []
    for part in parts:
        at = f"{tail}_{len(output)}"
        if isinstance(part, Text | Refusal):
            if not said:
                output.append(message_item(said, f"msg_{at}", status))
            said.append(output_content(part))
            continue
        said = []
        if isinstance(part, Thinking):
            output.append(reasoning_item(part, f"rs_{at}"))
        elif isinstance(part, ToolCall):
            if part.signature is not None:
                output.append(call_signature_item(part.id, part.signature, f"rs_{at}"))
            output.append(call_item(part, f"fc_{at}", "completed"))
        elif isinstance(part, Image) and part.data is not None:
            picture = {"type": "image_generation_call", "status": "completed", "result": part.data}
            output.append({"id": f"ig_{at}", **picture})
        else:
            raise unknown_media()
    return output
