"""Client certificates as credentials: whose a connection's is, or the one that a proxy tells of.

That it holds was verified by whoever ended TLS, which is `server.tls` here or a trusted proxy. What
is asked here is whose it is: by its alternative names and by who signed it, never by its subject.

A certificate is read once, and remembered as it came with what it says; its dates are looked
at for every request, since a connection can outlive them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmgw.auth.certificate import NoCertificate, ReadCertificate, read_authorities, read_certificate
from llmgw.auth.certificate_map import CertificateMap, principal_of_certificate
from llmgw.config.client_cert import ClientCertSettings
from llmgw.core.errors import InvalidCredentials
from llmgw.ports.auth import CERTIFICATE, PROXY_CERTIFICATE, Shown
from llmgw.wire.client_cert import NotTold, parse_client_cert, parse_forwarded_cert

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_REMEMBERED = 20_000
_KEYS = {"san_uri": b"uri", "san_dns": b"dns"}
"""Of `x-forwarded-client-cert`."""
_SHOWN_IN_LOG = 3

_Known = tuple[float, float, Shown]
"""From when until when, in seconds UTC, and what."""


class AuthorityProblem(Exception):
    """A file of CAs cannot be used. path: where in `auth.client_cert` it is named."""

    def __init__(self, path: tuple[str, ...], reason: str) -> None:
        super().__init__(reason)
        self.path = path


class ClientCertificates:
    """Implements `ports.auth.CertificateReader`. Raises AuthorityProblem. now: seconds UTC."""

    def __init__(self, settings: ClientCertSettings, now: Callable[[], float] = time.time) -> None:
        self._identity = settings.identity
        self._map = CertificateMap(settings.identity, settings.map)
        self._issuer = settings.issuer
        self._authorities = {file: _authorities(path, file) for path, file in settings.issuers.items()}
        self._header = settings.header.encode() if settings.header is not None else None
        # Behind a proxy that tells of certificates, its own is none of its clients'.
        self._own = (CERTIFICATE,) if self._header is not None else (CERTIFICATE, PROXY_CERTIFICATE)
        self._now = now
        self._known: dict[bytes, _Known] = {}

    def shown(self, fields: Mapping[bytes, bytes]) -> Shown | None:
        header = self._header
        if header is not None and (told := fields.get(header)) is not None:
            return self._current(told, self._told)
        for place in self._own:
            if (der := fields.get(place)) is not None:
                return self._current(der, self._read)
        return None

    def _current(self, value: bytes, read: Callable[[bytes], _Known]) -> Shown:
        known = self._known.get(value)
        if known is None:
            known = read(value)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[value] = known
        now = self._now()
        if now >= known[1]:
            raise _refused("the client certificate has expired", "it has expired")
        if now < known[0]:
            raise _invalid("it is not valid yet")
        return known[2]

    def _told(self, value: bytes) -> _Known:
        try:
            if self._header == b"client-cert":
                return self._read(parse_client_cert(value))
            said = parse_forwarded_cert(value).get(_KEYS[self._identity], [])
        except NotTold as error:
            raise _invalid(f"a proxy tells of it, and {error}") from error
        return -math.inf, math.inf, self._whose([name.decode("latin-1") for name in said], None)

    def _read(self, der: bytes) -> _Known:
        try:
            found = read_certificate(der, self._identity)
        except NoCertificate as error:
            raise _invalid(str(error)) from error
        return found.not_before, found.not_after, self._whose(found.names, found)

    def _whose(self, names: Sequence[str], read: ReadCertificate | None) -> Shown:
        found = [(name, entry) for name in names if (entry := self._map.find(name)) is not None]
        if not found:
            some = ", ".join(repr(name[:128]) for name in names[:_SHOWN_IN_LOG])
            return Shown(None, f"auth.client_cert.map has none of its names: {some or 'it has none'}")
        if len({pattern for _, (pattern, _) in found}) > 1:
            raise _invalid("its names are of several entries of auth.client_cert.map")
        name, (pattern, holder) = found[0]
        issuer = holder.issuer or self._issuer
        if issuer is not None and (read is None or not read.is_signed_by(self._authorities[issuer])):
            return Shown(None, f"it is not signed by the issuer that auth.client_cert has for {pattern}")
        return Shown(principal_of_certificate(name, holder))


def _authorities(path: tuple[str, ...], file: Path) -> tuple[Certificate, ...]:
    try:
        return read_authorities(file)
    except (OSError, NoCertificate) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise AuthorityProblem(path, f"{file} cannot be used: {why}") from error


def _refused(message: str, why: str) -> InvalidCredentials:
    """message: for the client. why: for the log."""
    return InvalidCredentials(message, detail=f"the client certificate is refused: {why}")


def _invalid(why: str) -> InvalidCredentials:
    return _refused("the client certificate is not valid", why)
