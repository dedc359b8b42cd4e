from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from llmgw.config.upstream import Reach
from llmgw.providers.google_tokens import by_credentials, by_default, by_metadata
from llmgw.providers.token_keeper import TokenMissing, TokenRefused, TokenUnreachable
from tests.fakes.google import service_account
from tests.fakes.upstream import ScriptedUpstream, json_reply

TOKEN = {"access_token": "ya29.t", "expires_in": 3599, "token_type": "Bearer"}


@pytest.fixture
async def google() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        yield up


async def test_a_service_account(google: ScriptedUpstream) -> None:
    """Its key signs a claim, which is exchanged for a token."""
    google.script(json_reply(TOKEN))
    fetch = by_credentials(service_account(f"{google.base_url}/token"), Reach())
    token = await asyncio.to_thread(fetch)
    form = parse_qs(google.requests[0].body.decode())
    claim = json.loads(base64.urlsafe_b64decode(form["assertion"][0].split(".")[1] + "=="))

    assert (token.value, token.lifetime_s) == ("ya29.t", pytest.approx(3599, abs=30))
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assert claim["iss"] == "gateway@p.iam.gserviceaccount.com"
    assert claim["scope"] == "https://www.googleapis.com/auth/cloud-platform"


async def test_an_operators_own_login_by_a_proxy(google: ScriptedUpstream) -> None:
    """Its tokens are Google's own, so the way there is all that can be seen."""
    google.script(json_reply({}, status=403))
    login = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}
    reach = Reach.model_validate({"proxy": google.base_url})

    with pytest.raises(TokenUnreachable):
        await asyncio.to_thread(by_credentials(json.dumps(login), reach))
    assert (google.requests[0].method, google.requests[0].target) == ("CONNECT", "oauth2.googleapis.com:443")


async def test_a_refusal_says_why_and_shows_no_key(google: ScriptedUpstream) -> None:
    error = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    google.script(json_reply(error, status=400))
    fetch = by_credentials(service_account(f"{google.base_url}/token"), Reach())

    with pytest.raises(TokenRefused, match="Invalid JWT Signature") as told:
        await asyncio.to_thread(fetch)
    assert "PRIVATE" not in str(told.value)


async def test_nobody_answers(google: ScriptedUpstream) -> None:
    fetch = by_credentials(service_account("http://127.0.0.1:9/token"), Reach())

    with pytest.raises(TokenUnreachable):
        await asyncio.to_thread(fetch)


async def test_a_file_without_its_key(google: ScriptedUpstream) -> None:
    with pytest.raises(TokenRefused, match="client_email"):
        await asyncio.to_thread(by_credentials('{"type": "service_account"}', Reach()))


async def test_the_metadata_server(google: ScriptedUpstream) -> None:
    google.script(json_reply(TOKEN))
    token = await asyncio.to_thread(by_metadata(google.base_url))

    assert (token.value, token.lifetime_s) == ("ya29.t", 3599.0)
    assert google.requests[0].target == "/computeMetadata/v1/instance/service-accounts/default/token"
    assert google.requests[0].headers["metadata-flavor"] == "Google"


@pytest.mark.parametrize("reply", [{}, [], {"access_token": "t"}])
async def test_a_metadata_server_that_gives_none(google: ScriptedUpstream, reply: object) -> None:
    google.script(json_reply(reply))

    with pytest.raises(TokenUnreachable, match="gave no token"):
        await asyncio.to_thread(by_metadata(google.base_url))


async def test_off_google_cloud() -> None:
    with pytest.raises(TokenUnreachable):
        await asyncio.to_thread(by_metadata("http://127.0.0.1:9"))


def external_account(google: ScriptedUpstream, source: dict[str, object], **more: object) -> str:
    return json.dumps(
        {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{google.base_url}/v1/token",
            "credential_source": source,
            **more,
        }
    )


EXCHANGED = {
    "access_token": "federated",
    "expires_in": 3600,
    "token_type": "Bearer",
    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
}


