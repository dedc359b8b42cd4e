from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import pytest

from llmgw.config.upstream import Reach
from llmgw.providers.google_tokens import by_credentials, by_metadata
from llmgw.providers.token_keeper import TokenRefused, TokenUnreachable
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
