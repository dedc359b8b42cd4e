"""When an issuer is asked for its keys, and what holds while it does not answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from llmgw.auth.fetch import MAX_BYTES
from llmgw.auth.issuer_keys import IssuerKeys, fetcher
from llmgw.auth.key_set import KeySet, parse_key_set
from llmgw.config.issuers import JwtSettings
from llmgw.transport.http import HttpTransport
from tests.fakes.issuer import DISCOVERY, KEYS, FakeIssuer, public_jwk, running_issuer

HOUR = 3600.0


class Told:
    """An issuer that answers as the test says, its clock, and what was heard of trouble."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.answer: KeySet | Exception = parse_key_set({"keys": [public_jwk("one")]})
        self.asked = 0
        self.heard: list[str | None] = []
        self.release = asyncio.Event()
        self.release.set()
        self.keys = IssuerKeys(
            "https://issuer.test",
            self._fetch,
            lambda issuer, reason: self.heard.append(reason),
            refresh_s=600.0,
            stale_grace_s=24 * HOUR,
            now=lambda: self.now,
        )

    async def _fetch(self) -> KeySet:
        self.asked += 1
        await self.release.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def settle(self) -> None:
        """Let a renewal that was begun come to its end."""
        flight = self.keys._flight
        if flight is not None:
            await flight

    async def look(self) -> bool:
        """Whether keys are in force, after what that began."""
        self.keys.in_force()
        await self.settle()
        return self.keys.in_force()


@pytest.fixture
async def told() -> Told:
    return Told()


async def test_the_first_look_asks_and_further_ones_do_not(told: Told) -> None:
    assert not told.keys.in_force()
    await told.settle()

    assert told.keys.in_force()
    assert told.keys.find("one", "RS256") is not None
    told.now += 599
    assert told.keys.in_force()
    assert told.asked == 1


async def test_keys_that_are_due_are_renewed_beside_requests(told: Told) -> None:
    await told.look()
    told.now += 601

    assert told.keys.in_force()
    await told.settle()
    assert told.asked == 2
    assert told.keys.epoch == 1


async def test_many_that_wait_ask_once(told: Told) -> None:
    told.release.clear()
    flights = {told.keys.sought() for _ in range(1000)}
    told.release.set()
    await told.settle()

    assert len(flights) == 1
    assert told.asked == 1


async def test_after_an_idle_time_keys_are_not_believed_unasked(told: Told) -> None:
    """A key may have been withdrawn meanwhile."""
    await told.look()
    told.now += HOUR

    assert not told.keys.in_force()
    await told.settle()
    assert told.keys.in_force()


async def test_d07_unknown_keys_make_the_issuer_asked_once_in_30_s(told: Told) -> None:
    await told.look()
    for _ in range(1000):
        assert told.keys.sought() is None
    told.now += 31
    for _ in range(1000):
        told.keys.sought()
    await told.settle()

    assert told.keys.sought() is None
    assert told.asked == 2
    assert told.keys.find("one", "RS256") is not None


async def test_d10_stale_keys_serve_an_outage_of_a_day(told: Told) -> None:
    """And not longer. Trouble is told once, and its end."""
    await told.look()
    told.answer = ValueError("down")
    for _ in range(23):
        told.now += HOUR
        assert await told.look()
    assert told.heard == ["down"]
    told.now += HOUR
    assert not await told.look()

    told.answer = parse_key_set({"keys": [public_jwk("two")]})
    told.now += 31
    assert await told.look()
    assert told.heard == ["down", None]


async def test_an_issuer_that_fails_is_asked_less_and_less(told: Told) -> None:
    told.answer = ValueError("down")
    for _ in range(600):
        await told.look()
        told.now += 1

    assert 20 < told.asked < 30


async def test_a_set_that_changed_is_another_epoch(told: Told) -> None:
    await told.look()
    told.answer = parse_key_set({"keys": [public_jwk("two"), {}]})
    told.now += 601
    await told.look()

    assert told.keys.epoch == 2
    assert told.keys.find("one", "RS256") is None
    assert told.heard == ["1 of its keys cannot be used and are left out"]


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with running_issuer() as made:
        yield made


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    made = HttpTransport()
    yield made
    await made.close()


async def asked(issuer: FakeIssuer, transport: HttpTransport, **more: Any) -> KeySet:
    said = {"issuer": issuer.url, "audience": "llmgw", "allow_private": True, "tenant": "default", **more}
    return await fetcher(JwtSettings(**said), transport)()


async def test_keys_are_where_the_issuer_says_or_the_operator(
    issuer: FakeIssuer, transport: HttpTransport
) -> None:
    assert (await asked(issuer, transport)).find("one", "RS256")
    assert (await asked(issuer, transport, jwks_url=f"{issuer.url}{KEYS}")).find("one", "RS256")
    assert issuer.requests == [DISCOVERY, KEYS, KEYS]


