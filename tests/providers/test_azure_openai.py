from __future__ import annotations

from typing import Any

import pytest

from llmgw import __version__
from llmgw.config.clouds import AzureOpenAI as Settings
from llmgw.core.operation import Operation
from llmgw.core.target import Target
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, ENDPOINTS, MESSAGES
from llmgw.dialects.openai_chat import OpenAIChat
from llmgw.dialects.registry import target_dialect
from llmgw.providers.azure_openai import AzureOpenAI
from llmgw.tokens.catalogue import quote

JSON = b"application/json"
NOON = 1_781_524_800.0
DEPLOYED = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/audio/speech",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
)


def azure(**settings: Any) -> AzureOpenAI:
    values = {"kind": "azure_openai", "base_url": "https://eu.openai.azure.com", **settings}
    if "entra_token" not in values:
        values["api_key"] = "azure-key"
    return AzureOpenAI("configured-name", Settings.model_validate(values), values.get("api_key"))


def target_of(head: bytes | None) -> bytes:
    assert head is not None
    return head.split(b" ")[1]


def test_head_in_full() -> None:
    head = azure(deployments={"gpt-4o": "gpt4o-prod"}).head(CHAT_COMPLETIONS, "gpt-4o", JSON)

    assert head == (
        b"POST /openai/deployments/gpt4o-prod/chat/completions?api-version=2024-10-21 HTTP/1.1\r\n"
        b"host: eu.openai.azure.com\r\n"
        b"api-key: azure-key\r\n"
        b"content-type: application/json\r\n"
        b"accept-encoding: identity\r\n"
        b"user-agent: llmgw/" + __version__.encode() + b"\r\n"
    )


def test_token_of_entra_stands_in_authorization() -> None:
    head = azure(entra_token="entra-token").head(CHAT_COMPLETIONS, "gpt-4o", JSON)

    assert head is not None
    assert b"authorization: Bearer entra-token\r\n" in head
    assert b"api-key" not in head


def test_token_that_no_header_can_carry() -> None:
    with pytest.raises(ValueError, match="authorization") as refusal:
        azure(entra_token="canary\u2028").head(CHAT_COMPLETIONS, "gpt-4o", JSON)

    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize("path", DEPLOYED)
def test_what_a_deployment_serves(path: str) -> None:
    """A model that is not mapped is deployed under its own name; a path before it stays."""
    head = azure(base_url="https://apim.test/llm", api_version="2025-04-01-preview").head(
        ENDPOINTS[path], "some-model", JSON
    )

    expected = f"/llm/openai/deployments/some-model{path[3:]}?api-version=2025-04-01-preview"
    assert target_of(head) == expected.encode()


@pytest.mark.parametrize("path", ["/v1/moderations", "/v1/images/variations"])
def test_what_azure_has_not(path: str) -> None:
    assert azure().head(ENDPOINTS[path], "some-model", JSON) is None


def test_responses_where_the_body_names_the_deployment() -> None:
    """A model that is deployed under another name goes by chat completions instead."""
    provider = azure(deployments={"gpt-4o": "gpt4o-prod"})
    responses = ENDPOINTS["/v1/responses"]

    assert target_of(provider.head(responses, "gpt-5", JSON)) == b"/openai/v1/responses"
    assert provider.head(responses, "gpt-4o", JSON) is None
    assert provider.own_endpoint(Operation.CHAT, "m", True) is CHAT_COMPLETIONS


@pytest.mark.parametrize(
    "model",
    [
        "..",
        ".",
        "",
        "../../files",
        "a/..",
        "a\\..",
        "a;b",
        "a?api-version=1",
        "a#b",
        "a%2e",
        "a\r\nx: y",
        "\uff0e\uff0e",
    ],
)
def test_a_name_that_would_leave_its_place(model: str) -> None:
    """Where every name is passed on, the name is the caller's. No deployment has such a one."""
    assert azure().head(CHAT_COMPLETIONS, model, JSON) is None


@pytest.mark.parametrize(
    ("model", "segment"), [("a b", b"a%20b"), ("m\u00fcsli", b"m%C3%BCsli"), ("o1.x", b"o1.x")]
)
def test_a_name_is_quoted(model: str, segment: bytes) -> None:
    target = target_of(azure().head(CHAT_COMPLETIONS, model, JSON))

    assert target == b"/openai/deployments/%b/chat/completions?api-version=2024-10-21" % segment


def test_other_dialects_are_not_served() -> None:
    assert azure().head(MESSAGES, "m", JSON) is None


@pytest.mark.parametrize(
    ("version", "takes_it"),
    [
        ("2024-06-01", False),
        ("2024-08-01-preview", False),
        ("2024-09-01-preview", True),
        ("2024-10-21", True),
    ],
)
def test_members_that_came_with_a_version(version: str, takes_it: bool) -> None:
    """`stream_options` and the newer name of the cap, asked for or written."""
    provider = azure(api_version=version)
    target = Target(
        "configured-name", provider.kind, provider.vendor, "gpt-4o", "https://eu.openai.azure.com:443"
    )
    dialect = target_dialect(CHAT_COMPLETIONS, target)

    assert provider.stream_usage(CHAT_COMPLETIONS) is takes_it
    assert not provider.stream_usage(ENDPOINTS["/v1/embeddings"])
    assert isinstance(dialect, OpenAIChat)
    assert dialect.vendor.stream_options is takes_it
    assert dialect.vendor.cap == ("max_completion_tokens" if takes_it else "max_tokens")


def test_prices_are_azures() -> None:
    provider = azure()

    prices = quote(provider.kind, provider.vendor, None, "gpt-4o", NOON).prices

    assert prices is not None
    assert prices.source.endswith(" azure/gpt-4o")
