"""`auth.client_cert` and the client half of `server.tls`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llmgw.config.diff import changes
from llmgw.config.load import document_from_text

ECHO = "version: 1\nproviders: {e: {kind: echo}}\ntenants: {acme: {}}\n"
Refusals = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ("enabled: true", "client_cert.map: is empty"),
        ("map: {'spiffe://*/acme': {tenant: acme}}", "must be a URI such as"),
        ("map: {'*spiffe://a/acme': {tenant: acme}}", "must be a URI such as"),
        ("map: {acme: {tenant: acme}}", "must be a URI such as"),
        ("identity: san_dns, map: {'*acme.test': {tenant: acme}}", "must be a name such as"),
        ("identity: san_dns, map: {'a.*.test': {tenant: acme}}", "must be a name such as"),
        ("identity: san_dns, map: {'Acme.test': {tenant: acme}}", "in lower case"),
        ("identity: san_email, map: {'a*@b.test': {tenant: acme}}", "must be an address such as"),
        ("identity: san_email, map: {'*@*': {tenant: acme}}", "must be an address such as"),
        ("identity: subject_cn", "identity: must be"),
        ("map: {'*': {tenant: acne}}", 'map.*.tenant: no tenant named "acne"'),
        ("map: {'*': {}}", "tenant: is required"),
        ("header: x-ssl-client-cert", "header: must be"),
        (
            "enabled: true, header: x-forwarded-client-cert, identity: san_email, map: {'*': {tenant: acme}}",
            "identity: is not told by x-forwarded-client-cert",
        ),
        (
            "enabled: true, header: x-forwarded-client-cert, issuer: a.pem, map: {'*': {tenant: acme}}",
            "header: tells no issuer",
        ),
    ],
)
def test_refused(settings: str, refusal: str, refusals: Refusals) -> None:
    found = refusals(f"{ECHO}auth: {{client_cert: {{{settings}}}}}")

    assert any(refusal in line for line in found), found


@pytest.mark.parametrize(
    ("tls", "refusal"),
    [
        ("cert: c, key: k, client_auth: required", "client_auth: needs client_ca"),
        ("client_ca: a, client_auth: optional", "client_auth: needs cert and key"),
        ("cert: c, key: k, client_crl: a", "client_crl: asks nobody while client_auth is none"),
        ("cert: c, key: k, client_ca: a, client_auth: on", "client_auth: must be"),
    ],
)
def test_tls_that_asks_nobody_or_trusts_nobody(tls: str, refusal: str, refusals: Refusals) -> None:
    found = refusals(f"{ECHO}server: {{tls: {{{tls}}}}}")

    assert any(refusal in line for line in found), found


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ("san_uri", "*"),
        ("san_uri", "spiffe://example.com/acme/*"),
        ("san_uri", "spiffe://example.com/*/web"),
        ("san_uri", "urn:acme:*"),
        ("san_dns", "web.acme.test"),
        ("san_dns", "*.acme.test"),
        ("san_email", "Web+x@acme.test"),
        ("san_email", "*@acme.test"),
    ],
)
def test_names(identity: str, name: str) -> None:
    settings = f"{{enabled: true, identity: {identity}, map: {{'{name}': {{tenant: acme}}}}}}"
    document = document_from_text(f"{ECHO}auth: {{client_cert: {settings}}}")

    assert list(document.auth.client_cert.map) == [name]


def test_files_are_relative_to_the_configuration(tmp_path: Path) -> None:
    text = (
        f"{ECHO}server: {{tls: {{cert: c, key: k, client_ca: a, client_auth: required, client_crl: r}}}}\n"
        "auth: {client_cert: {issuer: i, map: {'*': {tenant: acme, issuer: j}}}}"
    )

    document = document_from_text(text, path=tmp_path / "llmgw.yaml")

    assert (document.server.tls.client_ca, document.server.tls.client_crl) == (tmp_path / "a", tmp_path / "r")
    assert document.auth.client_cert.issuers == {
        ("issuer",): tmp_path / "i",
        ("map", "*", "issuer"): tmp_path / "j",
    }


@pytest.mark.parametrize(
    ("server", "header", "warning"),
    [
        ("{}", "", "no certificate can arrive"),
        ("{}", ", header: client-cert", "believed of server.trusted_proxies only"),
        ("{trusted_proxies: [10.0.0.0/8]}", ", header: client-cert", ""),
        ("{tls: {cert: c, key: k, client_ca: a, client_auth: optional}}", "", ""),
    ],
)
def test_certificates_that_cannot_arrive_are_warned_of(server: str, header: str, warning: str) -> None:
    auth = f"{{client_cert: {{enabled: true, map: {{'*': {{tenant: acme}}}}{header}}}}}"
    document = document_from_text(f"{ECHO}server: {server}\nauth: {auth}")

    told = [str(one) for one in document.warnings]
    assert ([warning in one for one in told] == [True]) if warning else told == []


def test_diff_says_whom_an_entry_concerns() -> None:
    def shown(entries: str) -> dict[str, object]:
        text = f"{ECHO}auth: {{client_cert: {{enabled: true, map: {entries}}}}}"
        return document_from_text(text).model_dump(mode="json")

    before = shown("{'*': {tenant: acme}}")
    after = shown("{'*': {tenant: acme}, 'spiffe://a/b': {tenant: acme}}")

    (change,) = changes(before, after)
    assert change.kind == "added"
    assert change.affects == "whoever comes with a client certificate for spiffe://a/b"
