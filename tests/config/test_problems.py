"""Problems read well and lead to the line."""

from __future__ import annotations

import pytest

from llmgw.config.problems import ConfigError, Path, Place, Problem, nearest, problem_at, render_path


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("routes", 2, "targets", 0, "provider"), "routes[2].targets[0].provider"),
        (("models", "gpt-4.1", "targets"), 'models."gpt-4.1".targets'),
        (("users", "a b\n"), 'users."a b\\n"'),
        (("tenants", ""), 'tenants.""'),
    ],
)
def test_paths(path: Path, text: str) -> None:
    assert render_path(path) == text


def test_the_whole_sentence() -> None:
    problem = problem_at(Place("config.yaml", 41), ("routes", 2), 'no provider named "azure-ue"', "azure-eu")

    assert str(problem) == 'config.yaml:41 routes[2]: no provider named "azure-ue"; did you mean "azure-eu"?'


def test_order_is_the_texts() -> None:
    """The same problem found twice is told once."""
    late, early = Problem("f", 20, "b", "x"), Problem("f", 3, "a", "x")

    error = ConfigError([late, early, late])

    assert error.problems == (early, late)
    assert str(error) == "f:3 a: x\nf:20 b: x"


def test_nearest() -> None:
    assert nearest("Opnai", ["openai", "echo"]) == "openai"
    assert nearest("zzz", ["openai", "echo"]) is None
