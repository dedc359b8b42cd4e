"""Secrets from environment variables."""

from __future__ import annotations

import pytest

from llmgw.ports.secrets import SecretUnavailable
from llmgw.secrets.env import EnvSource


def test_value() -> None:
    found = EnvSource({"KEY": "sk-1"}).read("KEY")

    assert (found.value, found.warning) == ("sk-1", None)
    assert "sk-1" not in repr(found)


@pytest.mark.parametrize("raw", ["sk-1\n", "sk-1\r\n", "sk-1\n\n"])
def test_m13_line_break_is_trimmed_with_a_warning(raw: str) -> None:
    found = EnvSource({"KEY": raw}).read("KEY")

    assert found.value == "sk-1"
    assert found.warning == "environment variable KEY ends in a line break, which was cut off"


@pytest.mark.parametrize(
    ("environ", "reason"), [({}, "is not set"), ({"KEY": ""}, "is empty"), ({"KEY": "\n"}, "is empty")]
)
def test_m13_missing_or_empty(environ: dict[str, str], reason: str) -> None:
    with pytest.raises(SecretUnavailable, match=f"environment variable KEY {reason}"):
        EnvSource(environ).read("KEY")
