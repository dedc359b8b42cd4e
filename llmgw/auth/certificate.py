"""What one certificate says: its names, when it holds, and whether a CA has signed it.

Facts: RFC 5280 sections 4.1.2.5 (validity) and 4.2.1.6 (names).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509 import (
    Certificate,
    DNSName,
    DuplicateExtension,
    ExtensionNotFound,
    InvalidVersion,
    RFC822Name,
    SubjectAlternativeName,
    UniformResourceIdentifier,
    UnsupportedGeneralNameType,
    load_der_x509_certificate,
    load_pem_x509_certificates,
)

from llmgw.config.client_cert import Identity

_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    InvalidVersion,
    DuplicateExtension,
    UnsupportedGeneralNameType,
)
"""The ways in which bytes can be no certificate, or none that can be read."""


class NoCertificate(ValueError):
    """It cannot be read. The text says what, and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class ReadCertificate:
    """names: of the kind that was asked for, in the certificate's order.

    not_before, not_after: seconds UTC.
    """

    names: tuple[str, ...]
    not_before: float
    not_after: float
    parsed: Certificate

    def is_signed_by(self, authorities: Sequence[Certificate]) -> bool:
        """Whether one of these signed it, name and key."""
        return any(_signed(self.parsed, authority) for authority in authorities)


def read_certificate(der: bytes, identity: Identity) -> ReadCertificate:
    """Raises NoCertificate."""
    try:
        found = load_der_x509_certificate(der)
        try:
            names = found.extensions.get_extension_for_class(SubjectAlternativeName).value
        except ExtensionNotFound:
            texts: list[str] = []
        else:
            if identity == "san_uri":
                texts = names.get_values_for_type(UniformResourceIdentifier)
            elif identity == "san_dns":
                texts = names.get_values_for_type(DNSName)
            else:
                texts = names.get_values_for_type(RFC822Name)
        begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
    except _UNREADABLE as error:
        raise NoCertificate(f"it is no certificate: {type(error).__name__}") from error
    return ReadCertificate(tuple(texts), begins.timestamp(), ends.timestamp(), found)


def read_authorities(path: Path) -> tuple[Certificate, ...]:
    """The certificates in a PEM file. Raises NoCertificate and OSError."""
    try:
        return tuple(load_pem_x509_certificates(path.read_bytes()))
    except _UNREADABLE as error:
        raise NoCertificate("it holds no PEM certificate that can be read") from error


def _signed(certificate: Certificate, authority: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (*_UNREADABLE, InvalidSignature):
        return False
    return True
