from __future__ import annotations

import json
import re
from typing import Any

import pytest

from llmgw.ports.telemetry import RequestReport
from llmgw.telemetry.escaping import MAX_FIELD
from llmgw.telemetry.logs import JsonLog, NullLog, timestamp
from tests.telemetry.conftest import USUAL, Written, report
from tests.telemetry.test_escaping import NASTY


def fields_of(written: Written, item: RequestReport) -> dict[str, Any]:
    JsonLog(written.out).write(item)
    (line,) = written.lines()
    assert all(0x20 <= byte < 0x7F for byte in line)
    fields: dict[str, Any] = json.loads(line)
    return fields


def test_usual_line(written: Written) -> None:
    fields = fields_of(written, report())

    when = fields.pop("ts")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", when)
    assert fields == {
        "event": "request",
        "level": "info",
        **USUAL,
        "detail": None,
        "limited": [],
        "route": None,
        "redacted": [],
    }


def test_unusual_line_has_the_same_fields(written: Written) -> None:
    """Both ways of writing a line agree on names and order."""
    log = JsonLog(written.out)

    log.write(report())
    log.write(report(user="zoë"))

    usual, unusual = (json.loads(line) for line in written.lines())
    assert list(usual) == list(unusual)
    assert unusual["user"] == "zoë"


def test_unusual_line_has_lists_where_the_usual_has(written: Written) -> None:
    """A refusal that tells why is read like any other."""
    lists: dict[str, Any] = {
        "limited": (("per-user", "enforce"),),
        "redacted": (("request", "email", 2),),
    }

    log = JsonLog(written.out)
    log.write(report(**lists))
    log.write(report(detail="why", **lists))

    usual, unusual = (json.loads(line) for line in written.lines())
    assert usual["limited"] == unusual["limited"] == [["per-user", "enforce"]]
    assert usual["redacted"] == unusual["redacted"] == [["request", "email", 2]]


@pytest.mark.parametrize("field", ["model", "user", "detail", "request_id"])
@pytest.mark.parametrize("text", NASTY[:-1])
def test_no_field_breaks_its_line(written: Written, field: str, text: str) -> None:
    """N04: one line, printable, and the field comes back as it was."""
    assert fields_of(written, report(**{field: text}))[field] == text


def test_lone_surrogate(written: Written) -> None:
    """The C codec refuses one; the line is written all the same."""
    assert fields_of(written, report(model="\ud800"))["model"] == "\ud800"


def test_long_field(written: Written) -> None:
    assert len(fields_of(written, report(model="m" * 100_000))["model"]) == MAX_FIELD


@pytest.mark.parametrize("field", ["model", "detail"])
def test_credential_in_a_field(written: Written, field: str) -> None:
    """N01, N02: a key sent as a model, or quoted by an upstream, is not in the log."""
    for key in ("sk-canary0123456789abcdef", "llmgw_abcdefghijklmn23_canary0123456789abcdef0123456789"):
        JsonLog(written.out).write(report(**{field: key}))

    assert b"canary" not in written.read()


def test_lines_of_one_moment_share_their_time(written: Written) -> None:
    log = JsonLog(written.out)

    for _ in range(100):
        log.write(report())

    times = [json.loads(line)["ts"] for line in written.lines()]
    assert times == sorted(times)


def test_timestamp() -> None:
    assert timestamp(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"


def test_silent_twin() -> None:
    NullLog().write(report())


def test_n07_personal_data_in_the_detail_of_an_error(written: Written) -> None:
    """It is replaced where its kind is to be hidden, and only there."""
    log = JsonLog(written.out)
    detail = "the answer begins 'mail bob@example.com from 203.0.113.7'"
    log.hides = ("email",)
    log.write(report(detail=detail))
    log.hides = ()
    log.write(report(detail=detail))

    first, second = (json.loads(line)["detail"] for line in written.lines())

    assert first == "the answer begins 'mail [EMAIL] from 203.0.113.7'"
    assert second == detail
