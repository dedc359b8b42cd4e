from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from llmgw.telemetry.events import EventHandler, JsonEvents, NullEvents, route_stdlib
from tests.telemetry.conftest import Written

NAMES = ("", "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


@pytest.fixture
def restored() -> Iterator[None]:
    """Puts the process's loggers back as they were."""
    loggers = [logging.getLogger(name) for name in NAMES]
    kept = [(logger.handlers[:], logger.level, logger.propagate, logger.disabled) for logger in loggers]
    yield
    for logger, state in zip(loggers, kept, strict=True):
        logger.handlers[:], logger.level, logger.propagate, logger.disabled = state


class Kept:
    """Events, remembered."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def log_event(self, level: str, event: str, **fields: object) -> None:
        self.events.append((level, event, fields))


def test_event_line(written: Written) -> None:
    JsonEvents(written.out).log_event("info", "started", version="1.2.3", port=8080)

    (line,) = written.lines()
    fields = json.loads(line)
    assert fields.pop("ts")
    assert fields == {"event": "started", "level": "info", "version": "1.2.3", "port": 8080}


def test_level(written: Written) -> None:
    events = JsonEvents(written.out, level="warning")

    for level in ("debug", "info", "warning", "error", "unheard of"):
        events.log_event(level, level)

    assert [json.loads(line)["event"] for line in written.lines()] == ["warning", "error", "unheard of"]


@pytest.mark.usefixtures("restored")
def test_library_logging_is_one_shape(written: Written) -> None:
    route_stdlib(JsonEvents(written.out))

    logging.getLogger("uvicorn.error").warning("odd %s", "thing")
    logging.getLogger("uvicorn.access").info("GET / 200")
    logging.getLogger("some.library").debug("unheard")

    (line,) = written.lines()
    fields = json.loads(line)
    assert (fields["event"], fields["level"]) == ("log", "warning")
    assert (fields["logger"], fields["message"]) == ("uvicorn.error", "odd thing")


@pytest.mark.usefixtures("restored")
def test_traceback_shows_no_locals() -> None:
    """N03: the lines of the code, never what its variables held."""
    kept = Kept()
    logger = logging.Logger("x")
    logger.addHandler(EventHandler(kept))

    def work(secret: str) -> None:
        raise ValueError("no luck")

    try:
        work("sk-" + "canary" * 4)
    except ValueError:
        logger.exception("failed")

    ((level, _, fields),) = kept.events
    assert level == "error"
    text = str(fields["exception"])
    assert "no luck" in text
    assert "canarycanary" not in text


def test_unreadable_record() -> None:
    """A message that does not fit its arguments harms nobody."""
    kept = Kept()

    EventHandler(kept).handle(logging.LogRecord("x", logging.INFO, "f", 1, "%d", ("one",), None))

    assert kept.events == [("error", "log", {"logger": "x", "message": "unreadable log record"})]


@pytest.mark.parametrize(
    ("number", "name"), [(10, "debug"), (20, "info"), (30, "warning"), (40, "error"), (50, "error")]
)
def test_levels_by_name(number: int, name: str) -> None:
    kept = Kept()
    record: Any = logging.LogRecord("x", number, "f", 1, "m", (), None)

    EventHandler(kept).handle(record)

    assert kept.events[0][0] == name


def test_silent_twin() -> None:
    NullEvents().log_event("info", "x", a=1)
