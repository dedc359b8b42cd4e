"""What happens besides requests: start, reload, drain, trouble; and the libraries' own logging.

The same JSON lines as the request log, on standard error. The standard library's loggers
(uvicorn's, asyncio's, SQLAlchemy's) are routed here, so that there is one shape; uvicorn's
access log is silenced, because the request line says more.
"""

from __future__ import annotations

import logging
from time import time
from typing import Protocol

from llmgw.telemetry.escaping import render_line
from llmgw.telemetry.lines import LineWriter
from llmgw.telemetry.logs import timestamp

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Events(Protocol):
    """Where events go."""

    def log_event(self, level: str, event: str, **fields: object) -> None:
        """Tell of one event. level: `debug`, `info`, `warning`, `error`. Never raises or blocks."""


class NullEvents:
    """Tells nobody."""

    def log_event(self, level: str, event: str, **fields: object) -> None:
        """Tell of one event."""


class JsonEvents:
    """Events as JSON lines."""

    def __init__(self, out: LineWriter, *, level: str = "info") -> None:
        self._out = out
        self._least = LEVELS[level]

    def log_event(self, level: str, event: str, **fields: object) -> None:
        """One line, unless `level` is under what was asked for."""
        if LEVELS.get(level, 40) >= self._least:
            when = timestamp(int(time() * 1000))
            self._out.put(render_line({"event": event, "level": level, "ts": when, **fields}))


class EventHandler(logging.Handler):
    """Standard library log records as events, tracebacks without local variables."""

    def __init__(self, events: Events) -> None:
        super().__init__()
        self._events = events
        self._traceback = logging.Formatter().formatException

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on."""
        try:
            fields: dict[str, object] = {"logger": record.name, "message": record.getMessage()}
            if record.exc_info and record.exc_info[0] is not None:
                fields["exception"] = self._traceback(record.exc_info)
            self._events.log_event(_level_name(record.levelno), "log", **fields)
        except Exception:
            # A record whose arguments do not fit its message must not stop whoever logged it.
            self._events.log_event("error", "log", logger=record.name, message="unreadable log record")


def route_stdlib(events: Events, *, level: str = "info") -> None:
    """Send the standard library's logging to `events`, replacing its handlers."""
    root = logging.getLogger()
    root.handlers[:] = [EventHandler(events)]
    root.setLevel(max(LEVELS[level], logging.INFO))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    access.disabled = True


def _level_name(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"
