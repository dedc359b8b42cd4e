"""`auth.jwt` and `auth.introspection`: who else than llmgw says where a request comes from.

Facts: RFC 7515 and 7519 (JWS, JWT), RFC 7518 (algorithms), RFC 8725 (best practices), OpenID
Connect Discovery 1.0 (where an issuer's keys are).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from llmgw.config.quantities import Duration, PositiveDuration
from llmgw.config.secret import Secret
from llmgw.config.section import Mistake, Section, TenantName
from llmgw.config.upstream import Reach
from llmgw.wire.hosts import is_private_host
from llmgw.wire.urls import parse_base_url

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    "HS256", "HS384", "HS512",
]  # fmt: skip
SECRET_BYTES: dict[str, int] = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Algorithms whose one secret both signs and proves, and how long it must be at least."""
_MAX_LEEWAY_S = 600.0
_MAX_TTL_S = 600.0
_NO_SECRETS = ("-----BEGIN", "{", "ssh-")
_DOT = re.compile(r"(?<!\\)\.")


def unfit(algorithms: Iterable[str], secret: str) -> str | None:
    """Why a secret cannot prove all of these, without the secret. (RFC 7518, 3.2)"""
    if secret.startswith(_NO_SECRETS):
        return "is a key or certificate, whose public part anybody may have; use random text"
    longest = max(algorithms, key=lambda one: SECRET_BYTES.get(one, 0))
    needed = SECRET_BYTES.get(longest, 0)
    return (
        None if len(secret.encode()) >= needed else f"is shorter than the {needed} bytes that {longest} needs"
    )


def claim_path(text: str) -> tuple[str, ...]:
    r"""The members to go through to a claim: `realm.org` is two, `realm\.org` and a URL are one."""
    if "://" in text:
        return (text,)
    return tuple(part.replace("\\.", ".") for part in _DOT.split(text))


def _claim(text: str) -> str:
    if not all(claim_path(text)):
        raise ValueError("must be a claim's name, or names joined by dots as in realm_access.org")
    return text


ClaimName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$"),
    AfterValidator(_claim),
]
r"""A claim, or a path to one within others. `\.` is a dot within a name; a URL is one name."""


def _tuple(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _url(text: str) -> str:
    url = urlsplit(text)
    if not text.isascii() or not text.isprintable() or " " in text or "#" in text:
        raise ValueError("must be a URL such as https://login.example.com/keys")
    try:
        parse_base_url(f"{url.scheme}://{url.netloc}")
    except ValueError as error:
        reason = str(error).replace("a base URL", "a URL").replace("the base URL", "the URL")
        raise ValueError(reason) from None
    return text


Url = Annotated[
    str, StringConstraints(max_length=2048), AfterValidator(_url), Field(json_schema_extra={"format": "uri"})
]
Texts = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=512)], ...],
    BeforeValidator(_tuple),
    Field(min_length=1, json_schema_extra={"examples": ["llmgw", ["llmgw", "api://llmgw"]]}),
]


class ClaimsSettings(Section):
    """Which claim of a token says what. Each may be a path, `realm_access.org`."""

    tenant: ClaimName | None = None
    user: ClaimName = "sub"
    scopes: ClaimName = "scope"
    """A list, or a text of words."""
    allow_models: ClaimName | None = None
    """Models that the token may use, as patterns: a list, or a text of words. Where the claim is named
    and a token has none, it may use no model."""


class TokenSettings(Reach):
    """How what is known of a token is read, whoever vouches for it."""

    tenant: TenantName | None = None
    """Whose requests they are, where no claim says so."""
    tenants: tuple[TenantName, ...] | None = None
    """The tenants that `claims.tenant` may name. Absent: all."""
    claims: ClaimsSettings = ClaimsSettings()
    required: dict[ClaimName, Annotated[str, StringConstraints(min_length=1, max_length=256)]] = Field(
        default_factory=dict
    )
    """Claims that a token must have, and their values, where `*` stands for anything."""
    required_scopes: tuple[Annotated[str, StringConstraints(pattern=r"^[!#-\[\]-~]{1,128}$")], ...] = ()
    """A token without one of these is refused with 403."""
    leeway: Duration = 60.0
    """How far clocks may be apart. At most 10m."""

    @model_validator(mode="after")
    def _says_whose(self) -> Self:
        if self.tenant is None and self.claims.tenant is None:
            raise Mistake("says no tenant: set tenant, or claims.tenant to the claim that names it")
        if self.tenant is not None and self.claims.tenant is not None:
            raise Mistake("is said by claims.tenant too; keep one", member="tenant")
        if self.tenants is not None and self.claims.tenant is None:
            raise Mistake("is for claims.tenant, and that is not set", member="tenants")
        if self.leeway > _MAX_LEEWAY_S:
            raise Mistake("is more than 10m, which would keep expired tokens alive", member="leeway")
        return self


