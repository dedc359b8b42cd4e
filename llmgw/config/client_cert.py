"""`auth.client_cert`: which client certificates are whose.

Facts: RFC 5280 section 4.2.1.6 (subject alternative names), RFC 9440 (`Client-Cert`), SPIFFE-ID
section 2, Envoy's HTTP header manipulation (`x-forwarded-client-cert`).
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from llmgw.config.section import ConfigPath, Flag, Mistake, ModelPattern, Section, TenantName
from llmgw.config.tenants import UserName

Identity = Literal["san_uri", "san_dns", "san_email"]
Header = Literal["client-cert", "x-forwarded-client-cert"]

MAX_NAME = 256
_ANY = "*"
_FORMS: dict[str, tuple[re.Pattern[str], str]] = {
    "san_uri": (
        re.compile(r"[a-z][a-z0-9+.-]*:(//[^*/\s]+(/\S*)?|[^*/\s][^*\s]*\*?)"),
        "must be a URI such as spiffe://example.com/acme/*, with * in its path only",
    ),
    "san_dns": (
        re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*"),
        "must be a name such as web.acme.example.com or *.acme.example.com, in lower case",
    ),
    "san_email": (
        re.compile(r"[^*@\s]+@[a-z0-9.-]+|\*@[a-z0-9.-]+"),
        "must be an address such as web@example.com or *@example.com, its domain in lower case",
    ),
}
"""Where an asterisk may stand: whoever may name the rest must not be able to name the beginning."""

NamePattern = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME, pattern=r"^[\x21-\x7e]+$")]


class CertificateHolder(Section):
    """Whose requests they are that come with a certificate."""

    tenant: TenantName
    user: UserName | None = None
    allow_models: tuple[ModelPattern, ...] | None = None
    """Models that may be used; absent: all of the tenant."""
    issuer: ConfigPath | None = None
    """In place of `issuer` above."""


class ClientCertSettings(Section):
    """Certificates of clients as credentials: on `server.tls.client_auth`, or in a proxy's header."""

    enabled: Flag = False
    identity: Identity = "san_uri"
    """Which of the certificate's alternative names says who it is. The subject never does."""
    issuer: ConfigPath | None = None
    """PEM file of the CA that must have signed the certificate itself, where several are trusted."""
    header: Header | None = None
    """Where `server.trusted_proxies` put the certificate that they have verified. Absent: nowhere."""
    map: dict[NamePattern, CertificateHolder] = Field(default_factory=dict)
    """By name, where `*` stands for anything. The most specific one that fits decides."""

    @property
    def issuers(self) -> dict[tuple[str, ...], ConfigPath]:
        """The files of CAs, by where they stand in this section."""
        found = {(): self.issuer} | {("map", name): holder.issuer for name, holder in self.map.items()}
        return {(*path, "issuer"): file for path, file in found.items() if file is not None}

    @model_validator(mode="after")
    def _names_are_of_the_kind(self) -> Self:
        form, reason = _FORMS[self.identity]
        for name in self.map:
            if name != _ANY and not form.fullmatch(name):
                raise Mistake(f'"{name}" {reason}', member="map")
        return self

    @model_validator(mode="after")
    def _can_say_who(self) -> Self:
        if not self.enabled:
            return self
        if not self.map:
            raise Mistake("is empty, so no certificate is anybody's", member="map")
        if self.header == "x-forwarded-client-cert":
            if self.identity == "san_email":
                raise Mistake(
                    "is not told by x-forwarded-client-cert; use header: client-cert", member="identity"
                )
            if self.issuers:
                raise Mistake("tells no issuer; use header: client-cert, or set no issuer", member="header")
        if find_spec("cryptography") is None:
            raise Mistake("needs cryptography, which comes with llmgw[mtls]", member="enabled")
        return self
