"""The turns of a conversation, written as messages of the messages API.

Facts (Anthropic API reference; tool use): a text is never empty; results stand first in the one user's
message after their calls; ids of calls have letters, digits, `_` and `-` and each is used once; images
are JPEG, PNG, GIF or WebP; documents are PDF or plain text. An assistant's refusal has no block of its
own and becomes text. Thoughts go back only with the proof of the provider that made them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw

from llmgw.core.chat import (
    Audio,
    ChatRequest,
    File,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.call_ids import CallIds
from llmgw.dialects.gemini_signatures import is_gemini
from llmgw.dialects.openai_responses_signatures import unpack
from llmgw.dialects.system_turns import texts_of

Wire = dict[str, object]

_NO_ARGUMENTS = Raw(b'{"type":"object","properties":{}}')
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_data_url = re.compile(r"data:([^;,]*);base64,", re.IGNORECASE)

_IMAGES = {"/9j/": "image/jpeg", "iVBORw": "image/png", "R0lGOD": "image/gif", "UklGR": "image/webp"}
"""Media types by how their base64 begins."""


def render_messages(request: ChatRequest, dropped: set[str]) -> list[Wire]:
    """All messages. What the dialect cannot say of them is named in `dropped`."""
    writer = _Writer(dropped)
    messages: list[Wire] = []
    for i, message in enumerate(request.messages):
        at = f"messages[{i}]"
        if message.name is not None:
            dropped.add("name")
        if message.role == "assistant":
            blocks = [block for part in message.parts for block in writer.said(part, at)]
            answering = False
        elif message.role == "system":
            blocks = [_text(text) for text in texts_of(message) if text.text]
            answering = False
            if blocks and messages and messages[-1]["role"] == "system":
                _add_results(messages[-1], blocks, 0)
                continue
        else:
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            blocks = [writer.result(result, at) for result in results]
            blocks += [block for part in message.parts for block in writer.asked(part, at)]
            answering = bool(results)
        if not blocks:
            continue
        if answering and _ends_with_results(messages):
            _add_results(messages[-1], blocks, len(results))
            continue
        messages.append({"role": message.role, "content": blocks})
    for wire in messages:
        wire["content"] = _brief(wire["content"])
    return messages


def render_texts(texts: Iterable[Text]) -> object:
    """System text; a string where one text is all there is, None where there is none."""
    blocks: list[Wire] = [_text(text) for text in texts if text.text]
    return _brief(blocks) if blocks else None


def is_signed(thought: Thinking) -> bool:
    """Whether a thought has a proof that is not known to be another provider's."""
    if thought.redacted is not None:
        # An entry of `reasoning_details`, which is not Anthropic's base64.
        return not thought.redacted.startswith("{") and unpack(thought.redacted) is None
    signature = thought.signature
    return bool(signature) and unpack(signature) is None and not is_gemini(signature)


