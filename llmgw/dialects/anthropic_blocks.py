"""Content blocks of the messages API, read.

Shapes from Anthropic's API reference. Blocks of the provider's own tools (web search, code execution,
MCP), search results and files kept by the provider have no part of ours and are refused by name.

A `redacted_thinking` block may hold what another provider wants back with a tool call
(`openai_responses_signatures.wrap`): clients return such blocks as they came, and a `tool_use` block
has no room for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct, structs

from llmgw.core.chat import File, Image, Part, Text, Thinking, ToolCall, ToolResult
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.openai_responses_signatures import CALL, unwrap

_T = TypeVar("_T")


class CacheControl(Struct):
    type: str = "ephemeral"
    ttl: str | None = None


class _Kind(Struct):
    type: str


class _Text(Struct):
    text: str
    cache_control: CacheControl | None = None
    citations: Raw = Raw()


class _Source(Struct):
    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: str | list[Raw] | None = None


class _Image(Struct):
    source: _Source
    cache_control: CacheControl | None = None


class _Document(Struct):
    source: _Source
    title: str | None = None
    context: str | None = None
    citations: Raw = Raw()
    cache_control: CacheControl | None = None


class _ToolUse(Struct):
    id: str
    name: str
    input: Raw
    cache_control: CacheControl | None = None
    caller: Raw = Raw()


class _ToolResult(Struct):
    tool_use_id: str
    content: str | list[Raw] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None


class _Thinking(Struct):
    thinking: str
    signature: str | None = None


class _Redacted(Struct):
    data: str


_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_text = msgspec.json.Decoder(_Text).decode
_decode_image = msgspec.json.Decoder(_Image).decode
_decode_document = msgspec.json.Decoder(_Document).decode
_decode_tool_use = msgspec.json.Decoder(_ToolUse).decode
_decode_tool_result = msgspec.json.Decoder(_ToolResult).decode
_decode_thinking = msgspec.json.Decoder(_Thinking).decode
_decode_redacted = msgspec.json.Decoder(_Redacted).decode
_decode_any = msgspec.json.Decoder().decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode

_OF_ROLES = {
    "user": frozenset({"text", "image", "document", "tool_result"}),
    "assistant": frozenset({"text", "thinking", "redacted_thinking", "tool_use"}),
}
_OF_RESULTS = frozenset({"text", "image", "document"})
_KNOWN: dict[str, frozenset[str]] = {
    kind: frozenset(("type", *struct.__struct_fields__))
    for kind, struct in (
        ("text", _Text),
        ("image", _Image),
        ("document", _Document),
        ("tool_use", _ToolUse),
        ("tool_result", _ToolResult),
        ("thinking", _Thinking),
        ("redacted_thinking", _Redacted),
    )
}
"""Members of each kind of block that are read."""
_KINDS = {f'"{kind}"'.encode(): kind for kind in _KNOWN}
_NOTHING = frozenset({b"", b'""', b"null", b"[]", b"{}", b"false"})
_WITHOUT_LOSS = {"citations": ({"enabled": False},), "caller": ({"type": "direct"},)}
_where = re.compile(r" - at `\$\.?(.*)`$")


def cached(control: CacheControl | None) -> str | None:
    """Ours for `cache_control`."""
    return None if control is None else control.ttl or ""


def read(decode: Callable[[Raw], _T], raw: Raw, at: str) -> _T:
    """What `decode` makes of `raw`. Raises InvalidRequest, naming the member below `at`."""
    try:
        return decode(raw)
    except msgspec.ValidationError as error:
        raise invalid(error, at) from None


def invalid(error: msgspec.ValidationError, at: str) -> InvalidRequest:
    """The refusal of a member with the wrong shape. at: where the decoded value stands, "" for the body."""
    text = str(error)
    where = _where.search(text)
    message = text[: where.start()] if where else text
    path = where[1] if where else ""
    param = at + path if not at or not path or path.startswith("[") else f"{at}.{path}"
    message = message[:1].lower() + message[1:]
    return InvalidRequest(
        f"member '{param}' is not valid: {message}" if param else message, param=param or None
    )


class BlockReader:
    """Reads the blocks of one request.

    lost: members of blocks that have no field, by name. calls: ids of the tool calls so far.
    """

    __slots__ = ("calls", "lost")

    def __init__(self) -> None:
        self.lost: dict[str, str] = {}
        self.calls: set[str] = set()

    def message(self, content: str | list[Raw], role: str, at: str) -> tuple[Part, ...]:
        """The parts of a message. at: where its content stands."""
        if isinstance(content, str):
            return (Text(content),)
        allowed = _OF_ROLES[role]
        parts: list[Part] = []
        signatures: dict[str, str] = {}
        for j, raw in enumerate(content):
            part = self._block(raw, allowed, f"{at}[{j}]")
            if isinstance(part, Thinking) and part.redacted is not None:
                wrapped = unwrap(part.redacted)
                if wrapped is not None and wrapped.kind == CALL:
                    signatures[wrapped.call_id] = wrapped.value
                    continue
            parts.append(part)
        if signatures:
            parts = [
                structs.replace(part, signature=signatures.get(part.id))
                if isinstance(part, ToolCall)
                else part
                for part in parts
            ]
        return tuple(parts)

    def _block(self, raw: Raw, allowed: frozenset[str], at: str) -> Part:
        members = read(_decode_members, raw, at)
        kind = _KINDS.get(bytes(members.get("type", b""))) or read(_decode_kind, raw, at).type
        if kind in allowed:
            self._lose_unknown(members, kind)
            return _BLOCKS[kind](self, raw, at)
        if kind in _BLOCKS:
            raise InvalidRequest(f"a block of type '{kind}' cannot stand here", param=f"{at}.type")
        raise UnsupportedOperation(f"a block of type '{kind}' cannot be translated", param=f"{at}.type")

    def system(self, raw: Raw, at: str) -> Text:
        """A block of system text."""
        self._lose_unknown(read(_decode_members, raw, at), "text")
        return self._text(raw, at)

    def _text(self, raw: Raw, at: str) -> Text:
        wire = read(_decode_text, raw, at)
        self._lose("citations", wire.citations)
        return Text(wire.text, cached(wire.cache_control))

    def _image(self, raw: Raw, at: str) -> Image:
        wire = read(_decode_image, raw, at)
        source = wire.source
        if source.type == "base64" and source.data is not None:
            return Image(source.media_type, source.data, cached=cached(wire.cache_control))
        if source.type == "url" and source.url is not None:
            return Image(url=source.url, cached=cached(wire.cache_control))
        raise _no_source(source, at)

    def _document(self, raw: Raw, at: str) -> File:
        wire = read(_decode_document, raw, at)
        source = wire.source
        self._lose("citations", wire.citations)
        if wire.context is not None:
            self.lost.setdefault("content.context", msgspec.json.encode(wire.context).decode())
        marked = cached(wire.cache_control)
        if source.type == "base64" and source.data is not None:
            return File(source.media_type or "application/pdf", source.data, name=wire.title, cached=marked)
        if source.type == "url" and source.url is not None:
            return File("application/pdf", url=source.url, name=wire.title, cached=marked)
        text = source.data if source.type == "text" else source.content if source.type == "content" else None
        if isinstance(text, str):
            return File("text/plain", text=text, name=wire.title, cached=marked)
        raise _no_source(source, at)

    def _tool_use(self, raw: Raw, at: str) -> ToolCall:
        wire = read(_decode_tool_use, raw, at)
        self._lose("caller", wire.caller)
        arguments = bytes(wire.input).decode()
        if not arguments.startswith("{"):
            raise InvalidRequest("the input of a tool call must be an object", param=f"{at}.input")
        self.calls.add(wire.id)
        return ToolCall(wire.id, wire.name, arguments, cached=cached(wire.cache_control))

    def _tool_result(self, raw: Raw, at: str) -> ToolResult:
        wire = read(_decode_tool_result, raw, at)
        if wire.tool_use_id not in self.calls:
            raise InvalidRequest(
                "a tool result must follow the tool call that it names", param=f"{at}.tool_use_id"
            )
        parts: list[Text | Image | File] = []
        if isinstance(wire.content, str):
            parts.append(Text(wire.content))
        else:
            for k, inner in enumerate(wire.content or ()):
                part = self._block(inner, _OF_RESULTS, f"{at}.content[{k}]")
                assert isinstance(part, (Text, Image, File))
                parts.append(part)
        return ToolResult(
            wire.tool_use_id, tuple(parts), failed=bool(wire.is_error), cached=cached(wire.cache_control)
        )

    def _thinking(self, raw: Raw, at: str) -> Thinking:
        wire = read(_decode_thinking, raw, at)
        return Thinking(wire.thinking, wire.signature or None)

    def _redacted(self, raw: Raw, at: str) -> Thinking:
        return Thinking("", None, read(_decode_redacted, raw, at).data)

    def _lose_unknown(self, members: dict[str, Raw], kind: str) -> None:
        for name in members.keys() - _KNOWN[kind]:
            value = bytes(members[name])
            if value not in _NOTHING:
                self.lost.setdefault(f"content.{name}", value.decode())

    def _lose(self, name: str, raw: Raw) -> None:
        value = bytes(raw)
        if value not in _NOTHING and _decode_any(value) not in _WITHOUT_LOSS[name]:
            self.lost.setdefault(f"content.{name}", value.decode())


def _no_source(source: _Source, at: str) -> UnsupportedOperation | InvalidRequest:
    if source.type in ("base64", "url", "text"):
        return InvalidRequest(f"a source of type '{source.type}' lacks its value", param=f"{at}.source")
    return UnsupportedOperation(
        f"a source of type '{source.type}' cannot be translated", param=f"{at}.source.type"
    )


_BLOCKS: dict[str, Callable[[BlockReader, Raw, str], Part]] = {
    "text": BlockReader._text,
    "image": BlockReader._image,
    "document": BlockReader._document,
    "tool_use": BlockReader._tool_use,
    "tool_result": BlockReader._tool_result,
    "thinking": BlockReader._thinking,
    "redacted_thinking": BlockReader._redacted,
}
