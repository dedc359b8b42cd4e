"""The files of `server.tls`, and revocation lists that change."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from llmgw.config.server import TlsSettings
from llmgw.server.tls import LOOK_EVERY, Revocations, TlsProblem, tls_of
from tests.fakes.pki import Authority, Issued


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "Acme CA")


def settings(ca: Authority, ours: Issued, **more: object) -> TlsSettings:
    members = {"cert": ours.file, "key": ours.file, "client_ca": ca.file, "client_auth": "required", **more}
    return TlsSettings.model_validate(members)


def lets_in(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    """Whether a handshake comes to its end, and a byte goes each way."""
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.settimeout(10)

    def serve() -> None:
        try:
            with server.wrap_socket(ours, server_side=True) as tls:
                tls.sendall(b"y")
        except OSError:
            ours.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(theirs, server_hostname="localhost") as tls:
            return tls.recv(1) == b"y"
    except OSError:
        return False
    finally:
        thread.join()


def test_without_files_there_is_no_tls() -> None:
    assert tls_of(TlsSettings()) is None


def test_without_client_ca_nobody_is_asked(ca: Authority) -> None:
    ours = ca.issue(("dns", "localhost"))
    context = tls_of(TlsSettings(cert=ours.file, key=ours.file))

    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("member", "text", "why"),
    [
        ("client_ca", None, "No such file"),
        ("client_ca", "junk", "no PEM data"),
        ("client_ca", "crl", "holds no certificate of a CA"),
        ("client_crl", None, "No such file"),
        ("client_crl", "junk", "no PEM data"),
        ("client_crl", "ca", "holds no revocation list"),
        ("cert", "junk", "cannot be used"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    ca: Authority, tmp_path: Path, member: str, text: str | None, why: str
) -> None:
    file = tmp_path / "file.pem"
    contents = {"junk": b"junk", "crl": ca.revoke(), "ca": ca.file.read_bytes()}
    if text is not None:
        file.write_bytes(contents[text])

    with pytest.raises(TlsProblem, match=why) as problem:
        tls_of(settings(ca, ca.issue(("dns", "localhost")), **{member: file}))
    assert str(problem.value).startswith("server.tls")
    assert str(file) in str(problem.value)


def test_c09_a_newer_revocation_list_is_taken_up(ca: Authority, tmp_path: Path) -> None:
    """And one that cannot be read is not; it is told once, and so is its end."""
    crl = tmp_path / "crl.pem"
    crl.write_bytes(ca.revoke(age=timedelta(hours=2)))
    told: list[str | None] = []
    server = tls_of(settings(ca, ca.issue(("dns", "localhost")), client_crl=crl))
    assert server is not None
    followed = Revocations(server, crl, told.append)
    client = ca.trusting(shown := ca.issue(("uri", "spiffe://a/b")))
    followed.refresh()
    assert lets_in(server, client)

    newer = tmp_path / "newer.pem"
    newer.write_text("half")
    os.replace(newer, crl)
    followed.refresh()
    followed.refresh()
    assert lets_in(server, client)
    newer.write_bytes(ca.revoke(shown))
    os.replace(newer, crl)
    for _ in range(LOOK_EVERY):
        followed.tick()

    assert not lets_in(server, client)
    assert lets_in(server, ca.trusting(ca.issue(("uri", "spiffe://a/b"))))
    assert len(told) == 2
    assert "client_crl" in str(told[0])
    assert told[1] is None


def test_c09_a_list_that_has_ended_lets_nobody_in_until_there_is_another(
    ca: Authority, tmp_path: Path
) -> None:
    crl = tmp_path / "crl.pem"
    crl.write_bytes(ca.revoke(age=timedelta(days=2), ends=-timedelta(days=1)))
    server = tls_of(settings(ca, ca.issue(("dns", "localhost")), client_crl=crl))
    assert server is not None
    followed = Revocations(server, crl, lambda why: None)
    client = ca.trusting(ca.issue(("uri", "spiffe://a/b")))
    assert not lets_in(server, client)

    crl.write_bytes(ca.revoke())
    followed.refresh()

    assert lets_in(server, client)


def test_c09_a_certificate_for_servers_only_is_no_clients(ca: Authority, tmp_path: Path) -> None:
    server = tls_of(settings(ca, ca.issue(("dns", "localhost"))))
    assert server is not None

    assert not lets_in(server, ca.trusting(ca.issue(("uri", "spiffe://a/b"), usage="server")))
    assert lets_in(server, ca.trusting(ca.issue(("uri", "spiffe://a/b"), usage="client")))


def test_c09_a_list_that_has_ended_is_told_once(ca: Authority, tmp_path: Path) -> None:
    """Nobody of its CA is let in from then on, and a handshake that fails is not logged."""
    other = Authority(tmp_path, "Other CA")
    crl = tmp_path / "crl.pem"
    crl.write_bytes(ca.revoke(ends=timedelta(hours=1)) + other.revoke())
    told: list[str | None] = []
    later = 0.0
    server = tls_of(settings(ca, ca.issue(("dns", "localhost")), client_crl=crl))
    assert server is not None
    followed = Revocations(server, crl, told.append, lambda: time.time() + later)
    followed.refresh()
    assert told == []

    later = 3_601
    followed.refresh()
    followed.refresh()

    assert len(told) == 1
    assert f"a list in {crl} ended at 20" in str(told[0])

    newer = tmp_path / "newer.pem"
    newer.write_bytes(ca.revoke(ends=timedelta(hours=2)))
    os.replace(newer, crl)
    followed.refresh()
    assert told[1:] == [None]


def test_c09_lists_that_end_while_their_file_cannot_be_read(ca: Authority, tmp_path: Path) -> None:
    crl = tmp_path / "crl.pem"
    crl.write_bytes(ca.revoke(ends=timedelta(hours=1)))
    told: list[str | None] = []
    later = 0.0
    server = tls_of(settings(ca, ca.issue(("dns", "localhost")), client_crl=crl))
    assert server is not None
    followed = Revocations(server, crl, told.append, lambda: time.time() + later)

    crl.unlink()
    followed.refresh()
    later = 3_601
    followed.refresh()
    crl.write_bytes(ca.revoke())
    followed.refresh()

    assert ["cannot be used" in str(told[0]), "ended at" in str(told[1])] == [True, True]
    assert told[2:] == [None]
