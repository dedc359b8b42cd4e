from __future__ import annotations

import pytest

from llmgw.config.providers import Gemini as Settings
from llmgw.core.operation import Operation
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, GENERATE, STREAM_GENERATE
from llmgw.providers.gemini import Gemini


@pytest.fixture
def provider() -> Gemini:
    return Gemini("google", Settings.model_validate({"kind": "gemini", "api_key": "g-key"}), "g-key")


def test_the_model_stands_in_the_path(provider: Gemini) -> None:
    head = provider.head(STREAM_GENERATE, "gemini-2.5-pro", b"application/json")

    assert head is not None
    assert head.startswith(b"POST /v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse HTTP/1.1\r\n")
    assert b"x-goog-api-key: g-key\r\n" in head
    assert b"host: generativelanguage.googleapis.com\r\n" in head


@pytest.mark.parametrize("model", ["../../files", "a?key=b", "a b", "x:deleteModel", "a\r\nx: y"])
def test_a_model_cannot_leave_its_place(provider: Gemini, model: str) -> None:
    """Where every name is passed on, the name is the caller's."""
    head = provider.head(GENERATE, model, b"application/json")

    assert head is not None
    target = head.split(b" ")[1]
    assert target.count(b"/") == 3
    assert target.endswith(b":generateContent")
    assert target.count(b":") == 1
    assert b"?" not in target


def test_other_dialects_are_not_served(provider: Gemini) -> None:
    assert provider.head(CHAT_COMPLETIONS, "m", b"application/json") is None
    assert provider.own_endpoint(Operation.CHAT, "m", True) is STREAM_GENERATE
    assert provider.own_endpoint(Operation.CHAT, "m", False) is GENERATE
