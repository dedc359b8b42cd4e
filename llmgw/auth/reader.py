"""Who somebody is by the claims of a token, once they are proved.

Promise: an answer tells that a token has expired or is not valid, and never which of the other
checks it failed; the log tells that, and no token.

Facts: RFC 7519 section 4.1 (claims), RFC 6750 section 3 (answers).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from llmgw.auth.claims import Claim, any_of, seconds
from llmgw.config.issuers import TokenSettings
from llmgw.core.errors import InvalidCredentials, PermissionDenied
from llmgw.core.principal import Principal

REMEMBERED = 20_000
"""Tokens, and principals, of one issuer and process."""
MAX_BYTES = 16 * 1024
"""Of a token."""


class Reader:
    """Settings, compiled.

    kind: what the ids of keys begin with, so that no API key's can be the same.
    audience: one of which a token must be for, None for any.
    tenants: those that exist. wanted: claims that are kept with the principal.
    """

    def __init__(
        self,
        kind: str,
        settings: TokenSettings,
        audience: Collection[str] | None,
        tenants: Collection[str],
        wanted: Sequence[Claim] = (),
    ) -> None:
        self._kind = kind
        self._settings = settings
        self._audience = frozenset(audience) if audience is not None else None
        self._tenants = frozenset(tenants)
        self._may_name = frozenset(settings.tenants) if settings.tenants is not None else self._tenants
        claims = settings.claims
        self._tenant = Claim(claims.tenant) if claims.tenant is not None else None
        self._user = Claim(claims.user)
        self._subject = Claim("sub")
        self._scopes = Claim(claims.scopes)
        self._models = Claim(claims.allow_models) if claims.allow_models is not None else None
        self._required = tuple((Claim(name), pattern) for name, pattern in settings.required.items())
        self._wanted = tuple(wanted)
        self._people: dict[tuple[object, ...], Principal] = {}

    def until(self, said: Mapping[str, Any], now: float) -> float | None:
        """When a token ends, in seconds UTC; None where it does not say so.

        Raises InvalidCredentials when it has ended, or has not begun.
        """
        leeway = self._settings.leeway
        expires = seconds(said.get("exp"))
        if expires is None and "exp" in said:
            raise refused("its exp is no moment")
        if expires is not None and now >= expires + leeway:
            raise _refused("the token has expired", "the token is refused: it has expired")
        for name in ("nbf", "iat"):
            moment = seconds(said.get(name))
            if name in said and (moment is None or moment > now + leeway):
                raise refused(f"its {name} is ahead of the time here")
        return None if expires is None else expires + leeway

    def principal(self, said: Mapping[str, Any]) -> Principal:
        """Who a token is from.

        Raises InvalidCredentials, and PermissionDenied for what it may not do here.
        """
        audience = said.get("aud")
        heard = [audience] if isinstance(audience, str) else audience
        if self._audience is not None and not (
            isinstance(heard, list) and any(isinstance(one, str) and one in self._audience for one in heard)
        ):
            raise refused("it is for another audience")
        for claim, pattern in self._required:
            if not any(fnmatchcase(text, pattern) for text in claim.texts(said)):
                raise refused(f"its claim {claim.name} is not as required")
        user = self._user.identity(said)
        if user is None:
            raise refused(f"its claim {self._user.name} names no user")
        tenant = self._whose(said)
        scopes = self._scopes.words(said)
        for scope in self._settings.required_scopes:
            if scope not in scopes:
                raise PermissionDenied(
                    f"the token lacks the scope '{scope}'",
                    headers=(("www-authenticate", f'Bearer error="insufficient_scope", scope="{scope}"'),),
                )
        models = tuple(dict.fromkeys(self._models.words(said))) if self._models is not None else None
        claims = any_of(self._wanted, said)
        key_id = f"{self._kind}:{self._subject.identity(said) or user}"
        # One principal for all tokens of somebody: what a plan prepares for it is prepared once.
        person = (tenant, user, key_id, models, claims)
        found = self._people.get(person)
        if found is None:
            if len(self._people) >= REMEMBERED:
                self._people.clear()
            found = self._people[person] = Principal(tenant, user, key_id, models, claims=claims)
        return found

    def _whose(self, said: Mapping[str, Any]) -> str:
        if self._tenant is None:
            tenant = self._settings.tenant or ""
        else:
            found = self._tenant.identity(said)
            if found is None:
                raise PermissionDenied(f"the token names no tenant: its claim {self._tenant.name} should")
            tenant = found
            if tenant not in self._may_name and tenant in self._tenants:
                raise PermissionDenied(f"tokens of this issuer are not for the tenant '{tenant}'")
        if tenant not in self._tenants:
            raise PermissionDenied(f"there is no tenant '{tenant}', which the token names")
        return tenant


def refused(why: str) -> InvalidCredentials:
    """What every token that is not valid is answered with. why: for the log."""
    return _refused("the token is not valid", f"the token is refused: {why}")


def _refused(message: str, detail: str) -> InvalidCredentials:
    challenge = f'Bearer error="invalid_token", error_description="{message}"'
    return InvalidCredentials(message, detail=detail, headers=(("www-authenticate", challenge),))
