"""A credential that is renewed before it ends, beside the requests that use it.

A request that finds it near its end starts the renewal and goes on with what there is. Only where
there is none, at the start and after an idle time, do requests wait, all for the one renewal under way.
A service that fails is asked again after one second, then two, up to thirty.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from llmgw.core.errors import UpstreamError, UpstreamUnreachable

_EARLY_S = 300.0
_EARLY_SHARE = 0.2
_SPARE_S = 10.0
_SPARE_SHARE = 0.1
_MAX_REST_S = 30.0
_MOST_DOUBLINGS = 5
_ENDED = "the token had ended when it came"
_LOG = logging.getLogger(__name__)
_Held = TypeVar("_Held")


@dataclass(frozen=True, slots=True)
class Token(Generic[_Held]):
    """What is kept: a bearer token, or keys to sign with.

    lifetime_s: from when it was asked for; infinite for what does not say. renew_after_s: when to look for
    another, where that does not follow from the lifetime.
    """

    value: _Held
    lifetime_s: float
    renew_after_s: float | None = None


class TokenRefused(Exception):
    """The token service refuses the credential. The text is for the log and holds no secret."""


class TokenUnreachable(Exception):
    """The token service does not answer, or not with a token. The text is for the log."""


class TokenMissing(Exception):
    """There is nothing to ask for a token with. The text says where was looked, and what to do."""


class NoCredential(UpstreamUnreachable):
    """There is nothing to sign requests with now; another target, or a later request, may do better."""

    status = 503
    code = "upstream_credential_unavailable"


class Keeper(Generic[_Held]):
    """What is had from a service for a time. value: None before the first.

    fetch: gets a new one; blocking, called in a thread, never twice at a time. Raises TokenRefused,
    TokenUnreachable and TokenMissing. clock: monotonic seconds. provider: its name, for the log.
    """

    def __init__(
        self,
        fetch: Callable[[], Token[_Held]],
        clock: Callable[[], float] = time.monotonic,
        provider: str = "",
    ) -> None:
        self._provider = provider
        self.value: _Held | None = None
        self._fetch = fetch
        self._clock = clock
        self._renewed_from = float("-inf")
        self._ends_at = float("-inf")
        self._rests_until = float("-inf")
        self._failures = 0
        self._failure: Exception | None = None
        self._flight: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """Get the first one, unless there is one or somebody is at it."""
        if self._flight is None and self._clock() >= max(self._renewed_from, self._rests_until):
            self._renew()

    def pending(self) -> Awaitable[None] | None:
        now = self._clock()
        if now < self._renewed_from:
            return None
        if now < self._ends_at:
            if self._flight is None and now >= self._rests_until:
                self._renew()
            return None
        return self._wait()

    async def _wait(self) -> None:
        flight = self._flight
        if flight is None and self._clock() >= self._rests_until:
            flight = self._renew()
        if flight is not None:
            await asyncio.shield(flight)
        if self._clock() >= self._ends_at:
            raise _told(self._failure)

    def _renew(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        asked_at = self._clock()
        flight = self._flight = loop.create_future()

        def landed(call: asyncio.Future[Token[_Held] | Exception]) -> None:
            self._flight = None
            if call.cancelled():
                # The loop is being closed.
                flight.cancel()
                return
            self._take(call.result(), asked_at)
            if not flight.done():
                flight.set_result(None)

        loop.run_in_executor(None, self._attempt).add_done_callback(landed)
        return flight

    def _attempt(self) -> Token[_Held] | Exception:
        try:
            return self._fetch()
        except Exception as error:
            # Told to the requests that wait for it; nobody else would hear of it in a thread.
            return error

    def _take(self, got: Token[_Held] | Exception, asked_at: float) -> None:
        if not isinstance(got, Exception) and not got.lifetime_s > 0:
            # By a clock that differs, or from a cache. Each request would ask for another at once.
            got = TokenUnreachable(_ENDED)
        if isinstance(got, Exception):
            _LOG.warning("no new credential for provider %s: %s", self._provider, got)
            self._failure = got
            self._rests_until = self._clock() + min(_MAX_REST_S, 2.0 ** min(self._failures, _MOST_DOUBLINGS))
            self._failures += 1
            return
        self._failure = None
        self._failures = 0
        self.value = got.value
        lifetime_s = got.lifetime_s
        early_s = lifetime_s - min(_EARLY_S, lifetime_s * _EARLY_SHARE)
        self._renewed_from = asked_at + (early_s if got.renew_after_s is None else got.renew_after_s)
        self._ends_at = asked_at + lifetime_s - min(_SPARE_S, lifetime_s * _SPARE_SHARE)


class TokenKeeper(Keeper[str]):
    """Implements `ports.provider.Signer` by a bearer token."""

    def __init__(
        self,
        fetch: Callable[[], Token[str]],
        clock: Callable[[], float] = time.monotonic,
        provider: str = "",
    ) -> None:
        super().__init__(lambda: _sendable(fetch()), clock, provider)

    def sign(self, head: bytes, body: bytes) -> bytes:
        assert self.value is not None
        return b"%bauthorization: Bearer %b\r\n" % (head, self.value.encode())


def _sendable(token: Token[str]) -> Token[str]:
    if not token.value.isascii() or not token.value.isprintable() or " " in token.value:
        raise TokenUnreachable("the token has a character no header can carry")
    return token


def _told(failure: Exception | None) -> UpstreamError:
    """What a request without a credential is answered with."""
    detail = str(failure) if failure is not None else _ENDED
    if isinstance(failure, TokenRefused):
        return UpstreamError(
            "the provider's token service refused the gateway's credential", phase="connect", detail=detail
        )
    if isinstance(failure, TokenMissing):
        return NoCredential("the gateway has no credential for the provider", phase="connect", detail=detail)
    return NoCredential("the provider's token service gave no token", phase="connect", detail=detail)
