from __future__ import annotations

import asyncio
import threading

import pytest

from llmgw.core.errors import UpstreamError, UpstreamUnreachable
from llmgw.providers.token_keeper import (
    Keeper,
    NoCredential,
    Token,
    TokenKeeper,
    TokenMissing,
    TokenRefused,
    TokenUnreachable,
)

HEAD = b"POST / HTTP/1.1\r\n"


class Service:
    """A token service under the test's hand. asked: how often it was."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0
        self.answers: list[Token[str] | Exception] = []
        self.open = threading.Event()
        self.open.set()

    def fetch(self) -> Token[str]:
        self.asked += 1
        number = self.asked
        assert self.open.wait(5)
        answer = self.answers.pop(0) if self.answers else Token(f"t{number}", 3600.0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def keeper(service: Service) -> TokenKeeper:
    return TokenKeeper(service.fetch, lambda: service.now)


async def signed(keeper: TokenKeeper) -> str:
    pending = keeper.pending()
    if pending is not None:
        await pending
    return keeper.sign(HEAD, b"").removeprefix(HEAD).decode()


async def landed(keeper: TokenKeeper) -> None:
    """Until no renewal is under way."""
    async with asyncio.timeout(5):
        while keeper._flight is not None:
            await asyncio.sleep(0.001)


async def test_all_who_come_first_wait_for_one_token(keeper: TokenKeeper, service: Service) -> None:
    service.open.clear()
    asking = [asyncio.ensure_future(signed(keeper)) for _ in range(20)]
    await asyncio.sleep(0.01)
    service.open.set()

    assert set(await asyncio.gather(*asking)) == {"authorization: Bearer t1\r\n"}
    assert service.asked == 1


async def test_who_leaves_leaves_the_others_their_token(keeper: TokenKeeper, service: Service) -> None:
    service.open.clear()
    leaver, stayer = (asyncio.ensure_future(signed(keeper)) for _ in range(2))
    await asyncio.sleep(0.01)
    leaver.cancel()
    service.open.set()

    assert await stayer == "authorization: Bearer t1\r\n"


async def test_a_token_is_renewed_beside_its_use(keeper: TokenKeeper, service: Service) -> None:
    """Nobody waits while there is one, and no second renewal is begun."""
    await signed(keeper)
    service.now += 3200
    assert keeper.pending() is None
    assert service.asked == 1
    service.now += 200
    service.open.clear()
    for _ in range(5):
        assert keeper.pending() is None
    assert keeper.sign(HEAD, b"").endswith(b"Bearer t1\r\n")
    service.open.set()
    await landed(keeper)

    assert service.asked == 2
    assert keeper.pending() is None
    assert keeper.sign(HEAD, b"").endswith(b"Bearer t2\r\n")


async def test_after_an_idle_time_the_first_request_waits(keeper: TokenKeeper, service: Service) -> None:
    await signed(keeper)
    service.now += 7200

    pending = keeper.pending()
    assert pending is not None
    await pending
    assert keeper.sign(HEAD, b"").endswith(b"Bearer t2\r\n")


async def test_a_renewal_that_fails_spends_the_old_token_first(keeper: TokenKeeper, service: Service) -> None:
    """The service rests between attempts; only when the token has ended are requests told."""
    await signed(keeper)
    service.answers = [TokenUnreachable("down")] * 3
    service.now += 3400
    assert keeper.pending() is None
    await landed(keeper)
    assert keeper.pending() is None
    assert service.asked == 2
    service.now += 1.5
    assert keeper.pending() is None
    await landed(keeper)
    assert service.asked == 3
    service.now += 300

    with pytest.raises(UpstreamUnreachable, match="gave no token") as told:
        await signed(keeper)
    assert (told.value.status, told.value.code) == (503, "upstream_credential_unavailable")
    assert told.value.detail == "down"


async def test_a_service_that_fails_is_not_asked_by_each_request(
    keeper: TokenKeeper, service: Service
) -> None:
    service.answers = [TokenRefused("invalid_grant: account not found")]
    for _ in range(10):
        with pytest.raises(UpstreamError, match="refused the gateway's credential") as told:
            await signed(keeper)
        assert not isinstance(told.value, UpstreamUnreachable)
        assert told.value.detail == "invalid_grant: account not found"
    assert service.asked == 1
    service.now += 1.1

    assert await signed(keeper) == "authorization: Bearer t2\r\n"


@pytest.mark.parametrize("value", ["a b", "a\r\nx-evil: 1", "tök"])
async def test_a_token_cannot_add_a_header(keeper: TokenKeeper, service: Service, value: str) -> None:
    service.answers = [Token(value, 3600)]

    with pytest.raises(UpstreamUnreachable) as told:
        await signed(keeper)
    assert told.value.detail == "the token has a character no header can carry"


async def test_an_error_nobody_thought_of_is_told_too(keeper: TokenKeeper, service: Service) -> None:
    service.answers = [RuntimeError("boom")]

    with pytest.raises(UpstreamUnreachable) as told:
        await signed(keeper)
    assert told.value.detail == "boom"


async def test_a_short_token_is_used_too(keeper: TokenKeeper, service: Service) -> None:
    service.answers = [Token("short", 5.0)]
    assert await signed(keeper) == "authorization: Bearer short\r\n"
    service.now += 4.6

    assert await signed(keeper) == "authorization: Bearer t2\r\n"


async def test_begun_before_the_first_request(keeper: TokenKeeper, service: Service) -> None:
    """Once, however often it is begun, and who comes meanwhile waits for that one."""
    service.open.clear()
    for _ in range(3):
        keeper.begin()
    waiting = asyncio.ensure_future(signed(keeper))
    await asyncio.sleep(0.01)
    service.open.set()

    assert await waiting == "authorization: Bearer t1\r\n"
    keeper.begin()
    assert keeper.pending() is None
    assert service.asked == 1


async def test_what_has_no_end_is_looked_at_again(keeper: TokenKeeper, service: Service) -> None:
    """Beside its use, and what there was is good for as long as nothing else comes."""
    service.answers = [Token("kept", float("inf"), 60.0), TokenUnreachable("gone"), Token("other", 3600.0)]
    await signed(keeper)
    service.now += 61
    assert keeper.pending() is None
    await landed(keeper)
    service.now += 1e6
    assert keeper.pending() is None
    assert keeper.sign(HEAD, b"").endswith(b"Bearer kept\r\n")
    await landed(keeper)

    assert service.asked == 3
    assert keeper.sign(HEAD, b"").endswith(b"Bearer other\r\n")


async def test_nothing_to_ask_with(keeper: TokenKeeper, service: Service) -> None:
    service.answers = [TokenMissing("providers.x: nothing found; give it a key")]
    with pytest.raises(NoCredential, match="the gateway has no credential for the provider") as told:
        await signed(keeper)

    assert told.value.detail == "providers.x: nothing found; give it a key"


async def test_a_failed_renewal_is_logged(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody may ask for minutes; who runs the gateway learns of it at once."""
    keeper = Keeper(service.fetch, lambda: service.now, "azure-eu")
    service.answers = [TokenUnreachable("status 503")]
    keeper.begin()
    async with asyncio.timeout(5):
        while keeper._flight is not None:
            await asyncio.sleep(0.001)

    assert caplog.messages == ["no new credential for provider azure-eu: status 503"]


async def test_a_service_that_fails_all_night_is_still_asked_every_half_minute(
    keeper: TokenKeeper, service: Service
) -> None:
    service.answers = [TokenUnreachable("down")] * 1100
    for _ in range(1100):
        async with asyncio.timeout(5):
            with pytest.raises(NoCredential):
                await signed(keeper)
        service.now += 30.0

    assert service.asked == 1100
    assert await signed(keeper) == "authorization: Bearer t1101\r\n"


@pytest.mark.parametrize("lifetime_s", [0.0, -3600.0, float("nan")])
async def test_a_token_that_had_ended_when_it_came_is_not_asked_for_by_each_request(
    keeper: TokenKeeper, service: Service, lifetime_s: float
) -> None:
    service.answers = [Token("late", lifetime_s)]
    for _ in range(5):
        with pytest.raises(NoCredential) as told:
            await signed(keeper)
        assert told.value.detail == "the token had ended when it came"
    assert service.asked == 1
    service.now += 1.1

    assert await signed(keeper) == "authorization: Bearer t2\r\n"
