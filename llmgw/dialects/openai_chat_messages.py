"""The messages of a chat completion request, read into turns.

Parts as OpenAI's API reference has them (`text`, `image_url`, `input_audio`, `file`, `refusal`),
and Mistral's `thinking` and `document_url`, whose URLs may stand without an object around them.
"""

from __future__ import annotations

from collections import deque

import msgspec
from msgspec import Raw, Struct

from llmgw.core.chat import (
    Audio,
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
from llmgw.dialects.openai_chat_thoughts import parse_thoughts
from llmgw.dialects.system_turns import amid

AUDIO_TYPES = {"mp3": "audio/mpeg"}
"""Formats whose media type is not `audio/` and their own name."""


class CacheControl(Struct):
    ttl: str | None = None


class WireUrl(Struct):
    url: str
    detail: str | None = None


class _Audio(Struct):
    data: str
    format: str = "wav"


class _File(Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class _ThinkingText(Struct):
    text: str | None = None


class WirePart(Struct):
    """One entry of a `content` list."""

    type: str = "text"
    text: str | None = None
    image_url: str | WireUrl | None = None
    input_audio: _Audio | None = None
    file: _File | None = None
    document_url: str | WireUrl | None = None
    document_name: str | None = None
    thinking: str | list[_ThinkingText] | None = None
    signature: str | None = None
    refusal: str | None = None
    cache_control: CacheControl | None = None

    def thoughts(self) -> str:
        """The text of a `thinking` part."""
        thinking = self.thinking or ""
        return thinking if isinstance(thinking, str) else "".join(piece.text or "" for piece in thinking)


class _Google(Struct):
    thought_signature: str | None = None


class _ExtraContent(Struct):
    google: _Google | None = None


class _Function(Struct):
    name: str | None = None
    arguments: Raw = Raw()


class WireCall(Struct):
    """One entry of `tool_calls`, whole or, in a stream, a piece."""

    id: str | None = None
    index: int | None = None
    type: str | None = None
    function: _Function | None = None
    extra_content: _ExtraContent | None = None

    @property
    def name(self) -> str:
        return (self.function.name or "") if self.function is not None else ""

    @property
    def arguments(self) -> str:
        """The JSON text. Some services send the object itself instead of its text."""
        if self.function is None:
            return ""
        raw = bytes(self.function.arguments)
        if raw.startswith(b'"'):
            return _string(raw)
        return "" if raw in (b"", b"null") else raw.decode()

    @property
    def signature(self) -> str | None:
        """Gemini's, as its OpenAI-compatible endpoint has it."""
        google = self.extra_content.google if self.extra_content is not None else None
        return google.thought_signature if google is not None else None


_string = msgspec.json.Decoder(str).decode


class WireMessage(Struct):
    """One entry of `messages`."""

    role: str
    content: str | list[WirePart] | None = None
    name: str | None = None
    tool_calls: list[WireCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Raw] | None = None
    function_call: object = None


def parse_messages(wire: list[WireMessage]) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    """The system text, and the turns. Raises InvalidRequest and UnsupportedOperation."""
    if not wire:
        raise InvalidRequest("'messages' is empty", param="messages")
    system: list[Text] = []
    turns: list[Message] = []
    called: set[str] = set()
    unnamed: deque[str] = deque()  # calls that came without an id (Writer), in the order of their results
    answering = False  # the last turn only has results of tools so far
    for i, message in enumerate(wire):
        at = f"messages[{i}]"
        role = message.role
        if role in ("system", "developer"):
            texts = _texts(message, at)
            if turns:
                turns.append(amid(texts, at))
                answering = False
            else:
                system.extend(texts)
            continue
        if role == "tool":
            if not message.tool_call_id and unnamed:
                message.tool_call_id = unnamed.popleft()
            part = _result(message, called, at)
            if answering:
                turns[-1] = Message("user", (*turns[-1].parts, part))
            else:
                turns.append(Message("user", (part,)))
            answering = True
            continue
        if role == "user":
            parts = _parts(message.content, at)
            if answering and message.name is None:
                turns[-1] = Message("user", (*turns[-1].parts, *parts))
            else:
                turns.append(Message("user", parts, message.name))
        elif role == "assistant":
            for j, call in enumerate(message.tool_calls or ()):
                if not call.id:
                    call.id = f"call_{i}_{j}"
                    unnamed.append(call.id)
            turns.append(_assistant(message, at))
            called.update(part.id for part in turns[-1].parts if isinstance(part, ToolCall))
        else:
            raise InvalidRequest(f"'{role}' is not a role that messages have", param=f"{at}.role")
        answering = False
    return tuple(system), tuple(turns)


def _texts(message: WireMessage, at: str) -> tuple[Text, ...]:
    texts: list[Text] = []
    for part in _parts(message.content, at):
        if not isinstance(part, Text):
            raise UnsupportedOperation("system messages can only have text", param=f"{at}.content")
        texts.append(part)
    return tuple(texts)


def _result(message: WireMessage, called: set[str], at: str) -> ToolResult:
    call_id = message.tool_call_id
    if not call_id:
        raise InvalidRequest("a tool's message needs 'tool_call_id'", param=f"{at}.tool_call_id")
    if call_id not in called:
        raise InvalidRequest(
            "a tool's message answers no call of an assistant's message before it",
            param=f"{at}.tool_call_id",
        )
    parts = []
    for part in _parts(message.content, at):
        if not isinstance(part, Text | Image | File):
            raise UnsupportedOperation("a tool's result has text, images and files", param=f"{at}.content")
        parts.append(part)
    return ToolResult(call_id, tuple(parts), message.name)


def _assistant(message: WireMessage, at: str) -> Message:
    call = message.function_call
    if isinstance(call, dict) and call.get("name"):
        raise UnsupportedOperation(
            "'function_call' is deprecated and cannot be translated; use 'tool_calls'",
            param=f"{at}.function_call",
        )
    try:
        parts: list[Part] = list(
            parse_thoughts(message.reasoning_content or message.reasoning or "", message.reasoning_details)
        )
    except msgspec.ValidationError:
        raise InvalidRequest("'reasoning_details' cannot be read", param=f"{at}.reasoning_details") from None
    calls = [_call(call, f"{at}.tool_calls[{j}]") for j, call in enumerate(message.tool_calls or ())]
    if message.content:
        parts += _parts(message.content, at)
    if message.refusal:
        parts.append(Refusal(message.refusal))
    parts += calls
    if not parts:
        if message.content is None:
            raise InvalidRequest("an assistant's message needs content or tool calls", param=f"{at}.content")
        parts.append(Text(""))
    return Message("assistant", tuple(parts), message.name)


def _call(call: WireCall, at: str) -> ToolCall:
    if call.type not in ("function", None):
        raise UnsupportedOperation(f"a tool call of type '{call.type}' cannot be translated", param=at)
    if not call.name:
        raise InvalidRequest("a tool call needs 'function.name'", param=at)
    return ToolCall(call.id or "", call.name, call.arguments, call.signature)


def _parts(content: str | list[WirePart] | None, at: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(content),)
    if not content:
        raise InvalidRequest("the message has no content", param=f"{at}.content")
    return tuple(_part(part, f"{at}.content[{j}]") for j, part in enumerate(content))


def _part(part: WirePart, at: str) -> Part:
    read = _PARTS.get(part.type)
    if read is None:
        raise UnsupportedOperation(f"a part of type '{part.type}' cannot be translated", param=f"{at}.type")
    return read(part, at)


def _text(part: WirePart, at: str) -> Part:
    if part.text is None:
        raise InvalidRequest("the part has no 'text'", param=f"{at}.text")
    return Text(part.text, _cached(part))


def _image(part: WirePart, at: str) -> Part:
    if part.image_url is None:
        raise InvalidRequest("the part has no 'image_url'", param=f"{at}.image_url")
    try:
        return parse_image(part.image_url, _cached(part))
    except ValueError as error:
        raise InvalidRequest(str(error), param=f"{at}.image_url") from None


def _audio(part: WirePart, at: str) -> Part:
    audio = part.input_audio
    if audio is None:
        raise InvalidRequest("the part has no 'input_audio'", param=f"{at}.input_audio")
    return Audio(AUDIO_TYPES.get(audio.format, f"audio/{audio.format}"), audio.data)


def _file(part: WirePart, at: str) -> Part:
    file = part.file
    if file is not None and file.file_id is not None:
        raise UnsupportedOperation(
            "a file that an upstream keeps cannot be given to another; send 'file_data'",
            param=f"{at}.file.file_id",
        )
    if file is None or file.file_data is None:
        raise InvalidRequest("the part has no 'file.file_data'", param=f"{at}.file")
    return _document(file.file_data, file.filename, part, f"{at}.file.file_data")


def _document_url(part: WirePart, at: str) -> Part:
    wire = part.document_url
    if wire is None:
        raise InvalidRequest("the part has no 'document_url'", param=f"{at}.document_url")
    url = wire if isinstance(wire, str) else wire.url
    return _document(url, part.document_name, part, f"{at}.document_url")


def _document(url: str, name: str | None, part: WirePart, at: str) -> Part:
    if url.startswith(("https://", "http://")):
        return File(url=url, name=name, cached=_cached(part))
    try:
        media_type, data = _data(url)
    except ValueError as error:
        raise InvalidRequest(str(error), param=at) from None
    if data is None:
        media_type, data = "application/pdf", url
    return File(media_type, data, name=name, cached=_cached(part))


def _thinking(part: WirePart, at: str) -> Part:
    return Thinking(part.thoughts(), part.signature)


def _refusal(part: WirePart, at: str) -> Part:
    return Refusal(part.refusal or "")


_PARTS = {
    "text": _text,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "document_url": _document_url,
    "thinking": _thinking,
    "refusal": _refusal,
}


def _cached(part: WirePart) -> str | None:
    return None if part.cache_control is None else part.cache_control.ttl or ""


def parse_image(wire: str | WireUrl, cached: str | None = None) -> Image:
    """An image by data or by URL. Raises ValueError for a data URL that is not in base64."""
    if isinstance(wire, str):
        wire = WireUrl(wire)
    media_type, data = _data(wire.url)
    return Image(media_type, data, wire.url if data is None else None, wire.detail, cached)


def _data(url: str) -> tuple[str | None, str | None]:
    """Media type and base64 text of a data URL; two None for any other URL."""
    if url[:5].lower() != "data:":
        return None, None
    head, _, data = url.partition(",")
    media_type, *options = head[5:].split(";")
    if "base64" not in options:
        raise ValueError("a data URL must be in base64")
    return media_type or "application/octet-stream", data
