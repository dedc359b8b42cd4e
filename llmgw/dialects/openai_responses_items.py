"""Items of the responses API: what its input and output are lists of.

A message's content, a function call, a call's output and a reasoning item have a part of
ours. The items of hosted tools have none (OpenAI API reference, "Create a model response").
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Raw, Struct

from llmgw.core.chat import File, Image, Part, Refusal, Text, Thinking, ToolCall
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.openai_responses_signatures import (
    CALL,
    REDACTED,
    SIGNED,
    pack,
    unpack,
    unwrap,
    wrap,
)

Json = dict[str, object]

_DATA = "data:"
_BASE64 = ";base64,"


class Breakpoint(Struct):
    ttl: str | None = None


class Content(Struct):
    """A part of a message's content, of an output, or of a reasoning item's summary."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    detail: str | None = None
    prompt_cache_breakpoint: Breakpoint | None = None


class Item(Struct):
    """An item of any type. `arguments` and `output` differ in shape by type."""

    type: str | None = None
    role: str | None = None
    content: str | list[Content] | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: object = None
    output: Raw = Raw(b"null")
    summary: list[Content] | None = None
    encrypted_content: str | None = None


def split_data_url(url: str) -> tuple[str, str] | None:
    """The media type and the base64 text of a data URL; None for any other."""
    if not url.startswith(_DATA):
        return None
    media_type, found, data = url[len(_DATA) :].partition(_BASE64)
    return (media_type.partition(";")[0], data) if found else None


def parse_content(content: Content, param: str) -> Text | Image | File | Refusal:
    """A part of a message or of a tool's output. param: where it stands in the request."""
    mark = content.prompt_cache_breakpoint
    cached = None if mark is None else mark.ttl or ""
    if content.type in ("input_text", "output_text", "text") and content.text is not None:
        return Text(content.text, cached)
    if content.type == "refusal" and content.refusal is not None:
        return Refusal(content.refusal)
    if content.file_id is not None:
        raise UnsupportedOperation(
            "a file kept by the provider cannot be used here", param=f"{param}.file_id"
        )
    if content.type == "input_image" and content.image_url is not None:
        inline = split_data_url(content.image_url)
        if inline is None:
            return Image(url=content.image_url, detail=content.detail, cached=cached)
        return Image(inline[0] or None, inline[1], None, content.detail, cached)
    if content.type == "input_file" and content.file_data is not None:
        media_type, data = split_data_url(content.file_data) or ("", content.file_data)
        return File(media_type or None, data, name=content.filename, cached=cached)
    if content.type == "input_file" and content.file_url is not None:
        return File(url=content.file_url, name=content.filename, cached=cached)
    if content.type in ("input_text", "output_text", "refusal", "input_image", "input_file"):
        raise InvalidRequest(f"a part of type '{content.type}' has nothing in it", param=param)
    raise UnsupportedOperation(f"content of type '{content.type}' is not supported", param=f"{param}.type")


def render_content(part: Part, marked: bool) -> Json | None:
    """A part of a user's message or of a tool's output; None when it cannot be one.

    marked: whether to say where the prompt is to be cached.
    """
    match part:
        case Text(text=text):
            body: Json = {"type": "input_text", "text": text}
        case Image():
            url = part.url or f"data:{part.media_type or 'image/png'};base64,{part.data}"
            body = {"type": "input_image", "image_url": url}
            if part.detail is not None:
                body["detail"] = part.detail
        case File(text=str() as text, name=name):
            body = {"type": "input_text", "text": f"{name}\n\n{text}" if name else text}
        case File(url=str() as url):
            body = {"type": "input_file", "file_url": url}
            if part.name is not None:
                body["filename"] = part.name
        case File():
            data = f"data:{part.media_type};base64,{part.data}" if part.media_type else part.data
            body = {"type": "input_file", "filename": part.name or "document.pdf", "file_data": data}
        case _:
            return None
    if marked and part.cached is not None:
        mark = {"mode": "explicit"}
        if part.cached:
            mark["ttl"] = part.cached
        body["prompt_cache_breakpoint"] = mark
    return body


def reasoning_text(item: Item) -> str:
    """The thoughts of a reasoning item: its summary, or its content where that is all it has."""
    parts = item.summary or (item.content if isinstance(item.content, list) else None)
    return "\n\n".join(part.text or "" for part in parts or ())


def thinking(item: Item) -> Thinking:
    """A reasoning item; without text and `redacted` when it holds nothing.

    Its id alone proves nothing to a provider that has not kept the item.
    """
    text = reasoning_text(item)
    token = pack(item.id or "", item.encrypted_content) if item.encrypted_content else None
    return Thinking(text, token) if text else Thinking("", None, token)


def returned_thinking(item: Item, stateful: bool) -> Thinking | None:
    """A reasoning item that a client sends back; None for one that says nothing here.

    stateful: whether an id alone says something.
    """
    wrapped = unwrap(item.encrypted_content)
    if wrapped is None:
        thought = thinking(item)
        if stateful and item.id and not item.encrypted_content:
            kept = pack(item.id, "")
            return Thinking(thought.text, kept) if thought.text else Thinking("", None, kept)
        return thought if thought.text or thought.redacted else None
    if wrapped.kind == CALL:
        return None
    if wrapped.kind == REDACTED:
        return Thinking("", None, wrapped.value)
    return Thinking(reasoning_text(item), wrapped.value)


def is_empty(reasoning: Item) -> bool:
    """Whether a reasoning item says no more than where the provider keeps it."""
    return not reasoning.encrypted_content and returned_thinking(reasoning, False) is None


def call_signatures(items: Iterable[Item]) -> dict[str, str]:
    """The signatures of tool calls that a client sends back, by the call's id."""
    found = {}
    for item in items:
        if item.type == "reasoning":
            wrapped = unwrap(item.encrypted_content)
            if wrapped is not None and wrapped.kind == CALL:
                found[wrapped.call_id] = wrapped.value
    return found


def reasoning_item(part: Thinking, item_id: str, renamed: bool = False) -> Json:
    """A thought as output. item_id: of the item, unless the thought has one.

    renamed: whether the item must have `item_id` anyway; then what proves the thought is wrapped,
    since it proves it only together with the thought's own id.
    """
    token = part.signature or part.redacted
    own = None if renamed else unpack(token)
    item: Json = {
        "id": item_id,
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": part.text}] if part.text else [],
    }
    if own is not None:
        item["id"] = own[0] or item_id
        if own[1]:
            item["encrypted_content"] = own[1]
    elif token is not None:
        item["encrypted_content"] = wrap(SIGNED if part.signature else REDACTED, token)
    return item


def call_signature_item(call_id: str, signature: str, item_id: str) -> Json:
    """A reasoning item that carries the signature of a tool call to the client and back."""
    return {
        "id": item_id,
        "type": "reasoning",
        "summary": [],
        "encrypted_content": wrap(CALL, signature, call_id),
    }


def call_item(call: ToolCall, item_id: str, status: str) -> Json:
    """A tool call as output."""
    return {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments or "{}",
    }


def output_content(part: Text | Refusal) -> Json:
    """A part of a message as output."""
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}


def message_item(content: list[object], item_id: str, status: str) -> Json:
    """A message as output."""
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}
