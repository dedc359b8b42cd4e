"""Cuts a Gemini stream into its JSON documents, whichever way it is framed.

With `alt=sse` each document is the data of a server-sent event; without it the stream is one JSON
array that arrives bit by bit. The first byte that is not white space tells which. An error may come
bare, as a JSON object among the events.

Promise: the documents do not depend on how the network had cut the bytes.
"""

from __future__ import annotations

import re

from llmgw.wire.sse import MAX_PENDING, SseSplitter, event_data

_outside = re.compile(rb'["{}]')
_inside = re.compile(rb'["\\]')
_MARK = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"


class ObjectSplitter:
    """Cuts the objects out of a JSON array, by braces and strings alone.

    What stands between the objects (brackets, commas, white space) is passed over.
    """

    __slots__ = ("_at", "_begin", "_depth", "_held", "_in_string")

    def __init__(self) -> None:
        self._held = bytearray()
        self._at = 0
        self._begin = 0
        self._depth = 0
        self._in_string = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The objects that `chunk` completes. Raises ValueError when one is longer than the cap."""
        held = self._held
        held += chunk
        objects: list[bytes] = []
        while (match := (_inside if self._in_string else _outside).search(held, self._at)) is not None:
            at = match.start()
            token = held[at]
            if token == 0x22:
                self._in_string = not self._in_string
            elif token == 0x5C:
                if at + 1 == len(held):
                    self._at = at
                    break
                at += 1
            elif token == 0x7B:
                if self._depth == 0:
                    self._begin = at
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if self._depth == 0:
                    objects.append(bytes(held[self._begin : at + 1]))
            self._at = at + 1
        else:
            self._at = len(held)
        done = self._begin if self._depth else self._at
        del held[:done]
        self._at -= done
        self._begin -= done if self._depth else self._begin
        if len(held) > MAX_PENDING:
            raise ValueError(f"a document is longer than {MAX_PENDING} bytes")
        return objects


class Frames:
    """The documents of one stream."""

    __slots__ = ("_array", "_events", "_leading")

    def __init__(self) -> None:
        self._leading = b""
        self._events: SseSplitter | None = None
        self._array: ObjectSplitter | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """The documents that are whole by now. Raises ValueError when one is longer than the cap."""
        if self._events is not None:
            return [document for raw in self._events.feed(data) if (document := _document(raw))]
        if self._array is not None:
            return self._array.feed(data)
        data = self._leading + data
        if len(data) < len(_MARK) and _MARK.startswith(data):
            self._leading = data
            return []
        data = data.removeprefix(_MARK).lstrip(_SPACE)
        self._leading = b""
        if not data:
            return []
        if data[0] in b"[{":
            self._array = ObjectSplitter()
        else:
            self._events = SseSplitter()
        return self.feed(data)

    def close(self) -> list[bytes]:
        """The last document, when its event had no blank line after it. May be asked at any time."""
        if self._events is None:
            return []
        document = _document(bytes(self._events.pending))
        return [document] if document.endswith(b"}") else []


def _document(raw: bytes) -> bytes:
    """What an event carries; b"" for comments, pings and OpenAI's `[DONE]`."""
    data = (event_data(raw) or raw).strip()
    return data if data.startswith(b"{") else b""
