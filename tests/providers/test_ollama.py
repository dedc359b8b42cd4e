from __future__ import annotations

import pytest

from llmgw import __version__
from llmgw.config.providers import Ollama as Settings
from llmgw.core.operation import Operation
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, ENDPOINTS, MESSAGES, OLLAMA_CHAT, OLLAMA_GENERATE
from llmgw.providers.ollama import Ollama
from llmgw.tokens.catalogue import quote

JSON = b"application/json"
NOON = 1_781_524_800.0


def ollama(api_key: str | None = None, **settings: object) -> Ollama:
    values = {"kind": "ollama", **settings}
    if api_key is not None:
        values["api_key"] = api_key
    return Ollama("configured-name", Settings.model_validate(values), api_key)


def test_head_in_full() -> None:
    assert ollama().head(OLLAMA_CHAT, "llama3.2", JSON) == (
        b"POST /api/chat HTTP/1.1\r\n"
        b"host: 127.0.0.1:11434\r\n"
        b"content-type: application/json\r\n"
        b"accept-encoding: identity\r\n"
        b"user-agent: llmgw/" + __version__.encode() + b"\r\n"
    )


def test_place_and_key_follow_the_settings() -> None:
    """It runs on the operator's own network, so private addresses are expected."""
    provider = ollama("ollama-key", base_url="http://10.0.0.7:8080/box")

    head = provider.head(OLLAMA_GENERATE, "llama3.2", JSON)

    assert head is not None
    assert head.startswith(b"POST /box/api/generate HTTP/1.1\r\nhost: 10.0.0.7:8080\r\n")
    assert b"authorization: Bearer ollama-key\r\n" in head
    assert provider.origin.allow_private


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
def test_openais_paths_are_served_beside_its_own(path: str) -> None:
    head = ollama().head(ENDPOINTS[path], "llama3.2", JSON)

    assert head is not None
    assert head.startswith(b"POST %b HTTP/1.1\r\n" % path.encode())


@pytest.mark.parametrize(
    "path", ["/v1/responses", "/v1/moderations", "/v1/images/generations", "/v1/audio/speech"]
)
def test_what_it_has_not(path: str) -> None:
    assert ollama().head(ENDPOINTS[path], "llama3.2", JSON) is None


def test_conversations_of_other_dialects_go_to_its_own_api() -> None:
    assert ollama().head(MESSAGES, "llama3.2", JSON) is None
    assert ollama().own_endpoint(Operation.CHAT, "m", True) is OLLAMA_CHAT
    assert ollama().own_endpoint(Operation.CHAT, "m", False) is OLLAMA_CHAT


def test_usage_is_asked_for_where_it_is_openais() -> None:
    assert ollama().stream_usage(CHAT_COMPLETIONS)
    assert ollama().stream_usage(ENDPOINTS["/v1/completions"])
    assert not ollama().stream_usage(ENDPOINTS["/v1/embeddings"])
    assert not ollama().stream_usage(OLLAMA_CHAT)


def test_nobody_sells_it() -> None:
    """Its price is unknown, which is not free."""
    provider = ollama()

    assert quote(provider.kind, provider.vendor, "http://127.0.0.1:11434", "llama3.2", NOON).prices is None
