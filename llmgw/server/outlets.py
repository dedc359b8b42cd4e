"""Where log lines and events of a process go: JSON for machines, colours for a person."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from llmgw.ports.telemetry import RequestLog
from llmgw.telemetry.events import LEVELS, Events, JsonEvents, route_stdlib
from llmgw.telemetry.lines import LineWriter
from llmgw.telemetry.logs import JsonLog


class Chosen:
    """Events that are at least as important as `level`, which a reload may change."""

    def __init__(self, events: Events, level: str) -> None:
        self.level = level
        self._events = events

    def log_event(self, level: str, event: str, **fields: object) -> None:
        """Tell of one event, unless `level` is under what is asked for."""
        if LEVELS.get(level, LEVELS["error"]) >= LEVELS[self.level]:
            self._events.log_event(level, event, **fields)


@dataclass(slots=True)
class Outlets:
    """Where log lines and events go. dropped: lines that nobody took."""

    log: RequestLog
    events: Chosen
    close: Callable[[], None]
    dropped: Callable[[], int] = lambda: 0

    def hide(self, kinds: tuple[str, ...]) -> None:
        """Which kinds of data are not shown in the details of errors from now on."""
        if isinstance(self.log, JsonLog):
            self.log.hides = kinds

    def tell_from(self, level: str) -> None:
        """Tell of what is at least as important as `level` from now on, libraries included."""
        if level != self.events.level:
            self.events.level = level
            route_stdlib(self.events, level=level)


def json_outlets(level: str) -> Outlets:
    """One JSON line a request on stdout, and one an event on stderr."""
    out = LineWriter(1)
    err = LineWriter(2)

    def close() -> None:
        out.close(1.0)
        err.close(1.0)

    events = Chosen(JsonEvents(err, level="debug"), level)
    return Outlets(JsonLog(out), events, close, lambda: out.dropped + err.dropped)


def console_outlets(level: str) -> Outlets:
    """The same for a person at a terminal."""
    from rich.console import Console

    from llmgw.telemetry.console import ConsoleEvents, ConsoleLog

    console = Console(stderr=False)
    return Outlets(ConsoleLog(console), Chosen(ConsoleEvents(console, level="debug"), level), lambda: None)


def outlets_for(level: str) -> Outlets:
    """Those that fit what standard output is."""
    return console_outlets(level) if attached_to_terminal() else json_outlets(level)


def attached_to_terminal() -> bool:
    return sys.stdout.isatty()
