"""Certificate authorities, and what they issue, revoke and should not."""

from __future__ import annotations

import ssl
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
_KINDS: dict[str, Any] = {
    "uri": x509.UniformResourceIdentifier,
    "dns": x509.DNSName,
    "email": x509.RFC822Name,
    "ip": lambda text: x509.IPAddress(ip_address(text)),
}
_USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass
class Issued:
    """A certificate and its key, in a PEM file."""

    file: Path
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def header(self) -> str:
        """As RFC 9440 has it."""
        return f":{b64encode(self.der).decode()}:"


class Authority:
    """A CA with files in a directory. above: the CA that signed it."""

    def __init__(self, place: Path, name: str, above: Authority | None = None) -> None:
        self.place = place
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._count = 0
        self._stem = f"{name.replace(' ', '-')}-{id(self)}"
        issuer, key = (self.name, self._key) if above is None else (above.name, above._key)
        self.certificate = (
            _builder(self.name, issuer, self._key.public_key(), _now() - DAY, _now() + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False)
            .sign(key, hashes.SHA256())
        )
        self.file = place / f"{self._stem}.pem"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def issue(
        self,
        *names: tuple[str, str],
        subject: str = "somebody",
        begins: timedelta = -DAY,
        ends: timedelta = DAY,
        usage: str | None = None,
    ) -> Issued:
        """names: kind and text. begins, ends: from now. usage: `server` or `client`; any without it."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        builder = _builder(name, self.name, key.public_key(), _now() + begins, _now() + ends)
        if names:
            san = x509.SubjectAlternativeName([_KINDS[kind](text) for kind, text in names])
            builder = builder.add_extension(san, critical=False)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([_USAGES[usage]]), critical=False)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(above, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        self._count += 1
        file = self.place / f"{self._stem}-{self._count}.pem"
        file.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
            + self.certificate.public_bytes(Encoding.PEM)
        )
        return Issued(file, certificate)

    def revoke(self, *issued: Issued, age: timedelta = timedelta(hours=1), ends: timedelta = DAY) -> bytes:
        """A revocation list with these, as PEM."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(_now() - age)
            .next_update(_now() + ends)
        )
        for one in issued:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(one.certificate.serial_number)
                .revocation_date(_now() - DAY)
                .build()
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def trusting(self, shown: Issued | None = None) -> ssl.SSLContext:
        """What a client of ours has, which trusts this CA and shows a certificate."""
        context = ssl.create_default_context(cafile=self.file)
        if shown is not None:
            context.load_cert_chain(shown.file)
        return context

    @classmethod
    def self_signed(cls, place: Path, *names: tuple[str, str], like: Authority) -> Issued:
        """A certificate that calls its issuer as another CA is called."""
        forger = cls(place, "forger")
        forger.name = like.name
        return forger.issue(*names)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
