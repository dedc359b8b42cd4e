"""Reads the stream of a response.

Deltas are told apart by where they stand: `output_index`, the item's id where there is none, or
the last item where there is neither. What an event says whole (`*.done`, `output_item.done`, a
response that completes without ever having begun) fills in what the deltas left out, so a
stream of a service that skips events still gives every part once; so do calls that only the end
tells. What begins while calls are still open is held back until they have ended: only calls may be
open together.

Facts (OpenAI API reference, "Streaming events"): `response.completed`, `.incomplete`, `.failed`
and `error` end a stream. OpenAI nests what went wrong in `error`, though its reference has it
flat; an encrypted thought is only whole in the item's `done`.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from llmgw.core.chat import TOOL_CALLS
from llmgw.core.events import (
    REFUSED,
    TEXT,
    THINKING,
    TOOL_CALL,
    ChatEvent,
    ChoiceEnded,
    Counted,
    Delta,
    Finished,
    PartEnded,
    PartStarted,
    Signed,
    Started,
)
from llmgw.dialects.openai_chat_failures import failed
from llmgw.dialects.openai_responses_answer import WireResponse, parse_usage, stop_of
from llmgw.dialects.openai_responses_items import Content, Item, reasoning_text, thinking
from llmgw.dialects.sse_decoder import SseDecoder
from llmgw.wire.sse import event_data, event_name

Key = int | str

_MAX_HELD = 1000
"""Events that wait for calls to end, before the calls are taken for ended."""


class _Event(Struct):
    type: str | None = None
    delta: object = None
    output_index: int | None = None
    item_id: str | None = None
    content_index: int | None = None
    summary_index: int | None = None
    text: str | None = None
    refusal: str | None = None
    arguments: object = None
    part: Content | None = None
    item: Item | None = None
    response: WireResponse | None = None
    error: object = None
    code: object = None
    message: object = None


class _Slot(Struct):
    """A part as far as it was told. length: characters given on."""

    part: int
    kind: str
    length: int = 0
    open: bool = True
    summary: int = 0


_decode = msgspec.json.Decoder(_Event).decode

_DELTAS = {
    "response.output_text.delta": TEXT,
    "response.refusal.delta": REFUSED,
    "response.reasoning_summary_text.delta": THINKING,
    "response.reasoning_text.delta": THINKING,
    "response.function_call_arguments.delta": TOOL_CALL,
}
_WHOLES = frozenset({"response.output_text.done", "response.refusal.done", "response.content_part.done"})
_BEGINNINGS = frozenset({"response.created", "response.in_progress", "response.queued"})
_ENDS = frozenset({"response.completed", "response.incomplete", "response.done"})


class ResponsesDecoder(SseDecoder):
    """A `StreamDecoder`."""

    __slots__ = (
        "_calls",
        "_current",
        "_ended",
        "_held",
        "_ids",
        "_open_calls",
        "_parts",
        "_slots",
        "_started",
    )

    def __init__(self) -> None:
        super().__init__()
        self._started = False
        self._ended = False
        self._calls = False
        self._open_calls = 0
        self._held: list[tuple[str, _Event]] = []
        self._parts = 0
        self._current: Key = 0
        self._ids: dict[str, Key] = {}
        self._slots: dict[tuple[Key, int, str], _Slot] = {}

    def _event(self, raw: bytes, out: list[ChatEvent]) -> None:
        data = event_data(raw)
        if data is None or self._ended:
            return
        data = data.strip()
        if not data or data == b"[DONE]":
            return
        try:
            event = _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"an event is not of the responses API: {error}") from None
        kind = event.type
        if kind is None:
            kind = (event_name(raw) or b"").decode("latin-1")
        if self._open_calls and self._waits(kind, event):
            self._held.append((kind, event))
            if len(self._held) > _MAX_HELD:
                self._close_all(out)
        else:
            self._take(kind, event, out)
        while self._held and not self._open_calls and not self._ended:
            self._take(*self._held.pop(0), out)

    def _waits(self, kind: str, event: _Event) -> bool:
        """Whether an event is of a part that cannot begin before the open calls have ended."""
        if kind in _DELTAS:
            return kind != "response.function_call_arguments.delta"
        if kind == "response.output_item.done":
            return event.item is not None and event.item.type != "function_call"
        return kind in _WHOLES

    def _take(self, kind: str, event: _Event, out: list[ChatEvent]) -> None:
        part_kind = _DELTAS.get(kind)
        if part_kind is not None:
            self._delta(part_kind, event, out)
        elif kind in _BEGINNINGS:
            self._start(event.response, out)
        elif kind in _ENDS:
            self._end(event.response or WireResponse(), out)
        elif kind == "response.failed":
            self._fail(
                {"error": event.response.error if event.response else event.error}, event.response, out
            )
        elif kind == "error" or event.error is not None:
            flat = {"message": event.message, "code": event.code}
            self._fail({"error": event.error} if event.error is not None else flat, None, out)
        else:
            self._whole(kind, event, out)

    def _whole(self, kind: str, event: _Event, out: list[ChatEvent]) -> None:
        """Events that say at once what deltas say in pieces, and where items begin and end."""
        if kind == "response.output_item.added" and event.item is not None:
            self._item_added(self._item_key(event, event.item, begins=True), event.item, out)
        elif kind == "response.output_item.done" and event.item is not None:
            self._item_done(self._item_key(event, event.item, begins=False), event.item, out)
        elif kind == "response.output_text.done":
            self._fill((self._key(event), event.content_index or 0, TEXT), event.text, out)
        elif kind == "response.refusal.done":
            self._fill((self._key(event), event.content_index or 0, REFUSED), event.refusal, out)
        elif kind == "response.function_call_arguments.done":
            self._arguments(self._key(event), event.arguments, out)
        elif kind == "response.content_part.done" and event.part is not None:
            self._content(self._key(event), event.content_index or 0, event.part, out)

    def _key(self, event: _Event) -> Key:
        key: Key | None = event.output_index
        if key is None and event.item_id is not None:
            key = self._ids.get(event.item_id, event.item_id)
        if key is None:
            return self._current
        self._current = key
        return key

    def _item_key(self, event: _Event, item: Item, begins: bool) -> Key:
        key: Key | None = event.output_index
        name = item.id or item.call_id
        if name is None:
            name = f"item {len(self._ids)}"
            if key is None and not begins:
                return self._current
        if key is None:
            key = self._ids.get(name, name)
        self._ids[name] = key
        self._current = key
        return key

    def _start(self, response: WireResponse | None, out: list[ChatEvent]) -> None:
        if self._started:
            return
        self._started = True
        if response is None:
            out.append(Started())
            return
        created = None if response.created_at is None else int(response.created_at)
        out.append(Started(response.id or "", response.model or "", created))

    def _delta(self, kind: str, event: _Event, out: list[ChatEvent]) -> None:
        text = event.delta
        if not isinstance(text, str) or not text:
            return
        index = event.content_index or 0 if kind in (TEXT, REFUSED) else 0
        where = (self._key(event), index, kind)
        slot = self._slots.get(where)
        if slot is None or not slot.open:
            if kind == TOOL_CALL:
                return  # Without its name; the item's `done` has all of it.
            slot = self._begin(where, out)
        if kind == THINKING and (event.summary_index or event.content_index or 0) != slot.summary:
            slot.summary = event.summary_index or event.content_index or 0
            if slot.length:
                text = "\n\n" + text
        slot.length += len(text)
        out.append(Delta(0, slot.part, text))

    def _begin(
        self,
        where: tuple[Key, int, str],
        out: list[ChatEvent],
        call_id: str | None = None,
        name: str | None = None,
    ) -> _Slot:
        """A new part, after those that cannot be open beside it."""
        self._start(None, out)
        kind = where[2]
        for slot in self._slots.values():
            if slot.open and not (kind == TOOL_CALL and slot.kind == TOOL_CALL):
                self._finish(slot, out)
        known = self._slots.get(where)
        slot = _Slot(self._parts, kind, known.length if known else 0)
        self._parts += 1
        self._slots[where] = slot
        self._open_calls += kind == TOOL_CALL
        out.append(PartStarted(0, slot.part, kind, call_id, name))
        return slot

    def _finish(self, slot: _Slot, out: list[ChatEvent]) -> None:
        slot.open = False
        self._open_calls -= slot.kind == TOOL_CALL
        out.append(PartEnded(0, slot.part))

    def _fill(self, where: tuple[Key, int, str], text: object, out: list[ChatEvent]) -> None:
        """Give on what of a part's whole text the deltas have not said."""
        if not isinstance(text, str):
            return
        slot = self._slots.get(where)
        if len(text) <= (slot.length if slot else 0):
            return
        if slot is None or not slot.open:
            slot = self._begin(where, out)
        out.append(Delta(0, slot.part, text[slot.length :]))
        slot.length = len(text)

    def _arguments(self, key: Key, arguments: object, out: list[ChatEvent]) -> None:
        """The end of a call that has begun; its item tells the name of one that has not."""
        where = (key, 0, TOOL_CALL)
        slot = self._slots.get(where)
        if slot is not None and slot.open:
            self._fill(where, arguments, out)
            self._finish(slot, out)

    def _content(self, key: Key, index: int, content: Content, out: list[ChatEvent]) -> None:
        if content.type == "output_text":
            where, text = (key, index, TEXT), content.text
        elif content.type == "refusal":
            where, text = (key, index, REFUSED), content.refusal
        else:
            return
        self._fill(where, text, out)
        slot = self._slots.get(where)
        if slot is not None and slot.open:
            self._finish(slot, out)

    def _item_added(self, key: Key, item: Item, out: list[ChatEvent]) -> None:
        if item.type == "function_call" and item.name and (key, 0, TOOL_CALL) not in self._slots:
            self._calls = True
            self._begin((key, 0, TOOL_CALL), out, item.call_id or item.id or "", item.name)

    def _item_done(self, key: Key, item: Item, out: list[ChatEvent]) -> None:
        if item.type == "message" and isinstance(item.content, list):
            for index, content in zip(self._told(key, len(item.content)), item.content, strict=True):
                self._content(key, index, content, out)
        elif item.type == "function_call":
            self._item_added(key, item, out)
            self._arguments(key, item.arguments, out)
        elif item.type == "reasoning":
            where = (key, 0, THINKING)
            self._fill(where, reasoning_text(item), out)
            thought = thinking(item)
            slot = self._slots.get(where)
            if thought.redacted is not None or (slot is not None and thought.signature is not None):
                if slot is None:
                    slot = self._begin(where, out)
                shown = slot.length > 0
                token = thought.signature or thought.redacted
                out.append(Signed(0, slot.part, token if shown else None, None if shown else token))
            if slot is not None and slot.open:
                self._finish(slot, out)

    def _told(self, key: Key, count: int) -> list[int]:
        """The content indices of a message's parts. Some services do not begin at 0 (vLLM)."""
        told = sorted(
            {index for where, index, kind in self._slots if where == key and kind in (TEXT, REFUSED)}
        )
        return told if len(told) == count else list(range(count))

    def _close_all(self, out: list[ChatEvent]) -> None:
        """End what is open, and after the open calls what waited for them."""
        for slot in self._slots.values():
            if slot.open:
                self._finish(slot, out)
        held, self._held = self._held, []
        for kind, event in held:
            self._take(kind, event, out)
        if held:
            self._close_all(out)

    def _end(self, response: WireResponse, out: list[ChatEvent]) -> None:
        self._start(response, out)
        told, called = self._parts > 0, self._calls
        self._close_all(out)
        for index, item in enumerate(response.output or ()):
            # Where some calls were told, those here may be the same under other ids.
            if not told or (item.type == "function_call" and not called):
                self._item_done(f"output {index}", item, out)
        self._close_all(out)
        usage = parse_usage(response.usage)
        out.append(ChoiceEnded(0, stop_of(response, self._calls) or TOOL_CALLS))
        if usage is not None:
            out.append(Counted(usage))
        out.append(Finished())
        self._ended = True

    def _fail(self, error: dict[str, object], response: WireResponse | None, out: list[ChatEvent]) -> None:
        self._start(response, out)
        self._close_all(out)
        usage = parse_usage(response.usage) if response else None
        if usage is not None:
            out.append(Counted(usage))
        out.append(failed(error))
        self._ended = True
