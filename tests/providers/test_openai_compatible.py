from __future__ import annotations

import pytest

from llmgw.config.providers import OpenAICompatible as Settings
from llmgw.config.vendors import VENDORS
from llmgw.dialects.endpoints import ENDPOINTS
from llmgw.dialects.openai_chat import OpenAIChat, dialect_for
from llmgw.providers.openai_compatible import OpenAICompatible
from tests.contracts.provider import ProviderContract

CHAT = ENDPOINTS["/v1/chat/completions"]
JSON = b"application/json"


def build(api_key: str | None = None, **settings: object) -> OpenAICompatible:
    values = {"kind": "openai_compatible", **settings}
    if api_key is not None:
        values["api_key"] = api_key
    return OpenAICompatible("configured-name", Settings.model_validate(values), api_key)


class TestOpenAICompatible(ProviderContract):
    @pytest.fixture(params=VENDORS)
    def provider(self, request: pytest.FixtureRequest) -> OpenAICompatible:
        return build("k" * 20, vendor=request.param)


def test_vendor_gives_place_and_quirks() -> None:
    mistral = build("key-of-mistral", vendor="mistral")

    assert mistral.vendor == "mistral"
    assert mistral.origin.host == "api.mistral.ai"
    assert not mistral.stream_usage(CHAT)
    assert build("key-of-groq", vendor="groq").stream_usage(CHAT)


def test_path_of_the_base_url_stays() -> None:
    head = build("key-of-groq", vendor="groq").head(CHAT, "llama", JSON)

    assert head is not None
    assert head.startswith(b"POST /openai/v1/chat/completions HTTP/1.1\r\nhost: api.groq.com\r\n")


def test_base_url_overrides_the_vendors() -> None:
    vllm = build(vendor="vllm", base_url="http://10.0.0.7:8000/v1")

    assert (vllm.origin.host, vllm.origin.port) == ("10.0.0.7", 8000)
    assert vllm.origin.allow_private


def test_no_key_no_authorization() -> None:
    head = build(vendor="vllm").head(CHAT, "m", JSON)

    assert head is not None
    assert b"authorization" not in head
    assert b"host: 127.0.0.1:8000\r\n" in head


def test_service_without_a_row() -> None:
    other = build("k1", base_url="https://llm.example.com:8443/api")

    head = other.head(CHAT, "m", JSON)
    assert head is not None
    assert head.startswith(b"POST /api/chat/completions HTTP/1.1\r\nhost: llm.example.com:8443\r\n")
    assert other.vendor is None
    assert other.stream_usage(CHAT)


def test_ipv6_host_in_brackets() -> None:
    local = build(base_url="http://[::1]:8000/v1", allow_private=True)

    head = local.head(CHAT, "m", JSON)
    assert head is not None
    assert b"host: [::1]:8000\r\n" in head
    assert local.origin.host == "::1"


@pytest.mark.parametrize("name", VENDORS)
def test_what_is_asked_for_is_what_is_written(name: str) -> None:
    """Whether the client's own request is completed, or one is written in OpenAI's dialect for it."""
    dialect = dialect_for(name)

    assert isinstance(dialect, OpenAIChat)
    assert dialect.vendor.stream_options is VENDORS[name].stream_usage
