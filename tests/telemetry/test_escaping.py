from __future__ import annotations

import json

import pytest

from llmgw.telemetry.escaping import MAX_FIELD, mask, render_line, suspicious

NASTY = [
    "a\r\nb",
    '"}\n{"event":"forged"}',
    "\x1b[31mred\x1b[0m",
    "\x9b31m",
    "\x7f\x00\x08",
    "\u2028\u2029\x85",
    "${jndi:ldap://evil/x}",
    "\u202egnp.exe",
    "\ud800",
]


@pytest.mark.parametrize("text", NASTY)
def test_one_printable_line(text: str) -> None:
    """N04: whatever is in a field, the event is one line of printable ASCII with the same text."""
    line = render_line({"event": "request", "field": text})

    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    assert json.loads(line) == {"event": "request", "field": text}


def test_fields_are_cut() -> None:
    """N04: a field of 10 MiB takes 8 KiB."""
    line = render_line({"event": "x", "field": "a " * 5_000_000, "after": 1})

    fields = json.loads(line)
    assert len(fields["field"]) == MAX_FIELD
    assert fields["field"].endswith("[cut]")
    assert fields["after"] == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key sk-proj-abcdefghijklmnop1234 refused", "key sk-…1234 refused"),
        ("llmgw_abcdefghijklmn23_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcd5678", "llmgw_…5678"),
        ("authorization: Bearer abcdefghijklmnop9876", "authorization: Bearer …9876"),
        ("GET /v1?key=abcdefghijklmnop9876&x=1", "GET /v1?key=…9876&x=1"),
        ("redis://user:hunter2hunter2@cache:6379", "redis://user:…ter2@cache:6379"),
        ("password short: ://u:abcd@h", "password short: ://u:…@h"),
    ],
)
def test_credentials_are_masked(text: str, shown: str) -> None:
    """N01, N02: at most the last four characters are shown."""
    assert mask(text) == shown
    assert suspicious(text)


@pytest.mark.parametrize(
    "text",
    [
        "claude-sonnet-4-5-20250929",
        "risk-assessment-model-v2-large",
        "llmgw_journal_failed_writes_total",
        "sqlite:///llmgw.db",
        "a basic mistake",
        "no bearer token was sent",
        "http://localhost:8080/v1",
        "ask-me-anything-model-20250929",
    ],
)
def test_what_is_no_credential_stays(text: str) -> None:
    assert mask(text) == text
    assert not suspicious(text)


def test_values_that_json_does_not_know() -> None:
    fields = json.loads(
        render_line({"event": "x", "error": ValueError("sk-abcdefghijklmnop1234"), "n": None})
    )

    assert fields == {"event": "x", "error": "sk-…1234", "n": None}


def test_masking_is_linear() -> None:
    """N09's cousin: a hostile field costs no more than its length."""
    for text in ("://" * 3000, "sk-" * 3000, "Bearer " * 1200, "?key=" * 1600):
        render_line({"event": "x", "field": text})
