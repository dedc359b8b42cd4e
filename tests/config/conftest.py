"""Configurations from text, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from llmgw.config.load import document_from_text
from llmgw.config.problems import ConfigError

Refusals = Callable[..., list[str]]


@pytest.fixture
def refusals() -> Refusals:
    """Every problem of a text, as it is printed, in a file named `f.yaml`."""

    def find(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            document_from_text(text, path=Path("f.yaml"), environ=environ)
        return [str(problem) for problem in caught.value.problems]

    return find
