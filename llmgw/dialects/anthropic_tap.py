"""Reads usage beside a relayed answer of the messages API; every byte goes on unchanged.

The same interface as `dialects.usage_taps`. On a stream only the few events that tell usage, an end or
an error are decoded as they pass; the rest is kept, at most `_KEPT_BYTES` of it, and read together
when somebody asks for the text.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from llmgw.core.operation import Endpoint
from llmgw.core.usage import Usage
from llmgw.dialects.anthropic_answer import WireBlock
from llmgw.dialects.anthropic_failures import failed_event
from llmgw.dialects.anthropic_usage import UsageCount, WireUsage, parse_usage
from llmgw.dialects.openai_chat_failures import failed
from llmgw.wire.sse import SseSplitter, event_data, event_name

_KEPT_BYTES = 6144


class _Body(Struct):
    id: object = None
    usage: WireUsage | None = None


class _Content(Struct):
    content: list[WireBlock]


class _Message(Struct):
    id: object = None
    usage: WireUsage | None = None


class _Event(Struct):
    type: object = None
    message: _Message | str | None = None
    usage: WireUsage | None = None
    error: Raw = Raw()


class _Delta(Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None


class _Piece(Struct):
    content_block: WireBlock | None = None
    delta: _Delta | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_content = msgspec.json.Decoder(_Content).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_any = msgspec.json.Decoder().decode
_decode_piece = msgspec.json.Decoder(_Piece).decode


class AnthropicBodyTap:
    """For an answer that is one JSON document.

    upstream_id: the answer's `id`, where it is text.
    """

    __slots__ = ("body", "upstream_id", "usage")

    def __init__(self, body: bytes) -> None:
        """Read `body`. Raises ValueError when it is not a JSON object of the shape it must have."""
        try:
            parsed = _decode_body(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"the answer is not the JSON that was promised: {error}") from None
        self.body = body
        self.usage = parse_usage(parsed.usage)
        self.upstream_id = parsed.id if isinstance(parsed.id, str) else None

    def delivered_text(self) -> str:
        """What was answered, as far as it is text that tokens can be counted in."""
        pieces: list[str] = []
        try:
            for block in _decode_content(self.body).content:
                _collect(block, pieces)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return ""
        return "".join(pieces)


class AnthropicStreamTap:
    """For a stream of server-sent events.

    hide_usage: of no effect; clients of this dialect always expect usage.
    usage: the last reported so far; of a stream that was cut the output in it is a beginning, not a
    count. done: the stream said that it is complete. failed: an error of the upstream's has passed.
    """

    __slots__ = (
        "_count",
        "_kept",
        "_kept_bytes",
        "_moved",
        "_splitter",
        "_text",
        "_unheard",
        "done",
        "failed",
        "hide_usage",
        "upstream_id",
    )

    def __init__(self, endpoint: Endpoint, hide_usage: bool) -> None:
        self.hide_usage = hide_usage
        self.upstream_id: str | None = None
        self.failed = False
        self.done = False
        self._count = UsageCount()
        self._splitter = SseSplitter()
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._moved = False
        self._text: list[str] = []
        self._unheard: bytes | None = None

    def feed(self, chunk: bytes) -> bytes:
        """`chunk`, which the client may have now. Raises ValueError when one event is longer than the cap."""
        splitter = self._splitter
        if not splitter.pending and chunk.endswith(b"\n\n") and _is_plain(chunk):
            self._keep(chunk)
            return chunk
        for event in splitter.feed(chunk):
            self._keep(event)
            if not _is_plain(event):
                self._look(event)
        return chunk

    def rest(self) -> bytes:
        """Looks at a last event that was never closed. Nothing is ever held back.

        An error that is no event of that name, such as one in OpenAI's shape, is said once more in the
        dialect's: the official SDKs pass over it and would take the end for that of the answer.
        """
        last = bytes(self._splitter.pending)
        if last:
            self._look(last)
        data, self._unheard = self._unheard, None
        if data is None:
            return b""
        return (b"\n\n" if last else b"") + failed_event(failed(_decode_any(data)))

    @property
    def usage(self) -> Usage | None:
        return self._count.usage

    def delivered_text(self) -> str:
        """The text that has passed."""
        self._digest()
        return "".join(self._text)

    def delivered_bytes(self) -> int:
        """How much text has passed, roughly: cheap enough to ask each second."""
        self._digest()
        return sum(map(len, self._text))

    def moved(self) -> bool:
        """Whether anything has passed since this was last asked."""
        moved, self._moved = self._moved, False
        return moved

    def _look(self, raw: bytes) -> None:
        """Take what an event says of usage and ending."""
        data = event_data(raw)
        if data is None:
            return
        try:
            event = _decode_event(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            # Not for us to judge: the client has the bytes as they came.
            return
        if event.type == "message_stop":
            self.done = True
        elif event.type == "error" or (event.type is None and bytes(event.error) not in (b"", b"null")):
            self.failed = True
            if event_name(raw) != b"error":
                self._unheard = data
        elif event.type == "message_delta" and event.usage is not None:
            self._count.take(event.usage)
        elif event.type == "message_start" and isinstance(event.message, _Message):
            if isinstance(event.message.id, str):
                self.upstream_id = event.message.id
            if event.message.usage is not None:
                self._count.take(event.message.usage)

    def _keep(self, chunk: bytes) -> None:
        self._moved = True
        self._kept.append(chunk)
        self._kept_bytes += len(chunk)
        if self._kept_bytes > _KEPT_BYTES:
            self._digest()

    def _digest(self) -> None:
        """Turn the kept chunks into the text they carry."""
        if not self._kept:
            return
        pieces: list[str] = []
        for raw in SseSplitter().feed(b"".join(self._kept)):
            data = event_data(raw)
            if data is None:
                continue
            try:
                piece = _decode_piece(data)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
            if piece.content_block is not None:
                _collect(piece.content_block, pieces)
            delta = piece.delta
            if delta is not None:
                pieces.append(delta.text or delta.thinking or delta.partial_json or "")
        self._kept.clear()
        self._kept_bytes = 0
        if pieces:
            self._text.append("".join(pieces))


def _is_plain(raw: bytes) -> bool:
    """Whether there is nothing in `raw` but content."""
    return b'"usage"' not in raw and b"message_stop" not in raw and b'"error"' not in raw


def _collect(block: WireBlock, pieces: list[str]) -> None:
    pieces.append(block.text or block.thinking or "")
    if block.type == "tool_use":
        arguments = bytes(block.input).decode(errors="replace")
        pieces += (block.name or "", arguments if arguments != "{}" else "")
