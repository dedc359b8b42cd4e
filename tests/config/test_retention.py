"""How long records stay."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmgw.config.load import document_from_text

ECHO = "version: 1\nproviders: {e: {kind: echo}}\n"


@pytest.mark.parametrize(("written", "seconds"), [("400d", 400 * 86_400), ("off", None), ("1w", 7 * 86_400)])
def test_usage(written: str, seconds: float | None) -> None:
    document = document_from_text(f"{ECHO}retention: {{usage: {written}}}")

    assert document.retention.usage == seconds
    assert document_from_text(ECHO).retention.usage is None


@pytest.mark.parametrize(
    ("written", "refusal"),
    [
        ("12h", "f.yaml:3 retention.usage: must be 1d or more: usage is kept by the day"),
        ("400", "f.yaml:3 retention.usage: 400 needs a unit; write it like 30s (units: ms, s, m, h, d, w)"),
    ],
)
def test_refused(written: str, refusal: str, refusals: Callable[..., list[str]]) -> None:
    assert refusals(f"{ECHO}retention: {{usage: {written}}}") == [refusal]


@pytest.mark.parametrize("kind", ["bodies", "audit"])
def test_what_is_not_kept_yet_is_refused_by_name(kind: str, refusals: Callable[..., list[str]]) -> None:
    assert refusals(f"{ECHO}retention: {{{kind}: 30d}}") == [
        f"f.yaml:3 retention.{kind}: not available in this version"
    ]
