"""Providers on the large clouds: which credential, and what the configuration refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmgw.config.clouds import AzureOpenAI, Bedrock
from llmgw.config.load import document_from_text

Refusals = Callable[..., list[str]]


def text(row: str) -> str:
    return f"version: 1\nproviders:\n  x: {{{row}}}\n"


@pytest.mark.parametrize(
    ("row", "refusal"),
    [
        ("kind: vertex, location: global", "providers.x.project: is required"),
        (
            "kind: vertex, project: p, location: global, metadata_server: true, access_token: t",
            "access_token: stands beside another source of tokens; keep one of them",
        ),
        (
            "kind: vertex, project: p, location: global, access_token: t, base_url: 'http://10.0.0.1/v1'",
            "base_url: 10.0.0.1 is not a public host",
        ),
        ("kind: bedrock, access_key_id: a, secret_access_key: b", "providers.x.region: is required"),
        ("kind: bedrock, region: us-east-1, access_key_id: a", "providers.x.secret_access_key: is required"),
        ("kind: bedrock, region: us-east-1, session_token: t", "session_token: needs access_key_id"),
        ("kind: bedrock, region: us-east-1, api_key: k, profile: p", "profile: stands beside api_key"),
        ("kind: bedrock, region: us-east-1, external_id: x", "external_id: needs role_arn"),
        ("kind: bedrock, region: us-east-1, role_arn: admin", "role_arn: holds characters"),
        (
            "kind: bedrock, region: us-east-1, access_key_id: a, secret_access_key: b, profile: p",
            "profile: stands beside access_key_id",
        ),
        (
            "kind: bedrock, region: us-east-1, access_key_id: a, secret_access_key: b, "
            "base_url: 'http://10.0.0.1'",
            "base_url: 10.0.0.1 is not a public host",
        ),
    ],
)
def test_refused_rows(row: str, refusal: str, refusals: Refusals) -> None:
    found = refusals(text(row))

    assert any(refusal in line for line in found), found


@pytest.mark.parametrize(
    ("row", "refusal"),
    [
        ("", "api_key: is required, or entra_token, entra_token_file, client_secret, client_certificate, "),
        ("client_secret: s, client_id: c", "tenant_id: is required beside client_secret"),
        ("managed_identity: true, entra_token: t", "managed_identity: stands beside entra_token"),
        ("api_key: k, entra_token: t", "entra_token: stands beside api_key; only one of them can be sent"),
        ("api_key: k, api_version: v1", "api_version: must look like 2024-10-21 or 2025-04-01-preview"),
        ("api_key: k, api_version: 2024-10-21-beta", "api_version: must look like 2024-10-21"),
        ("api_key: k, api_version: '2024-10-21&x=1'", "api_version: must look like 2024-10-21"),
        ("api_key: k, deployments: {gpt-4o: a/b}", "deployments.gpt-4o: holds characters"),
        ("api_key: k, deployments: {gpt-4o: ..}", "deployments.gpt-4o: holds characters"),
        ("api_key: k, deployment: {}", 'deployment: unknown key; did you mean "deployments"?'),
        ("api_key: k, base_url: 'https://r.test/openai'", "base_url: must end before /openai"),
        ("api_key: k, base_url: 'https://r.test/openai/deployments/d'", "base_url: must end before /openai"),
    ],
)
def test_refused_azure_rows(row: str, refusal: str, refusals: Refusals) -> None:
    """On the row's line, under the member's name."""
    place = "" if "base_url" in row else ", base_url: 'https://r.test'"

    found = refusals(text(f"kind: azure_openai{place}{', ' if row else ''}{row}"))

    assert len(found) == 1
    assert found[0].startswith(f"f.yaml:3 providers.x.{refusal}")


def test_azure_needs_its_resource(refusals: Refusals) -> None:
    """There is no address that all share."""
    assert refusals(text("kind: azure_openai, api_key: k")) == ["f.yaml:3 providers.x.base_url: is required"]


def test_azure_in_full() -> None:
    """A date needs no quotes."""
    row = "base_url: 'https://eu.openai.azure.com/', api_version: 2025-04-01-preview, entra_token: t"

    settings = document_from_text(
        text(f"kind: azure_openai, {row}, deployments: {{gpt-4o: gpt4o-prod}}")
    ).providers["x"]

    assert isinstance(settings, AzureOpenAI)
    assert settings.url == "https://eu.openai.azure.com"
    assert settings.api_version == "2025-04-01-preview"
    assert settings.deployments == {"gpt-4o": "gpt4o-prod"}
    assert settings.api_key is None


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-west-1", "https://bedrock-runtime.eu-west-1.amazonaws.com"),
        ("us-gov-west-1", "https://bedrock-runtime.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_bedrock_is_asked_in_its_region(region: str, url: str) -> None:
    row = f"kind: bedrock, region: {region}, access_key_id: a, secret_access_key: b"
    provider = document_from_text(text(row)).providers["x"]

    assert isinstance(provider, Bedrock)
    assert provider.url == url


@pytest.mark.parametrize("region", ["us-east", "us-east-1.evil.com", "US-EAST-1", "us-east-1/x"])
def test_bedrock_region_that_is_none(region: str, refusals: Refusals) -> None:
    """It becomes a part of a host's name."""
    row = f"kind: bedrock, region: {region}, access_key_id: a, secret_access_key: b"

    assert any("providers.x.region" in line for line in refusals(text(row)))


def test_bedrock_without_what_signs(refusals: Refusals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told when the configuration is read, not by the first request."""
    monkeypatch.setattr("llmgw.config.clouds.find_spec", lambda name: None)
    row = "kind: bedrock, region: us-east-1, access_key_id: a, secret_access_key: b"

    assert any("needs botocore" in line for line in refusals(text(row)))


def test_bedrock_with_a_key_of_its_own_signs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmgw.config.clouds.find_spec", lambda name: None)

    assert document_from_text(text("kind: bedrock, region: us-east-1, api_key: k"))


@pytest.mark.parametrize(
    "row",
    [
        "kind: bedrock, region: us-east-1",
        "kind: bedrock, region: us-east-1, profile: llm",
        "kind: bedrock, region: us-east-1, role_arn: 'arn:aws:iam::123456789012:role/team/llm'",
        "kind: vertex, project: p, location: global",
        "kind: azure_openai, base_url: 'https://r.test', managed_identity: true",
        "kind: azure_openai, base_url: 'https://r.test', tenant_id: t, client_id: c, client_secret: s",
    ],
)
def test_credentials_that_are_found_or_fetched(row: str) -> None:
    """Left out, AWS's and Google's are looked for as their own tools do."""
    assert document_from_text(text(row))
