"""Opaque tokens: the service that issued them is asked what each is worth, and its answer is kept.

Requests with the same token wait for one question. What the service called good is believed for
`ttl` and never longer than the token lasts; what it refused, for ten seconds. While it does
not answer, what is not known is neither good nor bad: 503.

A token is shown to that service and nobody else; it is kept as its SHA-256.

Facts: RFC 7662 (token introspection), RFC 6749 section 2.3.1 (how a client names itself).
"""

from __future__ import annotations

import asyncio
import re
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any, Protocol
from urllib.parse import quote_plus

from llmgw.auth.api_key import OTHER_PLACES, credential
from llmgw.auth.claims import Claim
from llmgw.auth.fetch import NoDocument, Source
from llmgw.auth.reader import MAX_BYTES, REMEMBERED, Reader, refused
from llmgw.config.issuers import IntrospectionSettings
from llmgw.core.api_key import PREFIX
from llmgw.core.errors import GatewayError, Unavailable
from llmgw.core.principal import Principal
from llmgw.ports.transport import Transport

MAX_ASKING = 32
REFUSED_S = 10.0
"""How long a refusal is believed."""
_MAX_REFUSED = 5_000
_OUR_KEY = f"Bearer {PREFIX}".encode()
_SENDABLE = re.compile(rb"[\x21-\x7e]+")

Trouble = Callable[[str, str | None], None]
"""Told the service and what is wrong with it, at the first failure in a row, and None at the end of it."""


class Service(Protocol):
    async def ask(self, token: bytes) -> dict[str, Any]:
        """What the service says of a token. Raises NoDocument."""


class HttpService:
    """Implements `Service`. Its credential goes in every question and is never told."""

    def __init__(self, settings: IntrospectionSettings, transport: Transport) -> None:
        self._source = Source(settings.url, settings, transport)
        names = (settings.client_id, settings.client_secret.get_secret_value())
        basic = b64encode(":".join(map(quote_plus, names)).encode()).decode()
        self._lines = f"authorization: Basic {basic}\r\ncontent-type: application/x-www-form-urlencoded\r\n"

    async def ask(self, token: bytes) -> dict[str, Any]:
        form = f"token={quote_plus(token)}&token_type_hint=access_token"
        return await self._source.post(self._lines, form.encode())


class OpaqueTokens:
    """Implements `ports.auth.Authenticator` for what one service vouches for.

    is_key: whether a credential is an API key, which is somebody else's to look at.
    now: seconds UTC.
    """

    def __init__(
        self,
        settings: IntrospectionSettings,
        service: Service,
        is_key: Callable[[bytes], bool],
        tenants: Collection[str],
        trouble: Trouble,
        wanted: Sequence[Claim] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._service = service
        self._is_key = is_key
        self._trouble = trouble
        self._now = now
        self._reader = Reader("token", settings, settings.audience, tenants, wanted)
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[float, GatewayError]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Principal]] = {}
        self._failing = False

    def principal(self, fields: Mapping[bytes, bytes]) -> Principal | Awaitable[Principal] | None:
        bearer = fields.get(b"authorization")
        if bearer is not None and OTHER_PLACES.isdisjoint(fields):
            if bearer.startswith(_OUR_KEY):
                return None
            known = self._known.get(sha256(bearer).digest())
            if known is not None and self._now() < known[0]:
                return known[1]
        token = credential(fields)
        if token is None or self._is_key(token):
            return None
        if len(token) > MAX_BYTES or _SENDABLE.fullmatch(token) is None:
            raise refused("it is too long, or has a character that no token has")
        digest = sha256(b"Bearer " + token).digest()
        known = self._known.get(digest)
        if known is not None and self._now() < known[0]:
            return known[1]
        refusal = self._refused.get(digest)
        if refusal is not None and self._now() < refusal[0]:
            raise _again(refusal[1])
        return self._later(token, digest)

    async def _later(self, token: bytes, digest: bytes) -> Principal:
        asking = self._asking.get(digest)
        if asking is None:
            if len(self._asking) >= MAX_ASKING:
                raise _unavailable("too many tokens are being asked about")
            asking = asyncio.get_running_loop().create_task(self._ask(token, digest))
            self._asking[digest] = asking
            asking.add_done_callback(_heard)
        try:
            # Whoever asked first may leave; the others still want to know.
            return await asyncio.shield(asking)
        except GatewayError as error:
            raise _again(error) from error

    async def _ask(self, token: bytes, digest: bytes) -> Principal:
        try:
            said = await self._service.ask(token)
            self._tell(None)
        except NoDocument as error:
            self._tell(str(error))
            raise _unavailable("the service that knows tokens does not answer") from error
        finally:
            del self._asking[digest]
        now = self._now()
        try:
            principal, until = self._read(said, now)
        except GatewayError as error:
            _keep(self._refused, digest, (now + REFUSED_S, error), _MAX_REFUSED)
            raise
        _keep(self._known, digest, (until, principal), REMEMBERED)
        return principal

    def _read(self, said: Mapping[str, Any], now: float) -> tuple[Principal, float]:
        if said.get("active") is not True:
            raise refused("the service that knows tokens says it is not active")
        if self._settings.issuer is not None and said.get("iss") != self._settings.issuer:
            raise refused("its issuer is another")
        ends = self._reader.until(said, now)
        believed = now + self._settings.ttl
        return self._reader.principal(said), believed if ends is None else min(ends, believed)

    def _tell(self, reason: str | None) -> None:
        if self._failing != (reason is not None):
            self._failing = reason is not None
            self._trouble(self._settings.url, reason)


def _heard(asked: asyncio.Task[Principal]) -> None:
    """Whoever asked may have left before the answer, which is no reason to complain."""
    if not asked.cancelled():
        asked.exception()


def _keep(kept: OrderedDict[bytes, Any], digest: bytes, value: object, most: int) -> None:
    kept.pop(digest, None)
    if len(kept) >= most:
        kept.popitem(last=False)
    kept[digest] = value


def _again(error: GatewayError) -> GatewayError:
    """The same for another request, without the traceback of the first."""
    return type(error)(
        error.message,
        code=error.code,
        detail=error.detail,
        retry_after_s=error.retry_after_s,
        headers=error.headers,
    )


def _unavailable(detail: str) -> Unavailable:
    message = "tokens cannot be checked at the moment; try again"
    return Unavailable(message, code="issuer_unavailable", retry_after_s=2, detail=detail)
