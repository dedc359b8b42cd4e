"""A bearer token that is renewed before it ends, beside the requests that use it.

A request that finds the token near its end starts the renewal and goes on with what there is. Only where
there is none, at the start and after an idle time, do requests wait, all for the one renewal under way.
A token service that fails is asked again after one second, then two, up to thirty.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from llmgw.core.errors import UpstreamError, UpstreamUnreachable

_EARLY_S = 300.0
_EARLY_SHARE = 0.2
_SPARE_S = 10.0
_SPARE_SHARE = 0.1
_MAX_REST_S = 30.0


@dataclass(frozen=True, slots=True)
class Token:
    """lifetime_s: from when it was asked for."""

    value: str
    lifetime_s: float


class TokenRefused(Exception):
    """The token service refuses the credential. The text is for the log and holds no secret."""


class TokenUnreachable(Exception):
    """The token service does not answer, or not with a token. The text is for the log."""


class TokenKeeper:
    """Implements `ports.provider.Signer` by a bearer token.

    fetch: gets a new one; blocking, called in a thread, never twice at a time. Raises TokenRefused
    and TokenUnreachable. clock: monotonic seconds.
    """

    def __init__(self, fetch: Callable[[], Token], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._line = b""
        self._renewed_from = float("-inf")
        self._ends_at = float("-inf")
        self._rests_until = float("-inf")
        self._failures = 0
        self._failure: Exception | None = None
        self._flight: asyncio.Future[None] | None = None

    def pending(self) -> Awaitable[None] | None:
        now = self._clock()
        if now < self._renewed_from:
            return None
        if now < self._ends_at:
            if self._flight is None and now >= self._rests_until:
                self._renew()
            return None
        return self._wait()

    def sign(self, head: bytes, body: bytes) -> bytes:
        return head + self._line

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

        def landed(call: asyncio.Future[Token | Exception]) -> None:
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

    def _attempt(self) -> Token | Exception:
        try:
            token = self._fetch()
            if not token.value.isascii() or not token.value.isprintable() or " " in token.value:
                return TokenUnreachable("the token has a character no header can carry")
            return token
        except Exception as error:
            # Told to the requests that wait for it; nobody else would hear of it in a thread.
            return error

    def _take(self, got: Token | Exception, asked_at: float) -> None:
        if isinstance(got, Exception):
            self._failure = got
            self._rests_until = self._clock() + min(_MAX_REST_S, 2.0**self._failures)
            self._failures += 1
            return
        self._failure = None
        self._failures = 0
        self._line = f"authorization: Bearer {got.value}\r\n".encode()
        lifetime_s = got.lifetime_s
        self._renewed_from = asked_at + lifetime_s - min(_EARLY_S, lifetime_s * _EARLY_SHARE)
        self._ends_at = asked_at + lifetime_s - min(_SPARE_S, lifetime_s * _SPARE_SHARE)


def _told(failure: Exception | None) -> UpstreamError:
    """What a request without a token is answered with."""
    detail = str(failure) if failure is not None else "the token had ended when it came"
    if isinstance(failure, TokenRefused):
        return UpstreamError(
            "the provider's token service refused the gateway's credential", phase="connect", detail=detail
        )
    return UpstreamUnreachable("the provider's token service gave no token", phase="connect", detail=detail)
