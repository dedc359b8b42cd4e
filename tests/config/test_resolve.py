"""Resolving fills a document's secrets in, or names every one that is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmgw.config.document import Document
from llmgw.config.load import document_from_text
from llmgw.config.problems import ConfigError
from llmgw.config.resolve import resolve_secrets, secrets_of
from llmgw.secrets.env import EnvSource
from llmgw.secrets.file import FileSource

TEXT = """\
version: 1
providers:
  a: {kind: openai, api_key: "${env:A}", proxy: "http://u:${env:PW}@proxy:3128"}
  b: {kind: openai, api_key: "${file:b.key}"}
  c: {kind: openai, api_key: literal}
models: {m: {targets: [{provider: a, model: x}]}}
tenants:
  t: {providers: {own: {kind: openai, api_key: "${env:A}"}}}
"""


def resolved(environ: dict[str, str], directory: Path) -> Document:
    document = document_from_text(TEXT, path=directory / "f.yaml")
    return resolve_secrets(document, [EnvSource(environ), FileSource(directory)])


def refused(environ: dict[str, str], directory: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolved(environ, directory)
    return [str(problem).replace(f"{directory}/", "") for problem in caught.value.problems]


def test_everywhere(tmp_path: Path) -> None:
    """Shared and tenants' own, whole and inside text; the rest of the document is the same."""
    (tmp_path / "b.key").write_text("from-file\n")

    document = resolved({"A": "from-env", "PW": "pw"}, tmp_path)

    assert {".".join(map(str, path)): secret.get_secret_value() for path, secret in secrets_of(document)} == {
        "providers.a.api_key": "from-env",
        "providers.a.proxy": "http://u:pw@proxy:3128",
        "providers.b.api_key": "from-file",
        "providers.c.api_key": "literal",
        "tenants.t.providers.own.api_key": "from-env",
    }
    assert document.generation == document_from_text(TEXT).generation
    assert document.path == tmp_path / "f.yaml"
    assert document.place(("models",)).line == 6
    assert document.warnings == ()


def test_resolved_document_shows_no_secret(tmp_path: Path) -> None:
    (tmp_path / "b.key").write_text("from-file")

    document = resolved({"A": "from-env", "PW": "pw"}, tmp_path)

    shown = f"{document!r}{document.model_dump_json()}"
    assert "from-" not in shown
    assert "literal" not in shown


def test_m13_missing_and_empty(tmp_path: Path) -> None:
    """Each place that needs a missing secret is named, and the secret by its name."""
    (tmp_path / "b.key").write_text("\n")

    assert refused({"PW": " \n"}, tmp_path) == [
        "f.yaml:3 providers.a.api_key: environment variable A is not set",
        "f.yaml:3 providers.a.proxy: environment variable PW is empty",
        "f.yaml:4 providers.b.api_key: file b.key is empty",
        "f.yaml:8 tenants.t.providers.own.api_key: environment variable A is not set",
    ]


def test_m13_line_break_at_the_end(tmp_path: Path) -> None:
    """Trimmed, with a warning that names the place and not the value."""
    (tmp_path / "b.key").write_text("x\r\n")

    document = resolved({"A": "from-env\r\n", "PW": "pw"}, tmp_path)

    assert [str(warning).replace(f"{tmp_path}/", "") for warning in document.warnings] == [
        "f.yaml:3 providers.a.api_key: environment variable A ends in a line break, which was cut off"
    ]


@pytest.mark.parametrize("value", ["a b", "a\nx-injected: 1", "clé", "a\x00"])
def test_what_no_header_takes(value: str, tmp_path: Path) -> None:
    """A credential cannot carry a header of its own."""
    (tmp_path / "b.key").write_text("x")

    found = refused({"A": value, "PW": "pw"}, tmp_path)

    assert len(found) == 2
    assert all("no HTTP header takes" in line and value not in line for line in found)


def test_proxy_is_checked_when_it_is_known(tmp_path: Path) -> None:
    (tmp_path / "b.key").write_text("x")

    found = refused({"A": "x", "PW": "p/w?"}, tmp_path)

    assert found == [
        "f.yaml:3 providers.a.proxy: must look like http://host:port or http://user:password@host:port"
    ]


@pytest.mark.parametrize("value", ["not json", "[]", '{"type": "gdch_service_account"}', "ya29.token"])
def test_googles_credentials_are_checked_when_they_are_known(value: str, tmp_path: Path) -> None:
    """They are JSON of many lines, so what no header takes is allowed there."""
    text = (
        "version: 1\nproviders:\n  v: {kind: vertex, project: p, location: global, credentials: '${env:V}'}\n"
    )
    document = document_from_text(text)
    good = '{\n  "type": "service_account",\n  "client_email": "a@b"\n}'
    resolve_secrets(document, [EnvSource({"V": good})])

    with pytest.raises(ConfigError, match="credentials: must be the JSON of a service account") as refused:
        resolve_secrets(document, [EnvSource({"V": value})])
    assert value not in str(refused.value)


def test_no_source() -> None:
    """A scheme without a source is a problem of the file, not a crash."""
    with pytest.raises(ConfigError, match="there is no source for env secrets"):
        resolve_secrets(
            document_from_text("version: 1\nproviders: {a: {kind: openai, api_key: '${env:A}'}}"), []
        )
