"""Requests and events for a person at a terminal: one short coloured line each.

Not for the road under load: rich takes some hundred microseconds a line. `llmgw serve` uses it
only when attached to a terminal.
"""

from __future__ import annotations

from datetime import datetime

from rich.console import Console
from rich.text import Text

from llmgw.core.stored_reply import FREE_OUTCOMES
from llmgw.ports.telemetry import RequestReport
from llmgw.telemetry.escaping import clean
from llmgw.telemetry.events import LEVELS

_LEVEL_STYLES = {"debug": "dim", "info": "green", "warning": "yellow", "error": "bold red"}
_NANO = 1_000_000_000


class ConsoleLog:
    """One line a request."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, report: RequestReport) -> None:
        """Print the request: time, status, path, where it went, how long, tokens, cost, who."""
        line = Text()
        line.append(f"{datetime.now():%H:%M:%S} ", "dim")
        line.append(f"{report.status} ", _status_style(report.status))
        line.append(f"{printable(report.endpoint)} ")
        if report.model:
            line.append(printable(report.model), "cyan")
            if report.provider:
                line.append(f" → {printable(report.provider)}", "dim")
            line.append(" ")
        line.append(_duration(report.total_s), "magenta")
        if report.streamed and report.first_byte_s is not None:
            line.append(f" (first {_duration(report.first_byte_s)})", "dim")
        if report.input_tokens is not None:
            about = "~" if report.usage_source == "estimated" else ""
            line.append(f" {about}{report.input_tokens}+{report.output_tokens or 0} tokens")
        if report.cost_nano_usd is not None:
            line.append(f" ${report.cost_nano_usd // _NANO}.{report.cost_nano_usd % _NANO:09d}", "green")
        if report.attempts > 1:
            line.append(f" {report.attempts} attempts", "yellow")
        if report.tenant:
            line.append(f" {printable(report.tenant)}/{printable(report.key or '-')}", "dim")
        if report.code or report.outcome != "ok":
            style = "cyan" if report.outcome in FREE_OUTCOMES and not report.code else "red"
            line.append(f" {printable(report.code or report.outcome)}", style)
        _print(self._console, line, cut=True)


class ConsoleEvents:
    """One line an event."""

    def __init__(self, console: Console, *, level: str = "info") -> None:
        self._console = console
        self._least = LEVELS[level]

    def log_event(self, level: str, event: str, **fields: object) -> None:
        """Print the event and its fields, unless `level` is under what was asked for."""
        if LEVELS.get(level, 40) < self._least:
            return
        line = Text()
        line.append(f"{datetime.now():%H:%M:%S} ", "dim")
        line.append(f"{level:<7} ", _LEVEL_STYLES.get(level, "red"))
        line.append(printable(event), "bold")
        for name, value in fields.items():
            line.append(f" {name}=", "dim")
            text = str(clean(value))
            if name == "exception":
                line.append("\n" + "\n".join(printable(row) for row in text.splitlines()))
            else:
                line.append(printable(text))
        _print(self._console, line, cut=False)


def printable(text: str) -> str:
    """`text` with everything that could move a cursor or change a colour made visible."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _print(console: Console, line: Text, *, cut: bool) -> None:
    try:
        if cut:
            console.print(line, no_wrap=True, overflow="ellipsis")
        else:
            console.print(line, soft_wrap=True)
    except (OSError, SystemExit):
        # The terminal went away, which rich answers by falling silent and leaving the program.
        # The requests go on without being watched.
        return


def _status_style(status: int) -> str:
    if status < 400:
        return "bold green"
    return "bold yellow" if status < 500 else "bold red"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
