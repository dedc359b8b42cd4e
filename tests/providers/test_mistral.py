from __future__ import annotations

import json

import pytest

from llmgw import __version__
from llmgw.config.providers import Mistral as Settings
from llmgw.core.operation import Operation
from llmgw.core.target import Target
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, ENDPOINTS, MESSAGES
from llmgw.dialects.registry import client_dialect, target_dialect
from llmgw.providers.mistral import Mistral
from llmgw.tokens.catalogue import quote

JSON = b"application/json"
NOON = 1_781_524_800.0


@pytest.fixture
def provider() -> Mistral:
    settings = Settings.model_validate({"kind": "mistral", "api_key": "mistral-key"})
    return Mistral("configured-name", settings, "mistral-key")


def test_head_in_full(provider: Mistral) -> None:
    assert provider.head(CHAT_COMPLETIONS, "mistral-large-latest", JSON) == (
        b"POST /v1/chat/completions HTTP/1.1\r\n"
        b"host: api.mistral.ai\r\n"
        b"authorization: Bearer mistral-key\r\n"
        b"content-type: application/json\r\n"
        b"accept-encoding: identity\r\n"
        b"user-agent: llmgw/" + __version__.encode() + b"\r\n"
    )


def test_what_it_serves(provider: Mistral) -> None:
    """Responses go by chat completions."""
    served = {path for path, endpoint in ENDPOINTS.items() if provider.head(endpoint, "m", JSON) is not None}

    assert served == {"/v1/chat/completions", "/v1/embeddings", "/v1/moderations", "/v1/audio/transcriptions"}
    assert provider.head(MESSAGES, "m", JSON) is None
    assert provider.own_endpoint(Operation.CHAT, "m", True) is CHAT_COMPLETIONS


def test_usage_comes_unasked(provider: Mistral) -> None:
    assert not provider.stream_usage(CHAT_COMPLETIONS)


def test_translated_requests_hold_what_it_knows(provider: Mistral) -> None:
    """It answers 422 to any other member."""
    target = Target("configured-name", provider.kind, provider.vendor, "m", "https://api.mistral.ai:443")
    asked = {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_completion_tokens": 9,
        "seed": 7,
        "user": "u",
        "logit_bias": {"1": 2},
        "store": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    request = client_dialect(CHAT_COMPLETIONS).parse_request(json.dumps(asked).encode(), "m", True)

    rendered = target_dialect(CHAT_COMPLETIONS, target).render_request(request)

    assert json.loads(rendered.body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 9,
        "random_seed": 7,
        "stream": True,
    }
    assert {"logit_bias", "store", "user"} <= set(rendered.dropped)


def test_prices_are_mistrals(provider: Mistral) -> None:
    prices = quote(provider.kind, provider.vendor, None, "mistral-large-latest", NOON).prices

    assert prices is not None
    assert " mistral/" in prices.source
