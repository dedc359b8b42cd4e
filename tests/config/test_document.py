"""What a document answers to whoever compiles it."""

from __future__ import annotations

from llmgw.config.load import document_from_text

ECHO = "version: 1\nproviders: {e: {kind: echo}}\n"


def test_passthrough() -> None:
    """Only a tenant without any models has it."""
    document = document_from_text(
        ECHO + "tenants: {a: {}, b: {models: {m: {targets: [{provider: e, model: x}]}}}}"
    )

    assert document.passthrough("a") == "e"
    assert document.passthrough("b") is None


def test_own_provider_comes_first() -> None:
    document = document_from_text(
        "version: 1\nproviders: {p: {kind: echo}}\n"
        "tenants: {a: {providers: {p: {kind: echo, tokens_per_second: 7}}}, b: {}}"
    )

    assert document.provider("a", "p") == document.tenants["a"].providers["p"]
    assert document.provider("b", "p") == document.providers["p"]
    assert document.provider("b", "q") is None
    assert document.owns_provider("a", "p")
    assert not document.owns_provider("b", "p")