def input_object(arguments: str) -> Raw | None:
    """A call's arguments as a JSON object, unparsed; None when they are none."""
    if not arguments or arguments.isspace():
        return Raw(b"{}")
    raw = arguments.encode()
    try:
        _decode_object(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return Raw(raw)


def marked(block: Wire, cached: str | None) -> Wire:
    """The block with its `cache_control`, if it has one."""
    if cached is not None:
        block["cache_control"] = {"type": "ephemeral", "ttl": cached} if cached else {"type": "ephemeral"}
    return block


def schema_of(tool: Tool, i: int) -> Raw:
    """What a tool's arguments must be: always an object. Raises InvalidRequest when it is no schema."""
    if tool.parameters is None:
        return _NO_ARGUMENTS
    schema = tool.parameters.strip().encode()
    try:
        members = _decode_object(schema)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise InvalidRequest(
            f"the parameters of tool '{tool.name}' are not a JSON Schema", param=f"tools[{i}]"
        ) from None
    if "type" not in members:
        schema = b'{"type":"object"' + (b"," if members else b"") + schema[1:]
    return Raw(schema)


def lacks_thoughts(request: ChatRequest) -> bool:
    """Whether the last of the assistant's turns has calls but not the thoughts that led to them."""
    for message in reversed(request.messages):
        if message.role == "assistant":
            if not any(isinstance(part, ToolCall) for part in message.parts):
                return False
            first = message.parts[0]
            return not (isinstance(first, Thinking) and is_signed(first))
    return False


class _Writer:
    """Writes blocks. ids: what stands for the id of each call, which may be another one."""

    __slots__ = ("_dropped", "_ids")

    def __init__(self, dropped: set[str]) -> None:
        self._dropped = dropped
        self._ids = CallIds()

    def said(self, part: Part, at: str) -> list[Wire]:
        """A part of an assistant's turn."""
        if isinstance(part, ToolCall):
            return [self._call(part, at)]
        if isinstance(part, Thinking):
            if not is_signed(part):
                self._dropped.add("thinking")
                return []
            if part.redacted is not None:
                return [{"type": "redacted_thinking", "data": part.redacted}]
            return [{"type": "thinking", "thinking": part.text, "signature": part.signature}]
        if isinstance(part, (Text, Refusal)):
            return [_text(part)] if part.text else []
        raise UnsupportedOperation(
            f"an assistant's message cannot have {_kind(part)} here", param=f"{at}.content"
        )

    def asked(self, part: Part, at: str) -> list[Wire]:
        """A part of a user's turn that is not a result."""
        if isinstance(part, ToolResult):
            return []
        if isinstance(part, Text):
            return [_text(part)] if part.text else []
        return [self._media(part, at)]

    def result(self, result: ToolResult, at: str) -> Wire:
        call_id = self._ids.answered(result.call_id)
        if call_id is None:
            raise InvalidRequest("a tool result must follow the tool call that it names", param=at)
        block: Wire = {"type": "tool_result", "tool_use_id": call_id}
        parts = result.parts
        if len(parts) == 1 and isinstance(parts[0], Text) and parts[0].cached is None:
            block["content"] = parts[0].text
        elif parts:
            block["content"] = [inner for part in parts for inner in self.asked(part, at)]
        if result.failed:
            block["is_error"] = True
        return marked(block, result.cached)

    def _call(self, call: ToolCall, at: str) -> Wire:
        value = input_object(call.arguments)
        if value is None:
            raise InvalidRequest(f"the arguments of tool call '{call.id}' are not a JSON object", param=at)
        if call.signature is not None:
            self._dropped.add("signature")
        block: Wire = {"type": "tool_use", "id": self._ids.new(call.id), "name": call.name, "input": value}
        return marked(block, call.cached)

    def _media(self, part: Part, at: str) -> Wire:
        if isinstance(part, Image):
            if part.detail not in (None, "auto"):
                self._dropped.add("detail")
            return marked({"type": "image", "source": _image_source(part, at)}, part.cached)
        if not isinstance(part, File):
            raise UnsupportedOperation(f"this provider takes no {_kind(part)}", param=f"{at}.content")
        if part.data is not None and (part.media_type or "").startswith("image/"):
            return self._media(Image(part.media_type, part.data, cached=part.cached), at)
        block: Wire = {"type": "document", "source": _file_source(part, at)}
        if part.name is not None:
            block["title"] = part.name
        return marked(block, part.cached)


def _text(part: Text | Refusal) -> Wire:
    return marked({"type": "text", "text": part.text}, part.cached if isinstance(part, Text) else None)


def _brief(content: object) -> object:
    """A string for one text that has nothing but its words."""
    if isinstance(content, list) and len(content) == 1:
        block = content[0]
        if block["type"] == "text" and len(block) == 2:
            return block["text"]
    return content


def _ends_with_results(messages: Sequence[Wire]) -> bool:
    if not messages or messages[-1]["role"] != "user":
        return False
    content = messages[-1]["content"]
    return isinstance(content, list) and content[0]["type"] == "tool_result"


def _add_results(message: Wire, blocks: list[Wire], results: int) -> None:
    """Add a message to the one before it. All results come first."""
    content = message["content"]
    assert isinstance(content, list)
    first = next((k for k, block in enumerate(content) if block["type"] != "tool_result"), len(content))
    message["content"] = [*content[:first], *blocks[:results], *content[first:], *blocks[results:]]


def _image_source(image: Image, at: str) -> Wire:
    media_type, data, url = image.media_type, image.data, image.url
    if data is None and url is not None:
        inline = _data_url.match(url)
        if inline is None:
            return _url(url, at)
        media_type, data = inline[1], url[inline.end() :]
    if not data:
        raise InvalidRequest("an image has neither data nor URL", param=f"{at}.content")
    if media_type == "image/jpg" or media_type not in _IMAGES.values():
        told = next((kind for begin, kind in _IMAGES.items() if data.startswith(begin)), None)
        if told is None:
            raise UnsupportedOperation(
                f"this provider takes no images of type '{media_type or 'unknown'}'", param=f"{at}.content"
            )
        media_type = told
    return {"type": "base64", "media_type": media_type, "data": data}


def _file_source(file: File, at: str) -> Wire:
    text = file.text
    media_type, data, url = file.media_type or "application/pdf", file.data, file.url
    inline = _data_url.match(url) if url is not None and data is None else None
    if inline is not None and url is not None:
        media_type, data, url = inline[1], url[inline.end() :], None
    if text is None and data is not None:
        if media_type == "application/pdf":
            return {"type": "base64", "media_type": media_type, "data": data}
        if not media_type.startswith("text/") and media_type != "application/json":
            raise UnsupportedOperation(
                f"this provider takes no documents of type '{media_type}'", param=f"{at}.content"
            )
        text = _decoded(data, at)
    if text is not None:
        return {"type": "text", "media_type": "text/plain", "data": text}
    if url is None:
        raise InvalidRequest("a document has neither data nor URL", param=f"{at}.content")
    return _url(url, at)


def _url(url: str, at: str) -> Wire:
    if not url.lower().startswith(("https://", "http://")):
        raise UnsupportedOperation("this provider takes URLs of http and https only", param=f"{at}.content")
    return {"type": "url", "url": url}


def _decoded(data: str, at: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidRequest("a text document is not UTF-8 in base64", param=f"{at}.content") from None


def _kind(part: Part | Message) -> str:
    """What a part is, in words."""
    return {
        Image: "images",
        File: "documents",
        Audio: "audio",
        ToolCall: "tool calls",
        ToolResult: "tool results",
        Thinking: "thoughts",
        Refusal: "refusals",
    }.get(type(part), "such parts")
