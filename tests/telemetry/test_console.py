from __future__ import annotations

import errno
import io

import pytest
from rich.console import Console

from llmgw.telemetry.console import ConsoleEvents, ConsoleLog, printable
from tests.telemetry.conftest import report


@pytest.fixture
def screen() -> Console:
    return Console(file=io.StringIO(), width=200, force_terminal=False)


def shown(screen: Console) -> str:
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_request_in_one_line(screen: Console) -> None:
    ConsoleLog(screen).write(report(streamed=True, attempts=2, usage_source="estimated"))

    (line,) = shown(screen).splitlines()
    for part in ("200", "/v1/chat/completions", "gpt-4o → openai", "200.0 ms", "(first 100.0 ms)"):
        assert part in line
    for part in ("~12+34 tokens", "$0.000370000", "2 attempts", "acme/ci"):
        assert part in line


def test_refusal_says_why(screen: Console) -> None:
    bare = {"tenant": None, "model": None, "provider": None, "input_tokens": None, "cost_nano_usd": None}
    ConsoleLog(screen).write(
        report(status=401, outcome="error", code="invalid_credentials", total_s=1.5, **bare)
    )

    (line,) = shown(screen).splitlines()
    assert "401" in line
    assert line.rstrip().endswith("1.50 s invalid_credentials")


@pytest.mark.parametrize("outcome", ["replay", "cache"])
def test_what_was_answered_before_is_no_failure(outcome: str) -> None:
    screen = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="standard")

    ConsoleLog(screen).write(report(outcome=outcome))

    assert f"36m {outcome}" in shown(screen)


def test_narrow_terminal_still_has_one_line() -> None:
    screen = Console(file=io.StringIO(), width=30, force_terminal=False)

    ConsoleLog(screen).write(report())

    assert len(shown(screen).splitlines()) == 1


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "\x1b[31mred", "a\r\nb", "\u2028", "\x9b31m"])
def test_text_cannot_drive_the_terminal(screen: Console, text: str) -> None:
    """N04: no escape, no markup and no line break of the caller's reaches the screen."""
    ConsoleLog(screen).write(report(model=text))

    out = shown(screen)
    assert len(out.splitlines()) == 1
    assert out[:-1].isprintable()
    if text.isprintable():
        assert text in out


def test_event_with_its_fields(screen: Console) -> None:
    events = ConsoleEvents(screen)

    events.log_event("warning", "sqlite_library", message="old", key="sk-abcdefghijklmnop1234")
    events.log_event("debug", "unheard")

    (line,) = shown(screen).splitlines()
    assert "warning" in line
    assert "sqlite_library message=old key=sk-…1234" in line


def test_traceback_keeps_its_lines(screen: Console) -> None:
    ConsoleEvents(screen).log_event("error", "log", exception="Traceback:\n  File x\nValueError: \x1b[31m")

    assert len(shown(screen).splitlines()) == 4
    assert "\x1b" not in shown(screen)


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.EIO, "hung up")])
def test_terminal_that_went_away(error: OSError) -> None:
    """The process goes on; rich would have it exit."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    class Screen(Console):
        def on_broken_pipe(self) -> None:
            """As rich does, but for this process's own standard output."""
            self.quiet = True
            raise SystemExit(1)

    screen = Screen(file=Gone(), force_terminal=False)

    ConsoleEvents(screen).log_event("info", "x")
    ConsoleLog(screen).write(report())


def test_printable_text_is_itself() -> None:
    text = "zoë gpt-4o"

    assert printable(text) is text
