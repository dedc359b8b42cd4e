"""Server-sent events as bytes: found, read and written.

The relay passes a stream on as it came, and a tap beside it must see whole events. So a splitter
cuts bytes into events that join again to exactly the same bytes, and the cuts do not depend on
how the network had chunked them.

Line ends are LF, CRLF and CR, mixed at will (WHATWG HTML, "server-sent events", 9.2.5 and 9.2.6).
A blank line with nothing before it is a piece of its own, without data. A CR that ends the bytes
may be half of a CRLF, so it waits for the next byte; after another CR it does not wait, or a
stream that only uses CR would always be one event late.

Promise: `b"".join` of what `feed` returned, then `pending`, is what was fed.
"""

from __future__ import annotations

import re

MAX_PENDING = 1024 * 1024

_event_end = re.compile(rb"\n\n|\r\r|\n\r\n|\n\r(?=[^\n])")
_line_end = re.compile(rb"\r\n|\r|\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LF = 10
_CR = 13


class SseSplitter:
    """Cuts a byte stream into complete events.

    pending: the bytes of the event that has not ended yet; empty between events.
    """

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that `chunk` completes, each with the blank line that ends it.

        Raises ValueError when the unfinished event is longer than `MAX_PENDING`; the stream
        cannot be followed after that.
        """
        pending = self.pending
        if not pending and b"\r" not in chunk:
            end = chunk.find(b"\n\n")
            if end > 0 and end == len(chunk) - 2 and chunk[0] != _LF:
                return [chunk]
            events, at = _split_lf(chunk)
            if at < len(chunk):
                pending += chunk[at:] if at else chunk
        else:
            # The end of an event can begin in the last two bytes already held.
            begin = max(0, len(pending) - 2)
            pending += chunk
            events, at = _split(pending, begin)
            if at:
                del pending[:at]
        if len(pending) > MAX_PENDING:
            raise ValueError(f"an event is longer than {MAX_PENDING} bytes")
        return events


def _split_lf(chunk: bytes) -> tuple[list[bytes], int]:
    """The events in bytes without a CR, and where the rest begins."""
    size = len(chunk)
    at = 0
    events = []
    while at < size:
        if chunk[at] == _LF:
            end = at + 1
        else:
            end = chunk.find(b"\n\n", at) + 2
            if end == 1:
                break
        events.append(chunk[at:end])
        at = end
    return events, at


def _split(held: bytearray, begin: int) -> tuple[list[bytes], int]:
    """The events in `held`, and where the rest begins. Up to `begin` there is no end of one."""
    size = len(held)
    at = 0
    events = []
    while at < size:
        first = held[at]
        if first == _LF:
            end = at + 1
        elif first == _CR:
            if at + 1 == size:
                break
            end = at + 2 if held[at + 1] == _LF else at + 1
        else:
            match = _event_end.search(held, max(at, begin))
            if match is None:
                break
            end = match.end()
        events.append(bytes(held[at:end]))
        at = end
    return events, at


def whole_events(held: bytearray, data: bytes) -> bytes:
    """The events that `held` and `data` have whole, as they came; what remains is in `held` then."""
    # There is no end in what was held, so none is sought there again.
    begin = max(0, len(held) - 2)
    held += data
    end = max(
        held.rfind(b"\n\n", begin) + 2, held.rfind(b"\n\r\n", begin) + 3, held.rfind(b"\r\r", begin) + 2
    )
    if end <= 2:
        return b""
    events = bytes(held[:end])
    del held[:end]
    return events


def event_data(raw: bytes) -> bytes | None:
    """The data of an event, its lines joined by LF; None when the event has no data."""
    if raw.startswith(b"data:"):
        end = raw.find(b"\n")
        if end == len(raw) - 2 and raw[end + 1] == _LF and b"\r" not in raw:
            return raw[6 if raw[5] == 0x20 else 5 : end]
    lines = _values(raw, b"data")
    return b"\n".join(lines) if lines else None


def event_name(raw: bytes) -> bytes | None:
    """The name of an event; None when it has none, which a reader takes for `message`."""
    names = _values(raw, b"event")
    return names[-1] or None if names else None


def _values(raw: bytes, field: bytes) -> list[bytes]:
    """What the lines of `raw` say for `field`, in order."""
    values = []
    for line in raw.removeprefix(_BYTE_ORDER_MARK).splitlines():
        if line.startswith(field):
            if len(line) == len(field):
                values.append(b"")
            elif line[len(field)] == 0x3A:
                values.append(line[len(field) + 1 :].removeprefix(b" "))
    return values


def render_event(data: bytes, event: bytes | None = None) -> bytes:
    """One event. Line ends within `data` become several data lines, so it stays one event.

    Raises ValueError when `event` has a line end.
    """
    name = b""
    if event is not None:
        if b"\r" in event or b"\n" in event:
            raise ValueError("an event name cannot have a line end")
        name = b"event: " + event + b"\n"
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_line_end.split(data))
    return name + b"data: " + data + b"\n\n"
