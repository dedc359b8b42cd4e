"""A stream to a client with its texts redacted, in whatever dialect it is.

Works on the client's own bytes, after the tap has read the usage and after a translation, so one
way serves every road and every member that nobody knows goes on as it came: decoding events and
writing them anew would lose those. In each event the strings that go on from event to event are
replaced by what may be told by now, all other strings are texts of their own. What was held back
when a text ends goes out in one more event of its dialect before the event that ends it.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from llmgw.core.exchange import Exchange
from llmgw.core.operation import ARRAY, EVENTS
from llmgw.core.usage import Usage
from llmgw.dialects.taps import StreamedTap
from llmgw.dialects.text_places import Part, Seen, text_places
from llmgw.policies.redact import FAILED, RESPONSE, Redaction, note
from llmgw.redaction.json_text import JsonStream, Path, rewritten
from llmgw.redaction.text import TextStream, redacted
from llmgw.wire.sse import SseSplitter, event_data, event_name, render_event

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_MAX_LINE = 1024 * 1024
_AROUND_ELEMENTS = b"[],\r\n "


class RedactedTap:
    """Stands where a stream's tap does. inner: that tap. Implements `dialects.taps.StreamedTap`."""

    def __init__(self, inner: StreamedTap, redaction: Redaction, ex: Exchange) -> None:
        self.inner = inner
        self._events = RedactedEvents(redaction, ex)

    @property
    def usage(self) -> Usage | None:
        """As the provider reported it."""
        return self.inner.usage

    @property
    def upstream_id(self) -> str | None:
        return self.inner.upstream_id

    @property
    def done(self) -> bool:
        """Whether the upstream said that it is complete, and the client has heard all of it."""
        return self.inner.done and not self._events.is_cut

    @property
    def failed(self) -> bool:
        return self.inner.failed

    def feed(self, chunk: bytes) -> bytes:
        """What the client gets for it. Raises ValueError, and RedactionFailed."""
        return self._events.feed(self.inner.feed(chunk))

    def rest(self) -> bytes:
        """What was held back, and what the end of the upstream's bytes still gives."""
        return self._events.close(self.inner.rest())

    def delivered_text(self) -> str:
        """What was answered."""
        return self.inner.delivered_text()

    def delivered_bytes(self) -> int:
        """How much text has passed, roughly."""
        return self.inner.delivered_bytes()

    def moved(self) -> bool:
        """Whether anything has passed since this was last asked."""
        return self.inner.moved()


