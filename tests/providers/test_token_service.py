from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from llmgw.config.upstream import Reach
from llmgw.providers.token_keeper import Token, TokenRefused, TokenUnreachable
from llmgw.providers.token_service import ask, client
from tests.fakes.upstream import ScriptedUpstream, json_reply


@pytest.fixture
async def service() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        yield up


async def got(service: ScriptedUpstream, reach: Reach | None = None) -> Token[str]:
    def asking() -> Token[str]:
        with client(reach) as http:
            return ask(http, f"{service.base_url}/token", form={"secret": "canary"})

    return await asyncio.to_thread(asking)


@pytest.mark.parametrize(
    ("end", "lifetime_s"),
    [
        ({"expires_in": 3599}, 3599.0),
        ({"expires_in": "3599"}, 3599.0),
        ({"expires_on": lambda: str(int(time.time()) + 600)}, 600.0),
        ({"expires_in": "soon", "expires_on": lambda: int(time.time()) + 600}, 600.0),
    ],
    ids=["number", "text", "moment", "either"],
)
async def test_when_a_token_ends(
    service: ScriptedUpstream, end: dict[str, object], lifetime_s: float
) -> None:
    told = {name: value() if callable(value) else value for name, value in end.items()}
    service.script(json_reply({"access_token": "t", **told}))
    token = await got(service)

    assert token.value == "t"
    assert token.lifetime_s == pytest.approx(lifetime_s, abs=60)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, TokenRefused),
        (401, TokenRefused),
        (403, TokenRefused),
        (404, TokenUnreachable),
        (429, TokenUnreachable),
        (500, TokenUnreachable),
    ],
)
async def test_who_is_at_fault(service: ScriptedUpstream, status: int, kind: type[Exception]) -> None:
    """A refusal is the credential's, anything else may pass. The words are the service's, not ours."""
    service.script(json_reply({"error": "invalid_client", "error_description": "their words"}, status=status))

    with pytest.raises(kind, match=f"status {status}: their words") as told:
        await got(service)
    assert "canary" not in str(told.value)


async def test_it_is_reached_as_the_provider_is(service: ScriptedUpstream) -> None:
    """By the same proxy, or by none."""
    service.script(json_reply({"access_token": "t", "expires_in": 1}))
    reach = Reach.model_validate({"proxy": service.base_url})
    await got(service, reach)

    assert service.requests[0].target == f"{service.base_url}/token"
