from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from llmgw.server.outlets import Chosen, Outlets
from llmgw.telemetry.lines import LineWriter
from llmgw.telemetry.logs import JsonLog, NullLog


class Heard:
    def __init__(self) -> None:
        self.events: list[str] = []

    def log_event(self, level: str, event: str, **fields: object) -> None:
        self.events.append(event)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


def test_a_reload_changes_from_what_level_events_are_told() -> None:
    """Those of libraries too."""
    heard = Heard()
    outlets = Outlets(NullLog(), Chosen(heard, "info"), close=lambda: None)
    outlets.events.log_event("debug", "one")
    outlets.events.log_event("info", "two")

    outlets.tell_from("error")
    outlets.events.log_event("warning", "three")
    outlets.events.log_event("error", "four")
    logging.getLogger("uvicorn.error").warning("five")

    outlets.tell_from("debug")
    outlets.events.log_event("debug", "six")
    logging.getLogger("uvicorn.error").warning("seven")

    assert heard.events == ["two", "four", "six", "log"]


def test_a_reload_changes_what_is_hidden_in_the_log() -> None:
    log = JsonLog(LineWriter(1))
    outlets = Outlets(log, Chosen(Heard(), "info"), close=lambda: None)

    outlets.hide(("email",))

    assert log.hides == ("email",)
    Outlets(NullLog(), Chosen(Heard(), "info"), close=lambda: None).hide(("email",))
