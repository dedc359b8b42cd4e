"""What opaque tokens are worth, as the service that issued them says."""

from __future__ import annotations

import asyncio
import gc
from base64 import b64decode
from typing import Any

import pytest

from llmgw.auth.claims import Claim
from llmgw.auth.fetch import NoDocument
from llmgw.auth.introspection import MAX_ASKING, HttpService, OpaqueTokens
from llmgw.config.issuers import IntrospectionSettings
from llmgw.core.errors import GatewayError, InvalidCredentials, PermissionDenied, Unavailable
from llmgw.core.principal import Principal
from llmgw.transport.http import HttpTransport
from tests.fakes.issuer import INTROSPECT, running_issuer

NOW = 1_800_000_000.0
ACTIVE = {"active": True, "sub": "alice", "org": "acme", "exp": NOW + 3600, "scope": "llm"}


def settings(**more: Any) -> IntrospectionSettings:
    said = {
        "url": "https://issuer.test/introspect",
        "client_id": "gw",
        "client_secret": "s3cret",
        "claims": {"tenant": "org"},
    }
    return IntrospectionSettings(**{**said, **more})


class Door:
    """Opaque tokens, whose service answers as the test says."""

    def __init__(self, **more: Any) -> None:
        self.now = NOW
        self.said: dict[bytes, dict[str, Any] | Exception] = {b"good": ACTIVE}
        self.asked: list[bytes] = []
        self.told: list[str | None] = []
        self.release = asyncio.Event()
        self.release.set()
        self.tokens = OpaqueTokens(
            settings(**more),
            self,
            lambda key: key.startswith(b"sk-"),
            ["acme", "rival"],
            lambda service, reason: self.told.append(reason),
            [Claim("scope")],
            lambda: self.now,
        )

    async def ask(self, token: bytes) -> dict[str, Any]:
        self.asked.append(token)
        await self.release.wait()
        said = self.said.get(token, {"active": False})
        if isinstance(said, Exception):
            raise said
        return said

    async def admits(self, token: bytes = b"good") -> Principal:
        found = self.tokens.principal({b"authorization": b"Bearer " + token})
        assert found is not None
        return found if isinstance(found, Principal) else await found

    async def refuses(self, token: bytes = b"good") -> GatewayError:
        with pytest.raises(GatewayError) as refusal:
            await self.admits(token)
        return refusal.value


async def test_the_service_is_asked_once_while_its_answer_is_believed() -> None:
    door = Door()

    for _ in range(3):
        assert await door.admits() == Principal("acme", "alice", "token:alice")
    assert (await door.admits()).claims == (("scope", ("llm",)),)
    assert door.asked == [b"good"]
    door.now += 61
    assert await door.admits()
    assert door.asked == [b"good"] * 2


async def test_a_token_that_was_revoked_works_no_longer_than_the_answer_is_believed() -> None:
    door = Door(ttl="30s")
    await door.admits()
    door.said[b"good"] = {"active": False}
    door.now += 31

    assert type(await door.refuses()) is InvalidCredentials


async def test_an_answer_is_believed_no_longer_than_the_token_lasts() -> None:
    door = Door(leeway="0s")
    door.said[b"good"] = ACTIVE | {"exp": NOW + 10}
    await door.admits()
    door.now += 10

    assert (await door.refuses()).message == "the token has expired"


@pytest.mark.parametrize(
    "said",
    [
        {"active": False},
        {},
        {"active": "true", "sub": "alice", "org": "acme"},
        {"active": 1, "sub": "alice", "org": "acme"},
        {"active": True, "org": "acme"},
        {"active": True, "sub": "alice", "org": "acme", "nbf": NOW + 100},
        {"active": True, "sub": "alice", "org": "acme", "exp": "never"},
        {"active": True, "sub": "alice", "org": "acme", "iss": "https://evil.test", "aud": "llmgw"},
        {"active": True, "sub": "alice", "org": "acme", "iss": "https://issuer.test", "aud": "other"},
        {"active": True, "sub": "alice", "org": "acme"},
    ],
    ids=str,
)
async def test_what_is_not_clearly_good_is_refused(said: dict[str, Any]) -> None:
    door = Door(issuer="https://issuer.test", audience="llmgw")
    door.said[b"good"] = said

    error = await door.refuses()
    assert (type(error), error.message) == (InvalidCredentials, "the token is not valid")
    assert "invalid_token" in dict(error.headers)["www-authenticate"]


async def test_c03_a_tenant_that_does_not_exist_is_403() -> None:
    door = Door()
    door.said[b"good"] = ACTIVE | {"org": "gone"}

    assert type(await door.refuses()) is PermissionDenied
    assert type(await door.refuses()) is PermissionDenied
    assert door.asked == [b"good"]


