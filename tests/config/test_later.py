"""What this version does not act on is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmgw.config.later import LATER
from llmgw.config.load import document_from_text

ECHO = "version: 1\nproviders: {e: {kind: echo}}\n"
SECTIONS = sorted({pattern[0] for pattern in LATER if len(pattern) == 1})


@pytest.mark.parametrize("section", SECTIONS)
def test_sections(section: str, refusals: Callable[..., list[str]]) -> None:
    """A limit that is accepted and not applied would be worse than none."""
    assert refusals(f"{ECHO}{section}: {{x: 1}}") == [f"f.yaml:3 {section}: not available in this version"]


@pytest.mark.parametrize("section", SECTIONS)
def test_null_is_absent(section: str) -> None:
    assert document_from_text(f"{ECHO}{section}: null", path=Path("f.yaml"))


def test_a_tenants_models_are_held_to_the_same() -> None:
    own = {pattern[2:] for pattern in LATER if pattern[:3] == ("tenants", "*", "models")}

    assert own == {pattern for pattern in LATER if pattern[0] == "models"}
