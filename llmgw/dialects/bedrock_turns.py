"""The turns of a conversation, written as messages of Bedrock's Converse.

Facts (Amazon Bedrock API reference, Message and ContentBlock): roles alternate; a text is never blank;
results stand in the user's message after their calls; ids have up to 64 letters, digits, `_` and `-`;
images are PNG, JPEG, GIF or WebP and come as bytes; a document has a format and a name of letters,
digits, single spaces, hyphens and brackets, and no two in a request have the same.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from llmgw.core.chat import (
    Audio,
    ChatRequest,
    File,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.anthropic_turns import Wire, input_object, is_signed
from llmgw.dialects.bedrock_families import Family
from llmgw.dialects.call_ids import CallIds

_LONGEST_ID = 64
_TTLS = frozenset({"5m", "1h"})
_not_in_names = re.compile(r"[^A-Za-z0-9 \-()\[\]]+")
_spaces = re.compile(r" {2,}")
_data_url = re.compile(r"data:([^;,]*);base64,", re.IGNORECASE)

_IMAGES = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/markdown": "md",
    "application/json": "txt",
}
"""Formats by media type; other text is `txt`."""


def render_messages(request: ChatRequest, family: Family, dropped: set[str]) -> list[Wire]:
    """All messages. What cannot be said of them is named in `dropped`."""
    writer = _Writer(family, dropped)
    messages: list[Wire] = []
    last: list[Wire] = []
    for i, message in enumerate(request.messages):
        at = f"messages[{i}]"
        if message.name is not None:
            dropped.add("name")
        # A result stands before all else that is said with it.
        parts = sorted(message.parts, key=lambda part: not isinstance(part, ToolResult))
        blocks = [block for part in parts for block in writer.blocks(part, message.role, at)]
        if not blocks:
            continue
        if messages and messages[-1]["role"] == message.role:
            _join(last, blocks)
        else:
            last = blocks
            messages.append({"role": message.role, "content": blocks})
    return messages


def render_texts(texts: Iterable[Text], family: Family, dropped: set[str]) -> list[Wire]:
    """System text."""
    blocks: list[Wire] = []
    for text in texts:
        if not _is_blank(text.text):
            blocks += [{"text": text.text}, *cache_points(text.cached, family.marks, dropped)]
    return blocks


def cache_points(cached: str | None, taken: bool, dropped: set[str]) -> list[Wire]:
    """The block after what may be cached, if it may be."""
    if cached is None:
        return []
    if not taken:
        dropped.add("cache_control")
        return []
    point: Wire = {"type": "default"}
    if cached in _TTLS:
        point["ttl"] = cached
    return [{"cachePoint": point}]


class _Writer:
    """Writes blocks. ids: what stands for the id of each call; names: of the documents so far."""

    __slots__ = ("_dropped", "_family", "_ids", "_names")

    def __init__(self, family: Family, dropped: set[str]) -> None:
        self._family = family
        self._dropped = dropped
        self._ids = CallIds(_LONGEST_ID)
        self._names: set[str] = set()

    def blocks(self, part: Part, role: str, at: str) -> list[Wire]:
        """The blocks of a part; none for a text that is blank and a thought that is not taken."""
        if isinstance(part, Thinking):
            return self._thought(part)
        if isinstance(part, (Text, Refusal)):
            if _is_blank(part.text):
                return []
            block: Wire = {"text": part.text}
        elif isinstance(part, ToolCall):
            block = self._call(part, at)
        elif isinstance(part, ToolResult):
            block = self._result(part, at)
        elif isinstance(part, Audio):
            raise UnsupportedOperation("this provider takes no audio", param=f"{at}.content")
        elif role == "assistant":
            raise UnsupportedOperation(
                "an assistant's message cannot have images or documents here", param=f"{at}.content"
            )
        else:
            block = self._media(part, at)
        cached = None if isinstance(part, Refusal) else part.cached
        return [block, *cache_points(cached, self._family.marks, self._dropped)]

    def _thought(self, part: Thinking) -> list[Wire]:
        if not self._family.thoughts or not is_signed(part):
            self._dropped.add("thinking")
            return []
        if part.redacted is not None:
            return [{"reasoningContent": {"redactedContent": part.redacted}}]
        return [{"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature}}}]

    def _call(self, call: ToolCall, at: str) -> Wire:
        value = input_object(call.arguments)
        if value is None:
            raise InvalidRequest(f"the arguments of tool call '{call.id}' are not a JSON object", param=at)
        if call.signature is not None:
            self._dropped.add("signature")
        return {"toolUse": {"toolUseId": self._ids.new(call.id), "name": call.name, "input": value}}

    def _result(self, result: ToolResult, at: str) -> Wire:
        call_id = self._ids.answered(result.call_id)
        if call_id is None:
            raise InvalidRequest("a tool result must follow the tool call that it names", param=at)
        content: list[Wire] = []
        for part in result.parts:
            if part.cached is not None:
                self._dropped.add("cache_control")  # only the whole result can be marked
            if not isinstance(part, Text):
                content.append(self._media(part, at))
            elif not _is_blank(part.text):
                content.append({"text": part.text})
        block: Wire = {"toolUseId": call_id, "content": content}
        if result.failed:
            if self._family.status:
                block["status"] = "error"
            else:
                self._dropped.add("is_error")
        return {"toolResult": block}

    def _media(self, part: Image | File, at: str) -> Wire:
        if isinstance(part, File) and not (part.media_type or "").startswith("image/"):
            return self._document(part, at)
        if isinstance(part, Image) and part.detail not in (None, "auto"):
            self._dropped.add("detail")
        media_type, data = _inline(part, at)
        kind = _IMAGES.get(media_type or "")
        if kind is None:
            raise UnsupportedOperation(
                f"this provider takes no images of type '{media_type or 'unknown'}'", param=f"{at}.content"
            )
        return {"image": {"format": kind, "source": {"bytes": data}}}

    def _document(self, file: File, at: str) -> Wire:
        if file.text is not None:
            media_type, data = "text/plain", base64.b64encode(file.text.encode()).decode()
        else:
            told, data = _inline(file, at)
            media_type = told or "application/pdf"
        kind = _DOCUMENTS.get(media_type) or ("txt" if media_type.startswith("text/") else None)
        if kind is None:
            raise UnsupportedOperation(
                f"this provider takes no documents of type '{media_type}'", param=f"{at}.content"
            )
        return {"document": {"format": kind, "name": self._new_name(file.name), "source": {"bytes": data}}}

    def _new_name(self, name: str | None) -> str:
        clean = free = _spaces.sub(" ", _not_in_names.sub("-", name or "")).strip()[:180] or "document"
        number = 1
        while free in self._names:
            number += 1
            free = f"{clean}-{number}"
        self._names.add(free)
        return free


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _join(content: list[Wire], blocks: list[Wire]) -> None:
    """Add what another message of the same role says. Results stay before all else."""
    first = next((k for k, block in enumerate(content) if "toolResult" not in block), len(content))
    results = [block for block in blocks if "toolResult" in block]
    content[first:first] = results
    content += [block for block in blocks if "toolResult" not in block]


def _inline(part: Image | File, at: str) -> tuple[str | None, str]:
    """Media type and base64."""
    if part.data:
        return part.media_type, part.data
    if part.url is None:
        raise InvalidRequest("an image or document has neither data nor URL", param=f"{at}.content")
    inline = _data_url.match(part.url)
    if inline is None:
        raise UnsupportedOperation(
            "this provider takes no images or documents by URL; send the data", param=f"{at}.content"
        )
    return inline[1].lower(), part.url[inline.end() :]