class RedactedEvents:
    """For server-sent events, for lines of JSON, and for a JSON array whose elements are lines.

    is_cut: the end could not be redacted, so it was not told.
    """

    def __init__(self, redaction: Redaction, ex: Exchange) -> None:
        self._redaction = redaction
        self._ex = ex
        self._places = text_places(ex.endpoint)
        self._frame = ex.endpoint.stream
        self._splitter = SseSplitter() if self._frame == EVENTS else _Lines()
        self._texts: dict[Part, TextStream | JsonStream] = {}
        self._changed: set[Part] = set()
        self._counts: Counter[str] = Counter()
        self._named = False
        self._gave_up = False
        self.is_cut = False

    def feed(self, data: bytes) -> bytes:
        """What the client may have by now. Raises RedactionFailed."""
        if self._gave_up:
            return self._as_it_is() + data
        try:
            events = self._splitter.feed(data)
        except ValueError as error:
            self._redaction.fail(self._ex, RESPONSE, error)
            self._gave_up = True
            return self._ended(list(self._texts)) + self._as_it_is()
        out = b"".join([raw if self._gave_up else self._checked(raw) for raw in events])
        if self._counts:
            note(self._ex, RESPONSE, self._counts)
            self._counts.clear()
        return out

    def close(self, last: bytes = b"") -> bytes:
        """What was held back; of an event that was broken off, nothing. Never raises.

        last: what the client would get at the end.
        """
        if self._gave_up:
            return self._as_it_is() + last
        events: list[bytes] = []
        try:
            events = self._splitter.feed(last)
            rest = bytes(self._splitter.pending)
            self._splitter.pending.clear()
            if self._frame == EVENTS:
                rest += b"\n\n"
            if _is_whole(rest, self._frame):
                events.append(rest)
            out = b"".join(map(self._event, events))
            out += self._ended(list(self._texts), last=True)
        except Exception:
            # Nobody is above who could be told but by what the stream lacks then.
            note(self._ex, RESPONSE, {FAILED: 1})
            self.is_cut = self._redaction.blocks
            return b"" if self.is_cut else b"".join(events)
        note(self._ex, RESPONSE, self._counts)
        self._counts.clear()
        return out

    def _as_it_is(self) -> bytes:
        """What has not been looked at yet, once nothing is any more."""
        rest = bytes(self._splitter.pending)
        self._splitter.pending.clear()
        return rest

    def _checked(self, raw: bytes) -> bytes:
        try:
            return self._event(raw)
        except Exception as error:
            self._redaction.fail(self._ex, RESPONSE, error)
            self._gave_up = True
            return self._ended(list(self._texts)) + raw

    def _event(self, raw: bytes) -> bytes:
        data = event_data(raw) if self._frame == EVENTS else raw
        if self._frame == ARRAY:
            data = raw.strip(_AROUND_ELEMENTS)
            if raw.strip() == b"]":
                return self._ended(list(self._texts), last=True) + raw
        if data is None or not data.strip():
            return raw
        if not self._named and self._frame == EVENTS:
            self._named = event_name(raw) is not None
        try:
            event = _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            before = self._ended(list(self._texts))
            text = data.decode(errors="replace")
            return before + _with_data(
                raw, data, text, redacted(text, self._redaction.answered, self._counts)
            )
        seen = self._places.read(event) if isinstance(event, dict) else Seen([], [], [])
        at: dict[Path, Callable[[str], str]] = {}
        last = {place.part: place.path for place in seen.places}
        for place in seen.places:
            is_last = place.part in seen.ended and last[place.part] == place.path
            said = self._said(place.part, _found(event, place.path), is_json=place.is_json, last=is_last)
            at[place.path] = _always(said)
        ended = list(self._texts) if not last and _is_error(event) else seen.ended
        before = self._ended([part for part in ended if part not in last])
        for part in seen.ended:
            self._texts.pop(part, None)
        at.update((proof.path, _always("")) for proof in seen.proofs if proof.part in self._changed)
        text = data.decode()
        counts = Counter() if seen.repeats else self._counts
        new = rewritten(text, self._redaction.answered, counts, answer=True, at=at)
        return before + _with_data(raw, data, text, new)

    def _said(self, part: Part, piece: str, *, is_json: bool, last: bool) -> str:
        """What may be told of a part by now."""
        text = self._texts.get(part)
        if text is None:
            kind = JsonStream if is_json else TextStream
            text = self._texts[part] = kind(self._redaction.answered, self._counts)
        before = self._counts.total()
        out = text.feed(piece, last=last)
        if self._counts.total() != before:
            self._changed.add(part)
        return out

    def _ended(self, parts: list[Part], *, last: bool = False) -> bytes:
        """Events with what was held back of parts that have ended. last: no event comes after them."""
        out = []
        for part in parts:
            if part in self._texts:
                rest = self._said(part, "", is_json=False, last=True)
                del self._texts[part]
                if rest:
                    out.append(self._written(self._places.rest(part, rest), last=last))
        return b"".join(out)

    def _written(self, event: dict[str, Any], *, last: bool) -> bytes:  # Any: JSON
        data = _encode(event)
        if self._frame == ARRAY:
            # What separates an element from the one before has gone out, unless the array ends.
            return b",\r\n" + data + b"\n" if last else data + b"\n,\r\n"
        if self._frame != EVENTS:
            return data + b"\n"
        return render_event(data, str(event["type"]).encode() if self._named and "type" in event else None)


class RedactedText:
    """For a text that is no stream of events, such as subtitles."""

    def __init__(self, redaction: Redaction, ex: Exchange) -> None:
        self._ex = ex
        self._counts: Counter[str] = Counter()
        self._text = TextStream(redaction.answered, self._counts)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")

    def feed(self, data: bytes) -> bytes:
        """What the client may have by now."""
        return self._text.feed(self._decoder.decode(data)).encode(errors="surrogateescape")

    def close(self) -> bytes:
        """What was held back."""
        rest = self._text.feed(self._decoder.decode(b"", final=True), last=True)
        note(self._ex, RESPONSE, self._counts)
        return rest.encode(errors="surrogateescape")


class _Lines:
    """Cuts bytes into lines, each with its end."""

    def __init__(self) -> None:
        self.pending = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that are whole by now. Raises ValueError for one that is too long."""
        self.pending += chunk
        end = self.pending.rfind(b"\n") + 1
        if len(self.pending) - end > _MAX_LINE:
            raise ValueError(f"a line is longer than {_MAX_LINE} bytes")
        lines = bytes(self.pending[:end]).splitlines(keepends=True)
        del self.pending[:end]
        return lines


def _is_whole(raw: bytes, frame: bytes) -> bool:
    """Whether what has no end after it is all the same an event that has all its data."""
    data = event_data(raw) if frame == EVENTS else raw.strip(b",\r\n ")
    if data is None or data.strip() in (b"[DONE]", b"]"):
        return data is not None
    try:
        _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True


def _is_error(event: Any) -> bool:  # Any: JSON
    """Whether a stream ends with this event, in whatever dialect."""
    return isinstance(event, dict) and (
        event.get("error") is not None or event.get("type") in ("error", "response.failed")
    )


def _found(event: Any, path: Path) -> str:  # Any: JSON
    for step in path:
        event = event[step]
    assert isinstance(event, str)
    return event


def _always(text: str) -> Callable[[str], str]:
    return lambda _: text


def _with_data(raw: bytes, data: bytes, text: str, new: str) -> bytes:
    """The event with `new` for its data, `text`."""
    if new == text:
        return raw
    if raw.count(data) == 1:
        return raw.replace(data, new.encode())
    return render_event(new.encode(), event_name(raw))
