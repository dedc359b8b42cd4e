"""Where log lines and events of a process go: JSON for machines, colours for a person."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from llmgw.ports.telemetry import RequestLog
from llmgw.telemetry.events import Events, JsonEvents
from llmgw.telemetry.lines import LineWriter
from llmgw.telemetry.logs import JsonLog


@dataclass(slots=True)
class Outlets:
    """Where log lines and events go. dropped: lines that nobody took."""

    log: RequestLog
    events: Events
    close: Callable[[], None]
    dropped: Callable[[], int] = lambda: 0


def json_outlets(level: str) -> Outlets:
    """One JSON line a request on stdout, and one an event on stderr."""
    out = LineWriter(1)
    err = LineWriter(2)

    def close() -> None:
        out.close(1.0)
        err.close(1.0)

    return Outlets(JsonLog(out), JsonEvents(err, level=level), close, lambda: out.dropped + err.dropped)


def console_outlets(level: str) -> Outlets:
    """The same for a person at a terminal."""
    from rich.console import Console

    from llmgw.telemetry.console import ConsoleEvents, ConsoleLog

    console = Console(stderr=False)
    return Outlets(ConsoleLog(console), ConsoleEvents(console, level=level), lambda: None)


def outlets_for(level: str) -> Outlets:
    """Those that fit what standard output is."""
    return console_outlets(level) if attached_to_terminal() else json_outlets(level)


def attached_to_terminal() -> bool:
    return sys.stdout.isatty()
