"""Tokens of Microsoft Entra ID from scripted services on real sockets."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import time
from collections.abc import AsyncIterator
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from llmgw.config.clouds import AzureOpenAI as Settings
from llmgw.providers.azure_openai import AzureOpenAI
from llmgw.providers.entra_tokens import by_managed_identity, entra_tokens
from llmgw.providers.token_keeper import Token, TokenKeeper, TokenMissing, TokenRefused, TokenUnreachable
from tests.fakes.upstream import ScriptedUpstream, headers, json_reply, reset

GRANTED = {"token_type": "Bearer", "expires_in": 3599, "access_token": "eyJ.t"}
APP = {"tenant_id": "t-1", "client_id": "c-1"}


@pytest.fixture
async def entra() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        yield up


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TENANT_ID", "CLIENT_ID", "FEDERATED_TOKEN_FILE", "AUTHORITY_HOST"):
        monkeypatch.delenv(f"AZURE_{name}", raising=False)
    monkeypatch.delenv("IDENTITY_ENDPOINT", raising=False)


def settings(**members: Any) -> Settings:
    row = {"kind": "azure_openai", "base_url": "https://eu.openai.azure.com", **members}
    return Settings.model_validate(row)


async def got(entra: ScriptedUpstream, **members: Any) -> Token[str]:
    found = entra_tokens("eu", settings(authority=entra.base_url, **members))
    return await asyncio.to_thread(found)


def form_of(entra: ScriptedUpstream) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(entra.requests[-1].body.decode()).items()}


async def test_an_app_with_a_secret(entra: ScriptedUpstream) -> None:
    entra.script(json_reply(GRANTED))
    token = await got(entra, client_secret="s~3cret", **APP)

    assert (token.value, token.lifetime_s) == ("eyJ.t", 3599.0)
    assert entra.requests[0].target == "/t-1/oauth2/v2.0/token"
    assert form_of(entra) == {
        "grant_type": "client_credentials",
        "client_id": "c-1",
        "client_secret": "s~3cret",
        "scope": "https://cognitiveservices.azure.com/.default",
    }


async def test_an_app_with_a_certificate(entra: ScriptedUpstream, tmp_path: Path) -> None:
    """It signs what it says of itself, for this token service only and for minutes."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "llmgw")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "app.pem").write_bytes(certificate.public_bytes(pem) + plain)
    entra.script(json_reply(GRANTED))
    await got(entra, client_certificate=tmp_path / "app.pem", **APP)
    form = form_of(entra)
    head, claims, signature = (
        base64.urlsafe_b64decode(part + "==") for part in form["client_assertion"].split(".")
    )
    said = json.loads(claims)

    digest = hashes.SHA256()
    pss = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
    key.public_key().verify(signature, form["client_assertion"].rpartition(".")[0].encode(), pss, digest)
    thumbprint = base64.urlsafe_b64encode(certificate.fingerprint(digest)).rstrip(b"=").decode()
    assert json.loads(head) == {"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}
    assert (said["iss"], said["sub"]) == ("c-1", "c-1")
    assert said["aud"] == f"{entra.base_url}/t-1/oauth2/v2.0/token"
    assert 0 < said["exp"] - time.time() <= 600
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def test_a_certificate_that_is_none(entra: ScriptedUpstream, tmp_path: Path) -> None:
    (tmp_path / "app.pem").write_text("-----BEGIN")
    with pytest.raises(TokenMissing, match=r"providers\.eu: client_certificate .*app\.pem must hold"):
        await got(entra, client_certificate=tmp_path / "app.pem", **APP)
    with pytest.raises(TokenMissing, match=r"other\.pem cannot be read"):
        await got(entra, client_certificate=tmp_path / "other.pem", **APP)


async def test_a_federated_token_is_read_each_time(entra: ScriptedUpstream, tmp_path: Path) -> None:
    path = tmp_path / "token"
    found = []
    for text in ("first\n", "second\n"):
        path.write_text(text)
        entra.script(json_reply(GRANTED))
        await got(entra, federated_token_file=path, **APP)
        found.append(form_of(entra)["client_assertion"])

    assert found == ["first", "second"]


async def test_a_pods_workload_identity(
    entra: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All of it from the variables that AKS sets."""
    (tmp_path / "token").write_text("pod-token")
    monkeypatch.setenv("AZURE_TENANT_ID", "t-pod")
    monkeypatch.setenv("AZURE_CLIENT_ID", "c-pod")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", f"{entra.base_url}/")
    entra.script(json_reply(GRANTED))
    await asyncio.to_thread(entra_tokens("eu", settings(workload_identity=True)))

    assert entra.requests[0].target == "/t-pod/oauth2/v2.0/token"
    assert (form_of(entra)["client_id"], form_of(entra)["client_assertion"]) == ("c-pod", "pod-token")


async def test_a_pod_without_workload_identity(entra: ScriptedUpstream) -> None:
    with pytest.raises(TokenMissing, match=r"providers\.eu: workload_identity finds no AZURE_TENANT_ID"):
        await got(entra, workload_identity=True)


async def test_the_identity_of_a_machine(entra: ScriptedUpstream) -> None:
    """It writes its seconds as text."""
    entra.script(json_reply({"access_token": "t", "expires_in": "86399", "expires_on": "1"}))
    found = by_managed_identity(
        "providers.eu", settings(managed_identity=True, client_id="c-2"), entra.base_url
    )
    token = await asyncio.to_thread(found)
    asked = urlsplit(entra.requests[0].target)

    assert (token.value, token.lifetime_s) == ("t", 86399.0)
    assert asked.path == "/metadata/identity/oauth2/token"
    assert parse_qs(asked.query) == {
        "api-version": ["2018-02-01"],
        "resource": ["https://cognitiveservices.azure.com"],
        "client_id": ["c-2"],
    }
    assert entra.requests[0].headers["metadata"] == "true"


async def test_the_identity_of_an_app(entra: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """App Service, Functions and Container Apps: another place, and the end as a moment."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{entra.base_url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "app-secret")
    entra.script(json_reply({"access_token": "t", "expires_on": str(int(time.time()) + 7200)}))
    token = await got(entra, managed_identity=True)

    assert token.lifetime_s == pytest.approx(7200, abs=30)
    assert entra.requests[0].target.startswith("/msi/token?")
    assert "api-version=2019-08-01" in entra.requests[0].target
    assert entra.requests[0].headers["x-identity-header"] == "app-secret"


async def test_a_token_that_somebody_else_renews(entra: ScriptedUpstream, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("theirs\n")
    token = await got(entra, entra_token_file=tmp_path / "token")

    assert token == Token("theirs", inf, 60.0)


async def test_a_refusal_says_why_and_shows_no_secret(entra: ScriptedUpstream) -> None:
    words = "AADSTS7000215: Invalid client secret provided."
    entra.script(json_reply({"error": "invalid_client", "error_description": words}, status=401))

    with pytest.raises(TokenRefused, match="AADSTS7000215") as told:
        await got(entra, client_secret="s~3cret", **APP)
    assert "s~3cret" not in str(told.value)


@pytest.mark.parametrize(
    "step",
    [
        json_reply({}, status=503),
        json_reply({"error": "slow_down"}, status=429),
        json_reply({"access_token": "t"}),
        json_reply([]),
        headers(302, {"location": "http://127.0.0.1:9/", "content-length": "0"}),
        reset(),
    ],
    ids=["down", "limited", "no end", "no object", "elsewhere", "reset"],
)
async def test_a_service_that_gives_none(entra: ScriptedUpstream, step: Any) -> None:
    entra.script(step)

    with pytest.raises(TokenUnreachable) as told:
        await got(entra, client_secret="s~3cret", **APP)
    assert "s~3cret" not in str(told.value)


def test_the_provider_signs_by_tokens() -> None:
    provider = AzureOpenAI("eu", settings(client_secret="s", **APP), None)

    assert isinstance(provider.signer, TokenKeeper)