async def test_a_federated_identity_by_a_file(google: ScriptedUpstream, tmp_path: Path) -> None:
    """Workload identity federation: a token of somebody else's is exchanged for Google's."""
    (tmp_path / "subject").write_text("subject-token")
    google.script(json_reply(EXCHANGED))
    text = external_account(google, {"file": str(tmp_path / "subject")})
    token = await asyncio.to_thread(by_credentials(text, Reach()))
    form = parse_qs(google.requests[0].body.decode())

    assert (token.value, token.lifetime_s) == ("federated", pytest.approx(3600, abs=30))
    assert form["subject_token"] == ["subject-token"]
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:token-exchange"]
    assert form["scope"] == ["https://www.googleapis.com/auth/cloud-platform"]


async def test_a_federated_identity_by_a_url_as_a_service_account(google: ScriptedUpstream) -> None:
    """The subject's token is fetched, exchanged, and stands for a service account."""
    google.script(json_reply({"id_token": "subject-token"}))
    google.script(json_reply(EXCHANGED))
    end = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    google.script(json_reply({"accessToken": "ya29.sa", "expireTime": end}))
    source: dict[str, object] = {
        "url": f"{google.base_url}/subject",
        "headers": {"x-from": "pod"},
        "format": {"type": "json", "subject_token_field_name": "id_token"},
    }
    text = external_account(
        google,
        source,
        service_account_impersonation_url=f"{google.base_url}/sa/llm@p.iam.gserviceaccount.com:generateAccessToken",
    )
    token = await asyncio.to_thread(by_credentials(text, Reach()))

    assert (token.value, token.lifetime_s) == ("ya29.sa", pytest.approx(3600, abs=30))
    assert [one.target for one in google.requests] == [
        "/subject",
        "/v1/token",
        "/sa/llm@p.iam.gserviceaccount.com:generateAccessToken",
    ]
    assert google.requests[0].headers["x-from"] == "pod"
    assert google.requests[2].headers["authorization"] == "Bearer federated"


async def test_a_federated_identity_that_is_refused(google: ScriptedUpstream, tmp_path: Path) -> None:
    (tmp_path / "subject").write_text("subject-token")
    google.script(json_reply({"error": "invalid_grant", "error_description": "Wrong issuer."}, status=400))
    text = external_account(google, {"file": str(tmp_path / "subject")})

    with pytest.raises(TokenRefused, match="Wrong issuer") as told:
        await asyncio.to_thread(by_credentials(text, Reach()))
    assert "subject-token" not in str(told.value)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, google: ScriptedUpstream) -> Path:
    """A machine without credentials, with a metadata server of its own."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{google.port}")
    return tmp_path


async def test_found_as_googles_tools_do(
    bare: Path, google: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is named, then that of gcloud's login, then the metadata server."""
    fetch = by_default("v", Reach())
    google.script(json_reply({**TOKEN, "access_token": "by-metadata"}))
    metadata = await asyncio.to_thread(fetch)
    (bare / "application_default_credentials.json").write_text(service_account(f"{google.base_url}/login"))
    google.script(json_reply({**TOKEN, "access_token": "by-login"}))
    login = await asyncio.to_thread(fetch)
    (bare / "named.json").write_text(service_account(f"{google.base_url}/named"))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(bare / "named.json"))
    google.script(json_reply({**TOKEN, "access_token": "by-name"}))
    named = await asyncio.to_thread(fetch)

    assert [one.value for one in (metadata, login, named)] == ["by-metadata", "by-login", "by-name"]
    assert [one.target for one in google.requests[1:]] == ["/login", "/named"]


async def test_found_nowhere(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the provider, where was looked, and what to do."""
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9")
    with pytest.raises(TokenMissing, match=r"providers\.v: there are no Google credentials") as told:
        await asyncio.to_thread(by_default("v", Reach()))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(bare / "gone.json"))
    with pytest.raises(TokenMissing, match=r"gone\.json cannot be read"):
        await asyncio.to_thread(by_default("v", Reach()))
    (bare / "gone.json").write_text('{"type": "authorized_person"}')
    with pytest.raises(TokenMissing, match="must be the JSON of a service account"):
        await asyncio.to_thread(by_default("v", Reach()))
    assert "give the provider credentials" in str(told.value)