class JwtSettings(TokenSettings):
    """An issuer of tokens, and how its tokens are proved and read."""

    issuer: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """What a token's `iss` must be, to the letter."""
    audience: Texts
    """A token's `aud` must hold one of these."""
    jwks_url: Url | None = None
    """Where the issuer's keys are. Absent: as its discovery document says."""
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256",), min_length=1)
    """Those a token may be signed with. HS* need `secret`, the others keys."""
    secret: Secret | None = None
    """For HS256, HS384 and HS512, of at least 32, 48 and 64 bytes."""
    typ: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """What the token's header must say, such as `at+jwt`. Absent: anything."""
    refresh: PositiveDuration = 600.0
    """How often keys are asked for."""
    stale_grace: PositiveDuration = 86400.0
    """How long keys stay in force while the issuer does not answer."""

    @property
    def keys_url(self) -> str | None:
        """Where keys, or the document that tells where they are, come from; None where a secret proves."""
        if self.secret is not None:
            return None
        return self.jwks_url or f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"

    @model_validator(mode="after")
    def _has_what_proves(self) -> Self:
        shared = [one for one in self.algorithms if one in SECRET_BYTES]
        if shared and len(shared) < len(self.algorithms):
            reason = (
                f"mixes {shared[0]}, which is proved by a secret, with algorithms that are proved by keys"
            )
            raise Mistake(reason, member="algorithms")
        if shared and self.secret is None:
            raise Mistake(f"is needed for {shared[0]}", member="secret")
        if not shared and self.secret is not None:
            reason = (
                f"proves nothing signed with {self.algorithms[0]}; set algorithms: [HS256] if that is meant"
            )
            raise Mistake(reason, member="secret")
        if shared and self.jwks_url is not None:
            raise Mistake(f"has no keys for {shared[0]}; the secret proves", member="jwks_url")
        return self

    @model_validator(mode="after")
    def _keys_are_within_reach(self) -> Self:
        url = self.keys_url
        if url is None:
            return self
        member = "issuer" if self.jwks_url is None else "jwks_url"
        try:
            _url(url)
        except ValueError:
            # `jwks_url` was looked at already.
            raise Mistake("is no URL that tells where its keys are; set jwks_url", member=member) from None
        _within_reach(url, member, private=self.allow_private, danger="put in keys")
        return self

    @model_validator(mode="after")
    def _can_prove(self) -> Self:
        if find_spec("jwt") is None or find_spec("cryptography") is None:
            raise Mistake("needs PyJWT and cryptography, which come with llmgw[jwt]")
        return self


class IntrospectionSettings(TokenSettings):
    """A service that is asked what a token is worth. (RFC 7662)"""

    url: Url
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    client_secret: Secret
    """With the id, what the gateway shows to the service."""
    issuer: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """What the answer's `iss` must be. Absent: anything."""
    audience: Texts | None = None
    """The answer's `aud` must hold one of these. Absent: anything."""
    ttl: PositiveDuration = 60.0
    """How long an answer is believed, and so how long a revoked token works. At most 10m."""

    @model_validator(mode="after")
    def _is_asked_safely(self) -> Self:
        _within_reach(self.url, "url", private=self.allow_private, danger="read tokens")
        if self.ttl > _MAX_TTL_S:
            raise Mistake("is more than 10m, for which a revoked token would work", member="ttl")
        return self


def _within_reach(url: str, member: str, *, private: bool, danger: str) -> None:
    parts = urlsplit(url)
    is_private = is_private_host(parts.hostname or "")
    if is_private and not private:
        reason = f"{parts.hostname} is not a public host; add allow_private: true if that is meant"
        raise Mistake(reason, member=member)
    if parts.scheme != "https" and not is_private:
        raise Mistake(f"must begin with https://, or anybody on the way could {danger}", member=member)
