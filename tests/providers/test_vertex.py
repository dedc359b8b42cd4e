from __future__ import annotations

from typing import Any

import pytest

from llmgw import __version__
from llmgw.config.clouds import Vertex as Settings
from llmgw.core.operation import Endpoint, Operation
from llmgw.dialects.endpoints import (
    BATCH_EMBED_CONTENTS,
    CHAT_COMPLETIONS,
    ENDPOINTS,
    GENERATE,
    MISTRAL_RAW_PREDICT,
    MISTRAL_STREAM_RAW_PREDICT,
    RAW_PREDICT,
    STREAM_GENERATE,
    STREAM_RAW_PREDICT,
    VERTEX_PREDICT,
)
from llmgw.providers.token_keeper import TokenKeeper
from llmgw.providers.vertex import Vertex
from llmgw.tokens.catalogue import quote
from tests.fakes.google import service_account

JSON = b"application/json"
CLAUDE = "claude-sonnet-4-5@20250929"


def vertex(**members: Any) -> Vertex:
    given: dict[str, Any] = {"kind": "vertex", "project": "my-project", "location": "europe-west4", **members}
    if not {"credentials", "metadata_server", "access_token"} & given.keys():
        given["access_token"] = "ya29.t"
    return Vertex("configured-name", Settings.model_validate(given), None)


def test_head_in_full() -> None:
    assert vertex().head(GENERATE, "gemini-2.5-pro", JSON) == (
        b"POST /v1/projects/my-project/locations/europe-west4/publishers/google/models/gemini-2.5-pro"
        b":generateContent HTTP/1.1\r\n"
        b"host: europe-west4-aiplatform.googleapis.com\r\n"
        b"authorization: Bearer ya29.t\r\n"
        b"content-type: application/json\r\n"
        b"accept-encoding: identity\r\n"
        b"user-agent: llmgw/" + __version__.encode() + b"\r\n"
    )


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("us-east5", "us-east5-aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_each_location_has_its_host(location: str, host: str) -> None:
    assert vertex(location=location).origin.host == host


def test_claude_is_anthropics() -> None:
    provider = vertex(location="global")
    head = provider.head(STREAM_RAW_PREDICT, CLAUDE, JSON)

    assert head is not None
    assert head.startswith(
        b"POST /v1/projects/my-project/locations/global/publishers/anthropic/models/"
        b"claude-sonnet-4-5@20250929:streamRawPredict HTTP/1.1\r\n"
    )
    assert provider.own_endpoint(Operation.CHAT, CLAUDE, True) is STREAM_RAW_PREDICT
    assert provider.own_endpoint(Operation.CHAT, CLAUDE, False) is RAW_PREDICT
    assert provider.own_endpoint(Operation.EMBEDDINGS, CLAUDE, False) is None
    assert provider.head(GENERATE, CLAUDE, JSON) is None
    assert provider.forwards == (b"anthropic-beta",)


def test_googles_models_speak_gemini() -> None:
    provider = vertex()

    assert provider.own_endpoint(Operation.CHAT, "gemini-2.5-pro", True) is STREAM_GENERATE
    assert provider.own_endpoint(Operation.CHAT, "gemini-2.5-pro", False) is GENERATE
    assert provider.own_endpoint(Operation.EMBEDDINGS, "text-embedding-005", False) is VERTEX_PREDICT
    assert provider.own_endpoint(Operation.RERANK, "m", False) is None
    assert provider.head(RAW_PREDICT, "gemini-2.5-pro", JSON) is None
    assert provider.head(BATCH_EMBED_CONTENTS, "text-embedding-005", JSON) is None
    assert not provider.stream_usage(STREAM_GENERATE)


@pytest.mark.parametrize(
    ("model", "endpoint", "path"),
    [
        ("google/gemini-2.5-pro", GENERATE, "publishers/google/models/gemini-2.5-pro:generateContent"),
        ("publishers/google/models/g", GENERATE, "publishers/google/models/g:generateContent"),
        ("publishers/anthropic/models/c", RAW_PREDICT, "publishers/anthropic/models/c:rawPredict"),
        (
            "mistral-small-2503",
            MISTRAL_RAW_PREDICT,
            "publishers/mistralai/models/mistral-small-2503:rawPredict",
        ),
        ("codestral-2501", MISTRAL_RAW_PREDICT, "publishers/mistralai/models/codestral-2501:rawPredict"),
        ("meta/llama-3.3-70b-instruct-maas", CHAT_COMPLETIONS, "endpoints/openapi/chat/completions"),
        ("1234567890", GENERATE, "publishers/google/models/1234567890:generateContent"),
        ("endpoints/1234567890", GENERATE, "endpoints/1234567890:generateContent"),
        ("endpoints/12/chat/completions", CHAT_COMPLETIONS, "endpoints/12/chat/completions"),
    ],
)
def test_the_name_says_whose_model_it_is(model: str, endpoint: Endpoint, path: str) -> None:
    provider = vertex()
    head = provider.head(endpoint, model, JSON)

    assert provider.own_endpoint(Operation.CHAT, model, False) is endpoint
    assert head is not None
    assert head.split(b" ")[1].decode() == f"/v1/projects/my-project/locations/europe-west4/{path}"


def test_streams_of_each() -> None:
    provider = vertex()

    assert provider.own_endpoint(Operation.CHAT, "endpoints/1", True) is STREAM_GENERATE
    assert provider.own_endpoint(Operation.CHAT, "mistral-small-2503", True) is MISTRAL_STREAM_RAW_PREDICT
    assert provider.own_endpoint(Operation.CHAT, "meta/llama", True) is CHAT_COMPLETIONS
    assert provider.stream_usage(CHAT_COMPLETIONS)
    assert provider.own_endpoint(Operation.CHAT, "publishers/mistralai/models/m", True) is None


def test_no_path_of_ours_is_its_own() -> None:
    assert all(vertex().head(endpoint, "m", JSON) is None for endpoint in ENDPOINTS.values())


def test_a_model_cannot_leave_its_place() -> None:
    head = vertex().head(GENERATE, "google/../../evil?x=/y", JSON)
    tuned = vertex().head(GENERATE, "endpoints/../../evil", JSON)
    elsewhere = vertex().head(CHAT_COMPLETIONS, "../../evil", JSON)

    assert head is not None
    assert b"/models/..%2F..%2Fevil%3Fx%3D%2Fy:generateContent " in head
    assert tuned is not None
    assert b"/endpoints/..%2F..%2Fevil:generateContent " in tuned
    assert elsewhere is not None
    assert b"/endpoints/openapi/chat/completions " in elsewhere


def test_tokens_come_from_where_the_settings_say() -> None:
    assert vertex().signer is None
    assert isinstance(vertex(metadata_server=True).signer, TokenKeeper)
    by_file = vertex(credentials=service_account("https://oauth2.googleapis.com/token"))
    head = by_file.head(GENERATE, "m", JSON)

    assert isinstance(by_file.signer, TokenKeeper)
    assert head is not None
    assert b"authorization" not in head


@pytest.mark.parametrize("model", ["gemini-2.5-pro", CLAUDE])
def test_its_models_have_prices(model: str) -> None:
    assert quote("vertex", None, None, model, 1.7e9).prices is not None
