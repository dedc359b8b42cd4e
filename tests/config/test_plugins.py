"""Kinds of providers that come from other distributions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmgw.config.load import document_from_text
from llmgw.config.plugins import PluginError, installed, plugin_kind
from llmgw.config.problems import ConfigError
from llmgw.config.schema import json_schema
from tests.fakes.distributions import install, install_example

USES = "version: 1\nproviders: {%s}"
ACME = "acme: {kind: acme, workspace: research, token: '${env:TOKEN}'}"
CLASS = """
from typing import Literal
from llmgw.config.section import Section
class Provider:
    class Settings(Section%s):
        kind: %s
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of distributions that is looked into."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def reasons(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        document_from_text(text, path=Path("f.yaml"))
    return [str(problem).partition("f.yaml:")[2] for problem in refused.value.problems]


def test_nothing_is_installed() -> None:
    assert installed() == {}
    assert plugin_kind("acme") is None


def test_an_installed_kind_has_its_own_settings(site: Path) -> None:
    install_example(site)

    document = document_from_text(USES % ACME)

    settings = document.providers["acme"]
    assert type(settings).__name__ == "AcmeSettings"
    assert document.model_dump(mode="json")["providers"]["acme"] == {
        "allow_private": False,
        "proxy": None,
        "ca": None,
        "client_cert": None,
        "client_key": None,
        "base_url": "https://api.acme.example",
        "kind": "acme",
        "workspace": "research",
        "token": "${env:TOKEN}",
    }


def test_its_unknown_keys_are_errors_with_their_place(site: Path) -> None:
    install_example(site)

    assert reasons(USES % "acme: {kind: acme, token: t, workspac: r}") == [
        '2 providers.acme.workspac: unknown key; did you mean "workspace"?',
        "2 providers.acme.workspace: is required",
    ]


def test_a_tenant_may_have_it_too(site: Path) -> None:
    install_example(site)

    document = document_from_text(f"version: 1\ntenants: {{a: {{providers: {{{ACME}}}}}}}")

    assert document.tenants["a"].providers["acme"].kind == "acme"


def test_references_stand_in_its_secrets_only(site: Path) -> None:
    install_example(site)

    found = reasons(USES % "acme: {kind: acme, token: '${env:T}', workspace: '${env:W}'}")

    assert any("providers.acme.workspace: references are read in" in line for line in found)
    assert not any("acme.token" in line for line in found)


def test_it_is_among_the_known_kinds(site: Path) -> None:
    install_example(site)

    (problem,) = reasons(USES % "a: {kind: acne}")

    assert problem.endswith('echo, acme); did you mean "acme"?')


def test_the_schema_has_it(site: Path) -> None:
    install_example(site)

    schema = json_schema()

    assert schema["$defs"]["kind-acme"]["required"] == ["kind", "workspace", "token"]
    assert '"$ref": "#/$defs/kind-acme"' in json.dumps(schema["properties"]["providers"])
    assert '"$ref": "#/$defs/kind-acme"' in json.dumps(schema["$defs"]["TenantSettings"])


def test_a_module_that_does_not_import(site: Path) -> None:
    """The distribution is named, and the gateway's own files are not at fault."""
    install(site, "llmgw-broken", "0.3", {"broken": "llmgw_broken:Provider"})
    (site / "llmgw_broken.py").write_text("import a_module_that_nobody_has")

    (problem,) = reasons(USES % "b: {kind: broken}")

    assert problem == (
        '2 providers.b.kind: kind "broken" comes from llmgw-broken 0.3, whose llmgw_broken:Provider cannot be'
        " loaded: ModuleNotFoundError: No module named 'a_module_that_nobody_has'"
    )
    with pytest.raises(PluginError, match=r"llmgw-broken 0\.3"):
        json_schema()


def test_an_unused_broken_kind_hurts_nobody(site: Path) -> None:
    install(site, "llmgw-broken", "0.3", {"broken": "llmgw_broken:Provider"})

    assert document_from_text(USES % "e: {kind: echo}").providers["e"].kind == "echo"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("class Provider: pass", "has no Settings that is a llmgw.config.section.Section"),
        (CLASS % ("", "Literal['other']"), 'has Settings whose member kind is not Literal["odd"]'),
        (CLASS % ("", "str"), 'has Settings whose member kind is not Literal["odd"]'),
        (CLASS % (", extra='allow'", "Literal['odd']"), "has Settings that take unknown keys"),
    ],
)
def test_a_class_that_breaks_the_agreement(site: Path, module: str, reason: str) -> None:
    install(site, "llmgw-odd", "1", {"odd": "llmgw_odd:Provider"})
    (site / "llmgw_odd.py").write_text(module)

    (problem,) = reasons(USES % "o: {kind: odd}")

    assert problem.endswith(f"llmgw-odd 1, whose llmgw_odd:Provider {reason}")


def test_a_built_in_kind_is_not_replaced(site: Path) -> None:
    install(site, "llmgw-shadow", "2.0", {"echo": "llmgw_shadow:Echo"})

    assert reasons(USES % "e: {kind: echo}") == [
        '2 providers.e.kind: kind "echo" is built in, and llmgw-shadow 2.0 declares another; uninstall that'
    ]


def test_two_distributions_of_one_kind(site: Path) -> None:
    install_example(site)
    install(site, "llmgw-acme-too", "7", {"acme": "llmgw_acme:Acme"})

    (problem,) = reasons(USES % ACME)

    assert problem.endswith("declared by more than one distribution: llmgw-acme 1.0, llmgw-acme-too 7")


@pytest.mark.parametrize(
    "row",
    [
        "b: {kind: bedrock, region: us-east-1, access_key_id: '${env:A}', secret_access_key: '${env:B}'}",
        "z: {kind: azure_openai, base_url: 'https://x.openai.azure.com', entra_token: '${env:T}'}",
    ],
)
def test_a_kind_s_further_secrets_may_be_references(row: str) -> None:
    assert document_from_text(USES % row).providers
