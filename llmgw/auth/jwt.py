"""JSON Web Tokens: proved by their issuer's keys, read as its settings say.

A token that was proved is remembered by the whole of its header's SHA-256 until it ends, or its
issuer's keys change; what is refused is never remembered, so it can push nothing out.

Promise: nothing in a token's header is followed: not `jku`, `x5u`, `jwk` or `x5c`, and an algorithm
only where the issuer's settings and the key have it.

Facts: RFC 7515, 7519 and 8725.
"""

from __future__ import annotations

import asyncio
import re
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any

import jwt
from jwt.exceptions import PyJWTError

from llmgw.auth.api_key import OTHER_PLACES, credential
from llmgw.auth.claims import Claim, NotClaims, parse_claims
from llmgw.auth.issuer_keys import Keys
from llmgw.auth.key_set import Key
from llmgw.auth.reader import MAX_BYTES, REMEMBERED, Reader, refused
from llmgw.config.issuers import JwtSettings
from llmgw.core.errors import Unavailable
from llmgw.core.principal import Principal

WAIT_S = 2.0
"""How long a request waits for keys that are being asked for."""
MAX_WAITING = 256
_BEGINNINGS = (b"ey", b"ew")
"""Of a JSON object in base64: `{` and a quote or a blank, or `{` and a line break."""
_FORM = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
_MAX_KID = 256


Identity = tuple[float, Principal, Keys, int]
"""Until when, in seconds UTC; who; what proved it, and the epoch of that."""


class JwtTokens:
    """Implements `ports.auth.Authenticator` for the tokens of some issuers.

    wanted: claims that are kept with the principal. now: seconds UTC; steady: monotonic seconds.
    """

    def __init__(
        self,
        issuers: Collection[Issuer],
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuers = {one.name: one for one in issuers}
        self._now = now
        self._steady = steady
        self._known: OrderedDict[bytes, Identity] = OrderedDict()
        self._waiting = 0

    def principal(self, fields: Mapping[bytes, bytes]) -> Principal | Awaitable[Principal] | None:
        bearer = fields.get(b"authorization")
        if bearer is not None:
            if bearer[7:8] not in b"e ":
                return None
            if OTHER_PLACES.isdisjoint(fields):
                known = self._remembered(bearer)
                if known is not None:
                    return known
        token = credential(fields)
        if token is None or not token.startswith(_BEGINNINGS) or token.count(b".") < 2:
            return None
        if len(token) > MAX_BYTES:
            raise refused("it is too long")
        header = b"Bearer " + token
        return self._remembered(header) or self._proved(token, patient=True) or self._later(token)

    def _remembered(self, header: bytes) -> Principal | None:
        """Who was proved to hold the token in a header, while that holds."""
        known = self._known.get(sha256(header).digest())
        if known is None:
            return None
        until, principal, keys, epoch = known
        if (
            self._now() < until
            and keys.epoch == epoch
            and (self._steady() < keys.fresh_until or keys.in_force())
        ):
            return principal
        return None

    def _proved(self, token: bytes, *, patient: bool) -> Principal | None:
        """Who holds the token; None to ask again once the issuer's keys are here, if patient."""
        header, said = _opened(token)
        issuer = self._issuers.get(said["iss"]) if isinstance(said.get("iss"), str) else None
        if issuer is None:
            raise refused("its issuer is none of auth.jwt")
        algorithm = issuer.algorithm(header)
        keys = issuer.keys
        if not keys.in_force():
            if patient:
                return None
            raise _unavailable(issuer)
        epoch = keys.epoch
        key = keys.find(header.get("kid"), algorithm)
        if key is None:
            if patient and keys.sought() is not None:
                return None
            # What an issuer that does not answer has not, nobody knows.
            raise _unavailable(issuer) if keys.is_failing else refused("its issuer has no such key")
        issuer.prove(token, algorithm, key)
        until = issuer.reader.until(said, self._now())
        if until is None:
            raise refused("it does not say when it expires")
        principal = issuer.reader.principal(said)
        digest = sha256(b"Bearer " + token).digest()
        self._known.pop(digest, None)
        if len(self._known) >= REMEMBERED:
            self._known.popitem(last=False)
        self._known[digest] = (until, principal, keys, epoch)
        return principal

    async def _later(self, token: bytes) -> Principal:
        if self._waiting >= MAX_WAITING:
            raise _unavailable(None)
        issuer = self._issuers[_opened(token)[1]["iss"]]
        flight = issuer.keys.sought()
        if flight is not None:
            self._waiting += 1
            try:
                await asyncio.wait([flight], timeout=WAIT_S)
            finally:
                self._waiting -= 1
            if not flight.done():
                raise _unavailable(issuer)
        found = self._proved(token, patient=False)
        assert found is not None
        return found


class Issuer:
    """One issuer's settings, compiled.

    keys: what proves its tokens. tenants: those that exist. wanted: claims that are kept.
    alone: there is no other, so that a subject needs no issuer to be told apart. (RFC 7519, 4.1.2)
    """

    def __init__(
        self,
        settings: JwtSettings,
        keys: Keys,
        tenants: Collection[str],
        wanted: Sequence[Claim] = (),
        *,
        alone: bool = True,
    ) -> None:
        self.name = settings.issuer
        self.keys = keys
        kind = "jwt" if alone else f"jwt:{settings.issuer}"
        self.reader = Reader(kind, settings, settings.audience, tenants, wanted)
        self._algorithms = settings.algorithms
        self._typ = _typ(settings.typ) if settings.typ is not None else None
        self._jws = jwt.PyJWS(settings.algorithms, {"enforce_minimum_key_length": True})

    def algorithm(self, header: Mapping[str, Any]) -> str:
        """The algorithm of a token's header, which this issuer uses. Raises InvalidCredentials."""
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._algorithms or not isinstance(algorithm, str):
            raise refused("its algorithm is none of the issuer's")
        if kid is not None and (not isinstance(kid, str) or len(kid) > _MAX_KID):
            raise refused("its kid can be none")
        if self._typ is not None and _typ(header.get("typ")) != self._typ:
            raise refused("its typ is another")
        return algorithm

    def prove(self, token: bytes, algorithm: str, key: Key) -> None:
        """Raises InvalidCredentials unless the key signed the token."""
        try:
            self._jws.decode_complete(token, key.public, [algorithm])
        except (PyJWTError, ValueError, TypeError) as error:
            raise refused(f"it is not signed as it should be: {type(error).__name__}") from error


def _opened(token: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """A token's header and claims, of which nothing is proved yet."""
    form = _FORM.fullmatch(token)
    if form is None:
        raise refused("it has not three parts")
    try:
        header, said = (
            parse_claims(urlsafe_b64decode(part + b"=" * (-len(part) % 4))) for part in form.groups()
        )
    except (NotClaims, ValueError) as error:
        raise refused("its parts cannot be read") from error
    return header, said


def _typ(text: object) -> str | None:
    """A media type without the `application/` that may be left out. (RFC 7515, 4.1.9)"""
    return text.lower().removeprefix("application/") if isinstance(text, str) else None


def _unavailable(issuer: Issuer | None) -> Unavailable:
    return Unavailable(
        "tokens cannot be checked at the moment; try again",
        code="issuer_unavailable",
        retry_after_s=2,
        detail=f"no keys of {issuer.name}" if issuer is not None else "too many wait for keys",
    )
