from __future__ import annotations

import pytest

from llmgw import __version__
from llmgw.config.providers import Cohere as Settings
from llmgw.core.operation import Operation
from llmgw.core.target import Target
from llmgw.dialects.cohere import DIALECT
from llmgw.dialects.endpoints import COHERE, COHERE_CHAT, COHERE_EMBED, COHERE_RERANK, ENDPOINTS
from llmgw.dialects.registry import target_dialect
from llmgw.providers.cohere import Cohere

JSON = b"application/json"


@pytest.fixture
def provider() -> Cohere:
    settings = Settings.model_validate({"kind": "cohere", "api_key": "cohere-key"})
    return Cohere("configured-name", settings, "cohere-key")


def test_head_in_full(provider: Cohere) -> None:
    assert provider.head(COHERE_CHAT, "command-a-03-2025", JSON) == (
        b"POST /v2/chat HTTP/1.1\r\n"
        b"host: api.cohere.com\r\n"
        b"authorization: Bearer cohere-key\r\n"
        b"content-type: application/json\r\n"
        b"accept-encoding: identity\r\n"
        b"user-agent: llmgw/" + __version__.encode() + b"\r\n"
    )


def test_its_own_paths_and_no_others_are_passed_on(provider: Cohere) -> None:
    target = Target("configured-name", provider.kind, provider.vendor, "m", "https://api.cohere.com:443")

    for endpoint in ENDPOINTS.values():
        assert (provider.head(endpoint, "m", JSON) is not None) == (endpoint.dialect == COHERE)
    assert provider.own_endpoint(Operation.EMBEDDINGS, "m", False) is COHERE_EMBED
    assert provider.own_endpoint(Operation.RERANK, "m", False) is COHERE_RERANK
    assert provider.own_endpoint(Operation.CHAT, "m", True) is COHERE_CHAT
    assert provider.own_endpoint(Operation.CHAT, "m", False) is COHERE_CHAT
    assert target_dialect(COHERE_CHAT, target) is DIALECT


def test_usage_comes_unasked(provider: Cohere) -> None:
    assert not provider.stream_usage(COHERE_CHAT)


def test_its_base_url_ends_before_the_version() -> None:
    with pytest.raises(ValueError, match="must end before /v2"):
        Settings.model_validate(
            {"kind": "cohere", "api_key": "k", "base_url": "https://api.cohere.com/v2"},
        )
