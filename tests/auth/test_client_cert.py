"""Certificates as credentials, and what one certificate says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import (
    CertificateBuilder,
    ExtensionType,
    Name,
    NameAttribute,
    ObjectIdentifier,
    SubjectAlternativeName,
    UniformResourceIdentifier,
    UnrecognizedExtension,
)
from cryptography.x509.oid import NameOID

from llmgw.auth import client_cert
from llmgw.auth.certificate import NoCertificate, read_authorities, read_certificate
from llmgw.auth.client_cert import AuthorityProblem, ClientCertificates
from llmgw.config.client_cert import ClientCertSettings
from llmgw.core.errors import InvalidCredentials
from llmgw.ports.auth import CERTIFICATE, PROXY_CERTIFICATE, Shown
from tests.fakes.pki import DAY, Authority, Issued

WEB = ("uri", "spiffe://a/acme/web")
MAP = {"spiffe://a/acme/*": {"tenant": "acme"}, "spiffe://a/rival/*": {"tenant": "rival"}}


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "Acme CA")


def certificates(now: Any = None, **settings: Any) -> ClientCertificates:
    given = ClientCertSettings.model_validate({"enabled": True, "map": MAP, **settings})
    return ClientCertificates(given, *([now] if now is not None else []))


def tenant(shown: Shown | None) -> str | None:
    assert shown is not None
    return shown.principal.tenant if shown.principal is not None else None


def of(issued: Issued, place: bytes = CERTIFICATE) -> dict[bytes, bytes]:
    return {place: issued.der}


@pytest.mark.parametrize(
    ("names", "whose"),
    [
        ([WEB], "acme"),
        ([("dns", "acme"), WEB, ("email", "a@b.c")], "acme"),
        ([("uri", "spiffe://a/unknown"), WEB], "acme"),
        ([WEB, ("uri", "spiffe://a/acme/other")], "acme"),
        ([("uri", "spiffe://a/unknown")], None),
        ([("dns", "acme")], None),
        ([], None),
    ],
)
def test_c09_names_of_the_kind_say_whose(
    ca: Authority, names: list[tuple[str, str]], whose: str | None
) -> None:
    shown = certificates().shown(of(ca.issue(*names, subject="spiffe://a/acme/web")))

    assert tenant(shown) == whose


def test_c09_names_of_two_entries_are_nobodys(ca: Authority) -> None:
    both = ca.issue(WEB, ("uri", "spiffe://a/rival/web"))

    with pytest.raises(InvalidCredentials) as refused:
        certificates().shown(of(both))
    assert "several entries" in str(refused.value.detail)


@pytest.mark.parametrize(
    ("identity", "name", "pattern"),
    [("san_dns", ("dns", "web.acme.test"), "*.acme.test"), ("san_email", ("email", "a@b.test"), "a@b.test")],
)
def test_other_kinds_of_names(ca: Authority, identity: str, name: tuple[str, str], pattern: str) -> None:
    found = certificates(identity=identity, map={pattern: {"tenant": "acme", "user": "u"}}).shown(
        of(ca.issue(name))
    )

    assert found is not None
    assert found.principal is not None
    assert (found.principal.user, found.principal.key_id) == ("u", f"cert:{name[1]}")


def test_c09_a_certificate_is_looked_at_for_its_dates_each_time(ca: Authority) -> None:
    """It is read once."""
    issued = ca.issue(WEB, begins=-timedelta(hours=1), ends=timedelta(hours=1))
    at = [issued.certificate.not_valid_before_utc.timestamp() - 1]
    found = certificates(lambda: at[0])
    with pytest.raises(InvalidCredentials, match="is not valid"):
        found.shown(of(issued))
    at[0] += 1
    first = found.shown(of(issued))
    assert tenant(first) == "acme"
    assert found.shown(of(issued)) is first
    at[0] = issued.certificate.not_valid_after_utc.timestamp()
    with pytest.raises(InvalidCredentials, match="has expired"):
        found.shown(of(issued))


def test_no_certificate_is_none() -> None:
    assert certificates().shown({b"client-cert": b":AA==:", b"x-forwarded-client-cert": b"x"}) is None


def test_c08_a_proxys_own_certificate(ca: Authority) -> None:
    """It is a client's like any other, unless proxies tell of their clients'."""
    own = of(ca.issue(WEB), PROXY_CERTIFICATE)

    assert tenant(certificates().shown(own)) == "acme"
    assert certificates(header="client-cert").shown(own) is None


def test_c08_only_the_header_that_was_asked_for_counts(ca: Authority) -> None:
    web = ca.issue(WEB)
    fields = {b"client-cert": web.header.encode(), CERTIFICATE: ca.issue(("uri", "spiffe://a/rival/x")).der}

    assert tenant(certificates(header="client-cert").shown(fields)) == "acme"
    assert tenant(certificates(header="x-forwarded-client-cert").shown(fields)) == "rival"
    assert tenant(certificates().shown(fields)) == "rival"


def test_c09_the_issuer_is_proved_by_its_key(ca: Authority, tmp_path: Path) -> None:
    namesake = Authority(tmp_path, "Acme CA")
    found = certificates(issuer=str(ca.file))

    assert tenant(found.shown(of(ca.issue(WEB)))) == "acme"
    for forged in (namesake.issue(WEB), Authority.self_signed(tmp_path, WEB, like=ca)):
        shown = found.shown(of(forged))
        assert tenant(shown) is None
        assert "not signed by the issuer" in shown.why  # type: ignore[union-attr]
    own = certificates(
        issuer=str(ca.file), map={"spiffe://a/*": {"tenant": "rival", "issuer": str(namesake.file)}}
    )
    assert tenant(own.shown(of(namesake.issue(WEB)))) == "rival"
    assert tenant(own.shown(of(ca.issue(WEB)))) is None


def test_files_of_issuers_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for name, why in (("gone.pem", "No such file"), ("empty.pem", "no PEM certificate")):
        with pytest.raises(AuthorityProblem, match=why) as problem:
            certificates(map={"*": {"tenant": "acme", "issuer": str(tmp_path / name)}})
        assert problem.value.path == ("map", "*", "issuer")
        with pytest.raises((NoCertificate, OSError)):
            read_authorities(tmp_path / name)


@pytest.mark.parametrize("data", [b"", b"junk", b"\x30\x03\x02\x01\x00"])
def test_c08_what_is_no_certificate(data: bytes) -> None:
    with pytest.raises(NoCertificate):
        read_certificate(data, "san_uri")
    with pytest.raises(InvalidCredentials, match="is not valid"):
        certificates().shown({CERTIFICATE: data})


def test_c09_a_certificate_that_cannot_be_read() -> None:
    """Of no version, with a name that nobody reads, and with two extensions of one kind."""
    san = SubjectAlternativeName.oid
    names = SubjectAlternativeName([UniformResourceIdentifier(WEB[1])])
    other = UnrecognizedExtension(ObjectIdentifier("2.5.29.99"), b"")
    unread = {
        "InvalidVersion": signed(names).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1),
        "UnsupportedGeneralNameType": signed(UnrecognizedExtension(san, bytes.fromhex("3006a504a1020c00"))),
        "DuplicateExtension": signed(names, other).replace(b"\x06\x03\x55\x1d\x63", b"\x06\x03\x55\x1d\x11"),
    }

    for why, der in unread.items():
        with pytest.raises(InvalidCredentials) as refused:
            certificates().shown({CERTIFICATE: der})
        assert why in str(refused.value.detail)


def signed(*extensions: ExtensionType) -> bytes:
    """A certificate with these, as DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = Name([NameAttribute(NameOID.COMMON_NAME, "somebody")])
    now = datetime.now(UTC)
    builder = CertificateBuilder(name, name, key.public_key(), 5, now - DAY, now + DAY)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def test_what_is_remembered_has_an_end(ca: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_cert, "_REMEMBERED", 2)
    found = certificates()
    for _ in range(5):
        found.shown(of(ca.issue(WEB, ends=DAY)))

    assert len(found._known) <= 2
