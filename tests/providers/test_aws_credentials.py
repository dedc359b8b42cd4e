"""botocore's own chain against scripted services on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from llmgw.config.clouds import Bedrock as Settings
from llmgw.core.operation import Operation
from llmgw.providers.aws_credentials import by_chain
from llmgw.providers.bedrock import Bedrock
from llmgw.providers.token_keeper import NoCredential, Token, TokenMissing, TokenRefused, TokenUnreachable
from tests.fakes.upstream import ScriptedUpstream, head_bytes, json_reply, raw

ROLE = "arn:aws:iam::123456789012:role/llmgw"


def soon(hours: float = 1.0) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def sts_reply(action: str, key: str) -> Any:
    body = (
        f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>'
        f"<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>sts-secret</SecretAccessKey>"
        f"<SessionToken>sts-token</SessionToken><Expiration>{soon()}</Expiration></Credentials>"
        f"</{action}Result></{action}Response>"
    ).encode()
    return raw(head_bytes(200, {"content-type": "text/xml"}, length=len(body)) + body)


def sts_error(status: int, code: str, words: str) -> Any:
    body = (
        f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Code>{code}</Code>'
        f"<Message>{words}</Message></Error></ErrorResponse>"
    ).encode()
    return raw(head_bytes(status, {"content-type": "text/xml"}, length=len(body)) + body)


def settings(**members: Any) -> Settings:
    return Settings.model_validate({"kind": "bedrock", "region": "us-east-1", **members})


async def got(**members: Any) -> Token[Any]:
    return await asyncio.to_thread(by_chain("aws", settings(**members)))


@pytest.fixture
async def aws() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        yield up


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials anywhere, and no way out to the network."""
    import os

    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", "1")
    monkeypatch.setenv("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "1")


async def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no end, but are looked at again: who rotates them cannot tell us."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "env-token")
    token = await got()

    assert (token.value.access_key, token.value.token) == ("AKENV", "env-token")
    assert (token.lifetime_s, token.renew_after_s) == (inf, 600.0)


async def test_keys_of_a_profile(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = AKDEF\naws_secret_access_key = s\n"
        "[llm]\naws_access_key_id = AKLLM\naws_secret_access_key = s\n"
    )

    assert (await got()).value.access_key == "AKDEF"
    assert (await got(profile="llm")).value.access_key == "AKLLM"
    with pytest.raises(TokenMissing, match=r"providers\.aws: ProfileNotFound.*nobody"):
        await got(profile="nobody")


async def test_a_pods_web_identity(
    aws: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """IRSA: the pod's token is exchanged at STS."""
    (tmp_path / "token").write_text("pod-token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws.base_url)
    aws.script(sts_reply("AssumeRoleWithWebIdentity", "AKPOD"))
    token = await got()
    form = parse_qs(aws.requests[0].body.decode())

    assert token.value.access_key == "AKPOD"
    assert token.lifetime_s == pytest.approx(3600, abs=60)
    assert (form["RoleArn"], form["WebIdentityToken"]) == ([ROLE], ["pod-token"])


async def test_keys_of_a_container(aws: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{aws.base_url}/creds")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container-token")
    aws.script(
        json_reply(
            {"AccessKeyId": "AKBOX", "SecretAccessKey": "s", "Token": "t", "Expiration": soon(6)},
        )
    )
    token = await got()

    assert token.value.access_key == "AKBOX"
    assert token.lifetime_s == pytest.approx(6 * 3600, abs=60)
    assert aws.requests[0].headers["authorization"] == "container-token"


async def test_keys_of_a_machine(aws: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.base_url)
    plain = {"content-type": "text/plain"}
    aws.script(raw(head_bytes(200, plain, length=4) + b"imds"))
    aws.script(raw(head_bytes(200, plain, length=4) + b"role"))
    aws.script(
        json_reply(
            {
                "Code": "Success",
                "AccessKeyId": "AKVM",
                "SecretAccessKey": "s",
                "Token": "t",
                "Expiration": soon(6),
            }
        )
    )
    token = await got()

    assert token.value.access_key == "AKVM"
    assert token.lifetime_s == pytest.approx(6 * 3600, abs=60)
    assert [one.method for one in aws.requests] == ["PUT", "GET", "GET"]
    assert aws.requests[2].target.endswith("/meta-data/iam/security-credentials/role")


async def test_another_role(aws: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the keys of the settings, or by those of the chain."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws.base_url)
    aws.script(sts_reply("AssumeRole", "AKROLE"))
    token = await got(
        access_key_id="AKID", secret_access_key="sk-secret", role_arn=ROLE, external_id="partner-7"
    )
    form = parse_qs(aws.requests[0].body.decode())

    assert (token.value.access_key, token.value.token) == ("AKROLE", "sts-token")
    assert token.lifetime_s == pytest.approx(3600, abs=60)
    assert (form["RoleArn"], form["ExternalId"]) == ([ROLE], ["partner-7"])
    assert "Credential=AKID/" in aws.requests[0].headers["authorization"]
    assert "sk-secret" not in str(aws.requests[0].headers)


async def test_a_role_that_is_refused(aws: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws.base_url)
    given = {"access_key_id": "AKID", "secret_access_key": "sk-secret", "role_arn": ROLE}
    aws.script(sts_error(403, "AccessDenied", "not authorized to perform sts:AssumeRole"))
    with pytest.raises(TokenRefused, match="not authorized to perform") as refused:
        await got(**given)
    aws.script(sts_error(503, "ServiceUnavailable", "try later"))
    with pytest.raises(TokenUnreachable):
        await got(**given)
    assert "sk-secret" not in str(refused.value)


async def test_none_anywhere() -> None:
    """The error names the provider, where was looked, and what to do."""
    with pytest.raises(TokenMissing, match=r"providers\.aws: botocore found no AWS credentials") as told:
        await got()
    assert "api_key" in str(told.value)


async def test_requests_are_signed_by_what_the_chain_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first waits, all for the same."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    provider = Bedrock("aws", settings(), None)
    endpoint = provider.own_endpoint(Operation.CHAT, "m", False)
    assert endpoint is not None
    head = provider.head(endpoint, "m", b"application/json")
    signer = provider.signer
    assert head is not None
    assert signer is not None
    first = [signer.pending() for _ in range(3)]
    await asyncio.gather(*(one for one in first if one is not None))

    assert all(first)
    assert signer.pending() is None
    assert b"Credential=AKENV/" in signer.sign(head, b"{}")
    assert b"env-secret" not in signer.sign(head, b"{}")


async def test_a_request_without_credentials() -> None:
    signer = Bedrock("aws", settings(), None).signer
    assert signer is not None
    pending = signer.pending()
    assert pending is not None

    with pytest.raises(NoCredential, match="the gateway has no credential for the provider") as told:
        await pending
    assert (told.value.status, told.value.code) == (503, "upstream_credential_unavailable")
    assert "providers.aws" in (told.value.detail or "")
