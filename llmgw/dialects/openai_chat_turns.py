"""The turns of a conversation, written as the messages of a chat completion request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

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
    ToolCall,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.gemini_signatures import is_gemini
from llmgw.dialects.openai_chat_thoughts import render_details
from llmgw.dialects.openai_chat_vendors import CONTENT, DETAILS, Vendor
from llmgw.dialects.openai_responses_signatures import unpack
from llmgw.dialects.system_turns import moved, texts_of

_FORMATS = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/x-wav": "wav", "audio/wave": "wav"}
_SHORT_ID = re.compile("[A-Za-z0-9]{9}")
_LONGEST_ID = 40  # of OpenAI's tool calls


def render_messages(request: ChatRequest, vendor: Vendor, dropped: set[str]) -> list[dict[str, object]]:
    """All messages. What the vendor does not take is named in `dropped`."""
    if not vendor.system_amid:
        request = moved(request, dropped.add)
    writer = _Writer(vendor, dropped)
    messages: list[dict[str, object]] = []
    if request.system:
        messages.append({"role": "system", "content": writer.content(request.system, "system")})
    for i, message in enumerate(request.messages):
        at = f"messages[{i}]"
        if message.role == "assistant":
            messages.append(writer.assistant(message, at))
        elif message.role == "system":
            messages.append({"role": "system", "content": writer.content(texts_of(message), at)})
        else:
            messages.extend(writer.user(message, at))
    return messages


class _Writer:
    __slots__ = ("dropped", "vendor")

    def __init__(self, vendor: Vendor, dropped: set[str]) -> None:
        self.vendor = vendor
        self.dropped = dropped

    def assistant(self, message: Message, at: str) -> dict[str, object]:
        said: dict[str, object] = {"role": "assistant", "content": None}
        thoughts: list[Thinking] = []
        texts: list[Part] = []
        refusals: list[str] = []
        calls: list[object] = []
        for part in message.parts:
            if isinstance(part, Text):
                texts.append(part)
            elif isinstance(part, ToolCall):
                calls.append(self._call(part))
            elif isinstance(part, Thinking):
                thoughts.append(part)
            elif isinstance(part, Refusal) and self.vendor.refusals:
                refusals.append(part.text)
            elif isinstance(part, Refusal):
                # Others do not know the member: they refuse it, or the model never sees what it said.
                texts.append(Text(part.text))
            else:
                raise UnsupportedOperation(
                    f"an assistant's message cannot have {_kind(part)} here", param=f"{at}.content"
                )
        if thoughts and self.vendor.thoughts == CONTENT:
            texts = [*(thought for thought in thoughts if thought.text), *texts]
        if texts:
            said["content"] = self.content(texts, at)
        elif not calls and not refusals:
            said["content"] = ""
        if refusals:
            said["refusal"] = "".join(refusals)
        if thoughts:
            said |= self._thoughts(thoughts)
        if calls:
            said["tool_calls"] = calls
        if message.name is not None:
            said["name"] = message.name
        return said

    def _thoughts(self, thoughts: list[Thinking]) -> dict[str, object]:
        member = self.vendor.thoughts
        text = "".join(thought.text for thought in thoughts)
        if member == DETAILS:
            said: dict[str, object] = {"reasoning": text} if text else {}
            return said | {DETAILS: render_details(self._provable(thoughts), claude=True)}
        if member is None or not text:
            self.dropped.add("thinking")
            return {}
        return {} if member == CONTENT else {member: text}

    def _provable(self, thoughts: list[Thinking]) -> list[Thinking]:
        """The thoughts without what only Gemini's or OpenAI's own API can check."""
        kept = []
        for thought in thoughts:
            proof = thought.redacted if thought.redacted is not None else thought.signature
            if not is_gemini(proof) and unpack(proof) is None:
                kept.append(thought)
                continue
            self.dropped.add("signature")
            if thought.text:
                kept.append(Thinking(thought.text))
        return kept

    def user(self, message: Message, at: str) -> list[dict[str, object]]:
        """A tool's message for each result, then the user's own."""
        messages: list[dict[str, object]] = []
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                messages.append(self._result(part, parts, at))
        parts += [part for part in message.parts if not isinstance(part, ToolResult)]
        if parts or not messages:
            said: dict[str, object] = {"role": "user", "content": self.content(parts, at)}
            if message.name is not None:
                said["name"] = message.name
            messages.append(said)
        return messages

    def _result(self, result: ToolResult, carried: list[Part], at: str) -> dict[str, object]:
        """carried: what a tool's message cannot have, for the user's message after it."""
        texts = [part for part in result.parts if isinstance(part, Text)]
        others = [part for part in result.parts if not isinstance(part, Text)]
        call_id = self._call_id(result.call_id)
        if others:
            carried.append(Text(f"From the result of tool call {call_id}:"))
            carried.extend(others)
        if result.failed:
            self.dropped.add("is_error")
        if result.cached is not None:
            self.dropped.add("cache_control")
        content = self.content(texts, at) if texts else ""
        return {"role": "tool", "tool_call_id": call_id, "content": content}

    def _call(self, call: ToolCall) -> dict[str, object]:
        if call.signature is not None:
            self.dropped.add("signature")
        if call.cached is not None:
            self.dropped.add("cache_control")
        function = {"name": call.name, "arguments": call.arguments or "{}"}
        return {"id": self._call_id(call.id), "type": "function", "function": function}

    def _call_id(self, call_id: str) -> str:
        """The id, or what stands for one that the vendor would refuse: the same for call and result."""
        if self.vendor.short_ids:
            if _SHORT_ID.fullmatch(call_id):
                return call_id
            return blake2b(call_id.encode(), digest_size=5).hexdigest()[:9]
        if len(call_id) > _LONGEST_ID:
            return "call_" + blake2b(call_id.encode(), digest_size=12).hexdigest()
        return call_id

    def content(self, parts: Sequence[Part], at: str) -> object:
        """A string where one text is all there is, else a list."""
        if not parts:
            return ""
        if len(parts) == 1 and isinstance(parts[0], Text) and not self._marked(parts[0]):
            return parts[0].text
        return [self._part(part, f"{at}.content[{j}]") for j, part in enumerate(parts)]

    def _marked(self, part: Text | Image | File) -> bool:
        if part.cached is not None and not self.vendor.marks:
            self.dropped.add("cache_control")
        return part.cached is not None and self.vendor.marks

    def _part(self, part: Part, at: str) -> dict[str, object]:
        if isinstance(part, Text):
            said: dict[str, object] = {"type": "text", "text": part.text}
        elif isinstance(part, Image):
            said = render_image(part)
        elif isinstance(part, File):
            said = self._file(part, at)
        elif isinstance(part, Audio):
            form = _FORMATS.get(part.media_type, part.media_type.removeprefix("audio/"))
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": form}}
        elif isinstance(part, Thinking):
            return {"type": "thinking", "thinking": [{"type": "text", "text": part.text}]}
        else:
            raise InvalidRequest(f"a user's message cannot have {_kind(part)}", param=at)
        if self._marked(part) and part.cached is not None:
            ttl = {"ttl": part.cached} if part.cached else {}
            said["cache_control"] = {"type": "ephemeral"} | ttl
        return said

    def _file(self, file: File, at: str) -> dict[str, object]:
        if file.text is not None:
            text = f"{file.name}\n\n{file.text}" if file.name else file.text
            return {"type": "text", "text": text}
        url = file.url
        if url is not None and not self.vendor.file_urls:
            raise UnsupportedOperation("this provider takes no documents by URL; send the data", param=at)
        if url is None:
            url = _data_url(file.media_type or "application/pdf", file.data)
        if self.vendor.document_url:
            said: dict[str, object] = {"type": "document_url", "document_url": url}
            if file.name is not None:
                said["document_name"] = file.name
            return said
        return {"type": "file", "file": {"filename": file.name or "document", "file_data": url}}


def render_image(image: Image) -> dict[str, object]:
    """An `image_url` part."""
    url = image.url if image.url is not None else _data_url(image.media_type or "image/png", image.data)
    wire: dict[str, object] = {"url": url}
    if image.detail is not None:
        wire["detail"] = image.detail
    return {"type": "image_url", "image_url": wire}


def _data_url(media_type: str, data: str | None) -> str:
    return f"data:{media_type};base64,{data or ''}"


def _kind(part: Part) -> str:
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
