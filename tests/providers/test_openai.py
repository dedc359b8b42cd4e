from __future__ import annotations

from typing import Any

import pytest

from llmgw import __version__
from llmgw.config.providers import OpenAI as Settings
from llmgw.dialects.endpoints import ENDPOINTS
from llmgw.providers.openai import OpenAI
from tests.contracts.provider import ProviderContract

CHAT = ENDPOINTS["/v1/chat/completions"]
CANARY = "sk-canary-0123456789abcdef"


def openai(api_key: str = CANARY, **settings: Any) -> OpenAI:
    return OpenAI("configured-name", Settings(kind="openai", api_key=CANARY, **settings), api_key)


class TestOpenAI(ProviderContract):
    @pytest.fixture
    def provider(self) -> OpenAI:
        return openai()


def test_head_in_full() -> None:
    head = openai(organization="org-1", project="proj-1").head(CHAT, "gpt-4o", b"application/json")

    assert head == (
        b"POST /v1/chat/completions HTTP/1.1\r\n"
        b"host: api.openai.com\r\n"
        b"authorization: Bearer sk-canary-0123456789abcdef\r\n"
        b"openai-organization: org-1\r\n"
        b"openai-project: proj-1\r\n"
        b"content-type: application/json\r\n"
        b"accept-encoding: identity\r\n"
        b"user-agent: llmgw/" + __version__.encode() + b"\r\n"
    )


def test_stream_usage_is_accepted() -> None:
    assert openai().stream_usage(CHAT)


@pytest.mark.parametrize("tail", ["\r\nx-evil: 1", "\n", "\0", "\u2028", "\x1b[31m", " "])
def test_key_that_no_header_can_carry(tail: str) -> None:
    """N01: it is refused without being repeated."""
    with pytest.raises(ValueError, match="authorization") as refusal:
        openai(api_key=CANARY + tail).head(CHAT, "gpt-4o", b"application/json")

    assert "canary" not in repr(refusal.value)


def test_place_follows_the_settings() -> None:
    origin = openai(
        base_url="http://127.0.0.1:9000/base/v1",
        allow_private=True,
        proxy="http://user:pass@proxy.test:3128",
        ca="/etc/ca.pem",
    ).origin

    assert (origin.scheme, origin.host, origin.port, origin.allow_private) == (
        "http",
        "127.0.0.1",
        9000,
        True,
    )
    assert origin.proxy == "http://user:pass@proxy.test:3128"
    assert origin.ca == "/etc/ca.pem"