async def test_d19_without_the_service_what_is_unknown_is_503_and_what_is_known_goes_on() -> None:
    """Trouble is told once, and its end."""
    door = Door()
    await door.admits()
    down = NoDocument("it answers with status 500")
    door.said |= {b"new": down, b"other": down}

    for token in (b"new", b"other", b"new"):
        error = await door.refuses(token)
        assert (type(error), error.code, error.retry_after_s) == (Unavailable, "issuer_unavailable", 2)
    assert await door.admits()
    assert door.told == ["it answers with status 500"]

    door.said[b"new"] = ACTIVE
    assert await door.admits(b"new")
    assert door.told == ["it answers with status 500", None]


async def test_d20_many_requests_with_a_token_ask_once() -> None:
    door = Door()
    door.release.clear()
    waiting = [asyncio.ensure_future(door.admits()) for _ in range(100)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    door.release.set()

    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert set(map(str, found[1:])) == {str(await door.admits())}
    assert door.asked == [b"good"]


async def test_d20_no_more_than_so_many_questions_are_under_way() -> None:
    door = Door()
    door.release.clear()
    waiting = [asyncio.ensure_future(door.admits(b"bad-%d" % number)) for number in range(MAX_ASKING)]
    await asyncio.sleep(0)

    assert type(await door.refuses(b"one more")) is InvalidCredentials
    assert type(await door.refuses(b"one-more")) is Unavailable
    door.release.set()
    assert all(
        isinstance(one, InvalidCredentials) for one in await asyncio.gather(*waiting, return_exceptions=True)
    )
    assert len(door.asked) == MAX_ASKING


async def test_d16_refusals_are_kept_shortly_and_push_no_good_token_out() -> None:
    door = Door()
    await door.admits()
    for number in range(6000):
        await door.refuses(b"bad-%d" % number)
    assert len(door.tokens._refused) == 5000
    await door.refuses(b"bad-5999")
    await door.admits()
    assert len(door.asked) == 6001

    door.now += 11
    await door.refuses(b"bad-5999")
    assert len(door.asked) == 6002


async def test_a_question_that_nobody_waits_for_any_more_ends_quietly() -> None:
    door = Door()
    door.release.clear()
    waiting = asyncio.ensure_future(door.admits(b"bad"))
    await asyncio.sleep(0)
    waiting.cancel()
    door.release.set()
    while door.tokens._asking:
        await asyncio.sleep(0)
    gc.collect()

    assert waiting.cancelled()


def test_api_keys_are_not_shown_to_the_service() -> None:
    tokens = Door().tokens

    assert tokens.principal({b"authorization": b"Bearer llmgw_whatever"}) is None
    assert tokens.principal({b"authorization": b"Bearer sk-declared"}) is None
    assert tokens.principal({b"x-api-key": b"sk-declared"}) is None
    assert tokens.principal({b"host": b"x"}) is None


@pytest.mark.parametrize("token", [b"a b", b"a\x00b", b"\xff", b"x" * 20_000])
async def test_what_no_token_can_be_is_not_asked_about(token: bytes) -> None:
    door = Door()

    assert type(await door.refuses(token)) is InvalidCredentials
    assert door.asked == []


async def test_the_service_is_asked_as_rfc_7662_says() -> None:
    """Whatever a token holds stands in one member of the form."""
    transport = HttpTransport()
    with running_issuer() as issuer:
        said = settings(
            url=f"{issuer.url}{INTROSPECT}", allow_private=True, client_id="g:w", client_secret="p&ss=1+"
        )
        service = HttpService(said, transport)
        issuer.opaque["a&token=b+%/"] = {"active": True}

        assert await service.ask(b"a&token=b+%/") == {"active": True}
        assert await service.ask(b"other") == {"active": False}
        form, authorization = issuer.forms[0]
        assert form == {"token": ["a&token=b+%/"], "token_type_hint": ["access_token"]}
        assert b64decode((authorization or "").removeprefix("Basic ")) == b"g%3Aw:p%26ss%3D1%2B"

        issuer.reply[INTROSPECT] = (302, {"location": f"{issuer.url}/elsewhere"}, b"")
        with pytest.raises(NoDocument, match="status 302"):
            await service.ask(b"other")
        assert set(issuer.requests) == {INTROSPECT}
    await transport.close()


def test_the_service_must_be_where_nobody_can_listen() -> None:
    for more, reason in (
        ({"url": "http://issuer.test/"}, "must begin with https://"),
        ({"url": "https://10.0.0.1/"}, "not a public host"),
        ({"ttl": "1h"}, "for which a revoked token would work"),
    ):
        with pytest.raises(ValueError, match=reason):
            settings(**more)
