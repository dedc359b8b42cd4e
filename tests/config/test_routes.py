"""What a route may say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmgw.config.load import document_from_text
from llmgw.config.routes import checked_pattern

ECHO = "version: 1\nproviders: {e: {kind: echo}}\nmodels: {m: {targets: [{provider: e, model: x}]}}\n"


@pytest.mark.parametrize("pattern", ["(a+)+", "(a|aa)*b", r"(a)\1", "a?" * 40, ".*.*.*x", "("])
def test_patterns_that_could_take_long(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"could take long|not a regular"):
        checked_pattern(pattern)


@pytest.mark.parametrize("pattern", ["eu-.*", "(red|blue)-[0-9]+", "[a-z]++-[a-z]++-[0-9]++"])
def test_patterns_that_decide_soon(pattern: str) -> None:
    assert checked_pattern(pattern) == pattern


@pytest.mark.parametrize(
    ("route", "refusal"),
    [
        ("{name: r, model: n}", 'routes[0].model: no model named "n"'),
        (
            "{name: r, targets: [{provider: f, model: x}]}",
            'routes[0].targets[0].provider: no provider named "f"',
        ),
        ("{name: r, tenant: t}", 'routes[0].tenant: no tenant named "t"'),
        ("{name: r, strip_prefix: /fast}", "routes[0].strip_prefix: needs match.path to begin with it"),
        ("{name: r, cache: {mode: exact}}", "routes[0].cache: not available in this version"),
    ],
)
def test_refused(route: str, refusal: str, refusals: Callable[..., list[str]]) -> None:
    assert any(refusal in line for line in refusals(f"{ECHO}routes: [{route}]"))


def test_a_route_nobody_gets_to() -> None:
    text = ECHO + "routes: [{name: a, match: {model: 'm*'}}, {name: b, match: {model: m, user: u}}]"

    (warning,) = document_from_text(text).warnings
    assert "routes[1]: no request gets here" in str(warning)
