"""Secrets are parsed without being resolved, and never shown."""

from __future__ import annotations

import pytest

from llmgw.config.secret import Secret
from llmgw.ports.secrets import SecretRef


def test_reference() -> None:
    secret = Secret.parse("${env:OPENAI_API_KEY}")

    assert secret.references == (SecretRef("env", "OPENAI_API_KEY"),)
    assert str(secret) == "${env:OPENAI_API_KEY}"
    with pytest.raises(LookupError, match="has not been resolved"):
        secret.get_secret_value()


def test_literal() -> None:
    secret = Secret.parse("sk-live")

    assert secret.get_secret_value() == "sk-live"
    assert secret.references == ()
    assert "sk-live" not in f"{secret!r}{secret}"


def test_reference_inside_text() -> None:
    """The reference stays readable, the text around it is masked."""
    secret = Secret.parse("http://u:${env:PW}@proxy:1${file:tail}")

    assert str(secret) == "********${env:PW}********${file:tail}"
    values = {SecretRef("env", "PW"): "p", SecretRef("file", "tail"): "/"}
    assert secret.resolved(values).get_secret_value() == "http://u:p@proxy:1/"


def test_equality_follows_the_value() -> None:
    """A rotated secret is another secret: what was built with the old one is built anew."""
    reference = Secret.parse("${env:X}")
    old = reference.resolved({SecretRef("env", "X"): "old"})

    assert old == reference.resolved({SecretRef("env", "X"): "old"})
    assert old != reference.resolved({SecretRef("env", "X"): "new"})
    assert old != reference
    assert hash(old) == hash(reference.resolved({SecretRef("env", "X"): "old"}))
    assert old != "old"
    assert Secret.parse(old) is old


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("${OPENAI_API_KEY}", "without a scheme"),
        ("${}", "without a scheme"),
        ("${evn:X}", 'unknown reference scheme "evn".*did you mean "env"'),
        ("${vault:secret/llm#key}", "not available in this version"),
        ("${env:}", "needs a variable name"),
        ("${env:A-B}", "needs a variable name"),
        ("${file: }", "needs a path"),
        ("${env:X", "without its closing brace"),
        ("a\nb", "line break"),
        ("", "not empty"),
        ("  ", "not empty"),
        (None, "must be text"),
        (5, "must be text"),
    ],
)
def test_refused(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Secret.parse(value)
