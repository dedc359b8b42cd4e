"""Whose a certificate's name is, as the configuration has it. Pure.

An entry that is the name itself comes before patterns, and of those the one with more characters
of its own: the order of the file means nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from llmgw.config.client_cert import MAX_NAME, CertificateHolder, Identity
from llmgw.core.principal import Principal

KIND = "cert"
"""What the ids of keys begin with, so that no API key's can be the same."""
_NAME = re.compile(rf"[\x21-\x7e]{{1,{MAX_NAME}}}")
_DOT_SEGMENT = re.compile(r"/\.\.?(/|$)", re.IGNORECASE)


class CertificateMap:
    """The entries of `auth.client_cert.map`, in the order in which they are asked."""

    def __init__(self, identity: Identity, entries: Mapping[str, CertificateHolder]) -> None:
        self._identity = identity
        self._entries = sorted(
            ((pattern, _compiled(pattern), holder) for pattern, holder in entries.items()),
            key=lambda one: ("*" in one[0], -len(one[0]), one[0]),
        )

    def find(self, name: str) -> tuple[str, CertificateHolder] | None:
        """The entry that a name is of, with its pattern; None where there is none."""
        plain = comparable(self._identity, name)
        if plain is None:
            return None
        return next(
            ((pattern, holder) for pattern, compiled, holder in self._entries if compiled.fullmatch(plain)),
            None,
        )


def principal_of_certificate(name: str, holder: CertificateHolder) -> Principal:
    """Whoever comes with a certificate of that name, which is of that entry."""
    return Principal(holder.tenant, holder.user, f"{KIND}:{name}", holder.allow_models)


def comparable(identity: Identity, name: str) -> str | None:
    """A name as it is compared; None for what names nobody: a wildcard, a blank, a path with `..`."""
    if not _NAME.fullmatch(name) or "*" in name:
        return None
    if identity == "san_uri":
        return None if _DOT_SEGMENT.search(name.replace("%2e", ".").replace("%2E", ".")) else name
    if identity == "san_dns":
        return name.lower()
    local, at, domain = name.rpartition("@")
    return f"{local}@{domain.lower()}" if at and local else None


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".+".join(map(re.escape, pattern.split("*"))))