REPLIES: list[tuple[str, tuple[int, dict[str, str], bytes], str]] = [
    (KEYS, (500, {}, b""), "status 500"),
    (KEYS, (302, {"location": "http://127.0.0.66/keys"}, b""), "status 302"),
    (KEYS, (301, {"location": KEYS}, b""), "status 301"),
    (KEYS, (200, {}, b"<html>"), "cannot be used"),
    (KEYS, (200, {}, b""), "cannot be used"),
    (KEYS, (200, {}, b"[]"), "cannot be used"),
    (KEYS, (200, {}, b'{"keys": 5}'), "no list of keys"),
    (KEYS, (200, {}, b'{"keys": []}'), "no keys"),
    (KEYS, (200, {}, b"[" * 100_000), "cannot be used"),
    (KEYS, (200, {}, b" " * (MAX_BYTES + 1)), "larger than"),
    (KEYS, (200, {"content-length": str(50 * MAX_BYTES)}, b"{"), "larger than"),
    (DISCOVERY, (404, {}, b""), "status 404"),
    (DISCOVERY, (200, {}, b'{"issuer": "https://evil.test"}'), "another issuer"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "reply", "reason"), REPLIES, ids=lambda value: str(value)[:40])
async def test_d10_what_an_issuer_must_not_say(
    issuer: FakeIssuer,
    transport: HttpTransport,
    path: str,
    reply: tuple[int, dict[str, str], bytes],
    reason: str,
) -> None:
    """Garbage, too much, and elsewhere: told in words, and nothing is followed."""
    issuer.reply[path] = reply

    with pytest.raises(Exception, match=reason):
        await asked(issuer, transport)
    assert set(issuer.requests) <= {DISCOVERY, KEYS}


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("file:///etc/passwd", "begins with http"),
        ("http://169.254.169.254.example.test/keys", "https://"),
        ("http://user:pw@127.0.0.1/keys", "no user name"),
        ("ftp://127.0.0.1/keys", "begins with http"),
        (7, "does not tell"),
        (None, "does not tell"),
        ("http://127.0.0.1/a b", "no request can carry"),
    ],
)
async def test_e02_a_discovery_document_sends_nobody_elsewhere(
    issuer: FakeIssuer, transport: HttpTransport, uri: object, reason: str
) -> None:
    import json

    document = {"issuer": issuer.url, "jwks_uri": uri}
    issuer.reply[DISCOVERY] = (200, {}, json.dumps(document).encode())

    with pytest.raises(Exception, match=reason):
        await asked(issuer, transport)


async def test_e03_a_public_name_that_leads_inside_is_not_followed(transport: HttpTransport) -> None:
    """The address that is connected to is looked at, not the name."""
    settings = JwtSettings(issuer="https://localtest.example.com", audience="a", tenant="default")
    loop = asyncio.get_running_loop()

    async def inside(*_: object, **__: object) -> list[Any]:
        return [(2, 1, 6, "", ("127.0.0.1", 443))]

    class Loop:
        getaddrinfo = staticmethod(inside)
        time = loop.time

    transport._dialer._resolver._loop = Loop()  # type: ignore[assignment]
    with pytest.raises(Exception, match=r"private: resolved to 127\.0\.0\.1"):
        await fetcher(settings, transport)()


async def test_e12_a_certificate_that_nobody_vouches_for(transport: HttpTransport) -> None:
    import ssl

    import trustme

    from tests.fakes.upstream import ScriptedUpstream, json_reply

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with ScriptedUpstream(tls=context) as up:
        up.default(json_reply({"keys": [public_jwk("one")]}))
        said = {
            "issuer": "x",
            "audience": "a",
            "tenant": "default",
            "allow_private": True,
            "jwks_url": f"https://127.0.0.1:{up.port}/keys",
        }
        with pytest.raises(Exception, match="certificate"):
            await fetcher(JwtSettings(**said), transport)()
        with authority.cert_pem.tempfile() as ca:
            assert await fetcher(JwtSettings(**said, ca=ca), transport)()


async def test_d10_a_slow_issuer_holds_up_nobody_else(issuer: FakeIssuer, transport: HttpTransport) -> None:
    """What is asked of it is on the loop only while bytes come."""
    hold = threading.Event()

    def slow() -> tuple[int, dict[str, str], bytes]:
        hold.wait(10)
        return 200, {}, b"{}"

    issuer.reply[KEYS] = slow
    waiting = asyncio.ensure_future(asked(issuer, transport))
    while KEYS not in issuer.requests:
        await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()
    hold.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
