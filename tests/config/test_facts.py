from __future__ import annotations

from pathlib import Path

import pytest

from llmgw.config.load import document_from_text
from llmgw.config.problems import ConfigError
from llmgw.core.facts import UNKNOWN, ModelFacts

FILE = """
version: 1
providers: {e: {kind: echo}}
models: {m: {targets: [{provider: e, model: m}], facts: %s}}
"""


def test_facts_are_read() -> None:
    document = document_from_text(FILE % "{context: 128k, max_output: 16384, images: true, tools: false}")

    assert document.models["m"].facts.said == ModelFacts(128_000, 16384, True, False)


def test_nothing_is_said() -> None:
    assert document_from_text(FILE % "{}").models["m"].facts.said == UNKNOWN


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ("{image: true}", 'facts.image: unknown key; did you mean "images"?'),
        ("{context: 0}", "facts.context: must be at least 1"),
        ("{tools: 'off'}", "facts.tools: must be true or false"),
    ],
)
def test_facts_that_are_none(facts: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        document_from_text(FILE % facts, path=Path("f.yaml"))

    assert str(refused.value).endswith(reason)
