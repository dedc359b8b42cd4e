"""One JSON line a request.

The line is the report as the C codec writes it, with the event's name and time before it: no
dictionary, no formatting. A line that is not plain printable ASCII, is long, or may hold a
credential goes the careful way through `telemetry/escaping.py`.

Holds no body and no secret: a `RequestReport` has neither.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from operator import attrgetter
from time import time

import msgspec
from msgspec import structs

from llmgw.ports.telemetry import RequestReport
from llmgw.redaction.text import redacted, rules_of
from llmgw.telemetry.escaping import MAX_FIELD, render_line, suspicious
from llmgw.telemetry.lines import LineWriter

_COMMA = ord(",")
_DEL = 0x7F

_encode_into = msgspec.json.Encoder().encode_into
_NAMES = tuple(RequestReport.__annotations__)
_values = attrgetter(*_NAMES)


class NullLog:
    """Writes nothing."""

    def write(self, report: RequestReport) -> None:
        """One line a request."""


class JsonLog:
    """Request lines to a `LineWriter`.

    hides: kinds of data that are replaced in the details of errors.
    """

    def __init__(self, out: LineWriter) -> None:
        self.hides: tuple[str, ...] = ()
        self._put = out.put
        self._ms = -1
        self._start = b""

    def write(self, report: RequestReport) -> None:
        """One line, soon. Never blocks, never raises."""
        ms = int(time() * 1000)
        if ms != self._ms:
            self._ms = ms
            self._start = f'{{"event":"request","level":"info","ts":"{timestamp(ms)}"'.encode()
        line = bytearray(self._start)
        at = len(line)
        try:
            _encode_into(report, line, at)
        except UnicodeEncodeError:
            # A lone surrogate, which UTF-8 cannot say; an escape can.
            self._put(render_request(report, ms, self.hides))
            return
        if (
            report.detail is not None
            or len(line) > MAX_FIELD
            or not line.isascii()
            or _DEL in line
            # The one field whose text is the caller's; no credential is as short as most names.
            or ((model := report.model) is not None and len(model) > 20 and suspicious(model))
        ):
            self._put(render_request(report, ms, self.hides))
        else:
            # The report's opening brace continues the object that the start began.
            line[at] = _COMMA
            line += b"\n"
            self._put(line)


def render_request(report: RequestReport, ms: int, hides: tuple[str, ...] = ()) -> bytes:
    """The line of a report that holds anything unusual. hides: kinds of data not to show in its detail."""
    if report.detail is not None and hides:
        report = structs.replace(report, detail=redacted(report.detail, rules_of(hides), Counter()))
    return render_line(
        {
            "event": "request",
            "level": "info",
            "ts": timestamp(ms),
            **dict(zip(_NAMES, _values(report), strict=True)),
        }
    )


def timestamp(ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339 in UTC: `2026-01-31T23:59:59.123Z`."""
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"
