"""Who proves where requests come from, as a document says. What it does not use is not imported."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from llmgw.auth.api_key import ApiKeys
from llmgw.config.document import Document
from llmgw.config.issuers import IntrospectionSettings, JwtSettings
from llmgw.config.problems import ConfigError, problem_at
from llmgw.ports.auth import Authenticator, CertificateReader
from llmgw.ports.transport import Transport

if TYPE_CHECKING:
    from llmgw.auth.introspection import OpaqueTokens
    from llmgw.auth.issuer_keys import IssuerKeys, Keys, Trouble
    from llmgw.auth.jwt import JwtTokens


def import_used(document: Document) -> None:
    """Load what proves tokens, where a document needs it. Blocks for a quarter of a second, once."""
    if document.auth.jwt:
        import_module("llmgw.auth.jwt")
    if document.auth.client_cert.enabled:
        import_module("llmgw.auth.client_cert")


def _nobody(issuer: str, reason: str | None) -> None:
    """Tells nobody of trouble."""


class Issuers:
    """The keys of issuers, which outlive a generation: the same settings, the same keys.

    trouble: who is told when an issuer gives no keys, and when it does again.
    """

    def __init__(self) -> None:
        self.trouble: Trouble = _nobody
        self._kept: WeakValueDictionary[object, IssuerKeys] = WeakValueDictionary()

    def keys(self, settings: JwtSettings, transport: Transport) -> Keys:
        """What proves tokens of an issuer, already being asked for."""
        from llmgw.auth.issuer_keys import IssuerKeys, SharedSecret, fetcher

        if settings.secret is not None:
            return SharedSecret(settings.secret.get_secret_value().encode(), settings.algorithms)
        reach = (
            settings.allow_private,
            settings.proxy,
            settings.ca,
            settings.client_cert,
            settings.client_key,
        )
        where = (settings.issuer, settings.keys_url, settings.refresh, settings.stale_grace, reach)
        found = self._kept.get(where)
        if found is None:
            found = self._kept[where] = IssuerKeys(
                settings.issuer,
                fetcher(settings, transport),
                lambda issuer, reason: self.trouble(issuer, reason),
                refresh_s=settings.refresh,
                stale_grace_s=settings.stale_grace,
            )
        found.in_force()
        return found


def build_authenticators(
    document: Document, keys: ApiKeys, issuers: Issuers, transport: Transport
) -> tuple[Authenticator, ...]:
    """In the order in which they are asked: API keys last, since a key may have any form."""
    return tuple(_authenticators(document, keys, issuers, transport))


def build_certificates(document: Document) -> CertificateReader | None:
    """What reads client certificates; None where they are no credentials.

    Raises ConfigError when a file of CAs cannot be used.
    """
    if not document.auth.client_cert.enabled:
        return None
    from llmgw.auth.client_cert import AuthorityProblem, ClientCertificates

    try:
        return ClientCertificates(document.auth.client_cert)
    except AuthorityProblem as problem:
        path = ("auth", "client_cert", *problem.path)
        raise ConfigError([problem_at(document.place(path), path, str(problem))]) from problem


def certificate_field(document: Document) -> bytes | None:
    """The header in which trusted proxies may tell of certificates."""
    settings = document.auth.client_cert
    return settings.header.encode() if settings.enabled and settings.header is not None else None


def _authenticators(
    document: Document, keys: ApiKeys, issuers: Issuers, transport: Transport
) -> Iterator[Authenticator]:
    if document.auth.jwt:
        yield _tokens(document, issuers, transport)
    if document.auth.introspection is not None:
        yield _opaque_tokens(document, document.auth.introspection, keys, issuers, transport)
    if document.auth.api_key.enabled:
        yield keys


def _tokens(document: Document, issuers: Issuers, transport: Transport) -> JwtTokens:
    from llmgw.auth.claims import Claim
    from llmgw.auth.jwt import Issuer, JwtTokens

    wanted = [Claim(name) for name in _asked(document)]
    alone = len(document.auth.jwt) == 1
    return JwtTokens(
        [
            Issuer(one, issuers.keys(one, transport), document.tenants, wanted, alone=alone)
            for one in document.auth.jwt
        ]
    )


def _opaque_tokens(
    document: Document, settings: IntrospectionSettings, keys: ApiKeys, issuers: Issuers, transport: Transport
) -> OpaqueTokens:
    from llmgw.auth.claims import Claim
    from llmgw.auth.introspection import HttpService, OpaqueTokens

    return OpaqueTokens(
        settings,
        HttpService(settings, transport),
        keys.knows if document.auth.api_key.enabled else lambda key: False,
        document.tenants,
        lambda service, reason: issuers.trouble(service, reason),
        [Claim(name) for name in _asked(document)],
    )


def _asked(document: Document) -> list[str]:
    """The claims that routes look at."""
    return list(dict.fromkeys(name for route in document.routes for name in route.match.claim))
