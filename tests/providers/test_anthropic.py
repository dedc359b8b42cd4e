from __future__ import annotations

from typing import Any

import pytest

from llmgw import __version__
from llmgw.config.providers import Anthropic as Settings
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import ANTHROPIC, ENDPOINTS, MESSAGES
from llmgw.ports.provider import Provider
from llmgw.providers.anthropic import Anthropic
from tests.contracts.provider import ProviderContract

COUNT_TOKENS = Endpoint("/v1/messages/count_tokens", ANTHROPIC, Operation.CHAT, "/v1/messages/count_tokens")
JSON = b"application/json"
CANARY = "sk-ant-canary-0123456789abcdef"


def anthropic(api_key: str = CANARY, **settings: Any) -> Anthropic:
    return Anthropic("configured-name", Settings(kind="anthropic", api_key=CANARY, **settings), api_key)


class TestAnthropic(ProviderContract):
    """The contract's parts that name paths are held at those of this dialect."""

    @pytest.fixture
    def provider(self) -> Anthropic:
        return anthropic()

    @pytest.mark.parametrize("path", [MESSAGES.path])
    def test_head_is_what_a_transport_takes(self, provider: Provider, path: str) -> None:
        super().test_head_is_what_a_transport_takes(provider, path)

    @pytest.mark.parametrize("content_type", [b"a/b\r\nx-evil: 1", b"a/b\nx-evil: 1", b"a/b\0x-evil: 1"])
    def test_content_type_cannot_add_a_header(self, provider: Provider, content_type: bytes) -> None:
        with pytest.raises(ValueError, match="content-type"):
            provider.head(MESSAGES, "some-model", content_type)

    @pytest.mark.parametrize("path", ENDPOINTS)
    def test_usage_is_asked_for_only_where_the_wire_has_it(self, provider: Provider, path: str) -> None:
        assert not provider.stream_usage(ENDPOINTS[path])


def test_head_in_full() -> None:
    assert anthropic().head(MESSAGES, "claude-sonnet-4-5", JSON) == (
        b"POST /v1/messages HTTP/1.1\r\n"
        b"host: api.anthropic.com\r\n"
        b"x-api-key: sk-ant-canary-0123456789abcdef\r\n"
        b"anthropic-version: 2023-06-01\r\n"
        b"content-type: application/json\r\n"
        b"accept-encoding: identity\r\n"
        b"user-agent: llmgw/" + __version__.encode() + b"\r\n"
    )


def test_tokens_are_counted_beside_it() -> None:
    head = anthropic(base_url="https://gateway.test/anthropic").head(COUNT_TOKENS, "claude-sonnet-4-5", JSON)

    assert head is not None
    assert head.startswith(b"POST /anthropic/v1/messages/count_tokens HTTP/1.1\r\nhost: gateway.test\r\n")


def test_conversations_are_had_at_messages() -> None:
    assert anthropic().own_endpoint(Operation.CHAT, "m", False) is MESSAGES


def test_what_a_client_wants_of_betas_goes_on() -> None:
    assert anthropic().forwards == (b"anthropic-beta",)


@pytest.mark.parametrize("tail", ["\r\nx-evil: 1", "\n", "\0", "\u2028", "\x1b[31m", " "])
def test_key_that_no_header_can_carry(tail: str) -> None:
    """N01: it is refused without being repeated."""
    with pytest.raises(ValueError, match="x-api-key") as refusal:
        anthropic(api_key=CANARY + tail).head(MESSAGES, "claude-sonnet-4-5", JSON)

    assert "canary" not in repr(refusal.value)


def test_missing_key_is_no_empty_header() -> None:
    with pytest.raises(ValueError, match="x-api-key"):
        Anthropic("n", Settings(kind="anthropic", api_key=CANARY), None).head(MESSAGES, "m", JSON)
