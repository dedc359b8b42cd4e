"""The example in the repository is complete and works."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmgw.config.document import Document
from llmgw.config.limits import IpRuleSettings, Sparse
from llmgw.config.load import load_document
from llmgw.config.quotas import QuotaSettings
from llmgw.config.resolve import resolve_secrets, secrets_of
from llmgw.config.secret import Secret
from llmgw.config.section import Section
from llmgw.config.source import MapNode, node_at, parse_yaml
from llmgw.ports.secrets import FoundSecret
from llmgw.secrets.env import EnvSource

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.yaml"
OTHERS = sorted((ROOT / "examples").glob("*.yaml"))


class Anything:
    """A directory where every secret file is."""

    scheme = "file"

    def read(self, locator: str) -> FoundSecret:
        return FoundSecret("x")


@pytest.mark.parametrize("path", [EXAMPLE, *OTHERS], ids=lambda path: path.name)
def test_examples_load(path: Path) -> None:
    """Each is valid, and its secrets are references."""
    document = load_document(path, {})

    secrets: list[Secret] = [secret for _, secret in secrets_of(document)]
    names = {reference.locator for secret in secrets for reference in secret.references}
    assert all(secret.references for secret in secrets)
    sources = [EnvSource(dict.fromkeys(names, "https://x.example/x")), Anything()]
    assert resolve_secrets(document, sources)


@pytest.mark.parametrize(
    "section",
    [
        "server",
        "storage",
        "limits",
        "alerts",
        "auth",
        "cache",
        "logging",
        "observability",
        "errors",
        "prices",
    ],
)
def test_example_names_every_setting(section: str) -> None:
    """A setting that is not in the example would not be found."""
    root = parse_yaml(EXAMPLE.read_bytes(), "config.example.yaml")

    def missing(settings: Section, path: tuple[str, ...]) -> list[str]:
        node = node_at(root, path)
        if not isinstance(node, MapNode):
            return []
        names = [info.alias or name for name, info in type(settings).model_fields.items()]
        absent = [".".join((*path, name)) for name in names if name not in node.entries]
        inner = [(name, getattr(settings, name)) for name in type(settings).model_fields]
        return absent + [
            found
            for name, value in inner
            if isinstance(value, Section) and not isinstance(value, Sparse)
            for found in missing(value, (*path, name))
        ]

    document = load_document(EXAMPLE, {})
    assert missing(getattr(document, section), (section,)) == []


def test_example_names_every_section() -> None:
    root = parse_yaml(EXAMPLE.read_bytes(), "config.example.yaml")

    assert isinstance(root, MapNode)
    assert set(root.entries) == set(Document.model_fields)


def test_example_shows_the_defaults() -> None:
    """What the example says of `server` is what holds without it."""
    document = load_document(EXAMPLE, {})

    assert document.server == type(document.server)()
    assert document.logging == type(document.logging)()
    assert document.auth == type(document.auth)()
    assert document.alerts == type(document.alerts)()
    assert document.limits == type(document.limits)(per_model=document.limits.per_model)


def test_example_names_everything_a_rule_and_a_quota_can_say() -> None:
    """They leave out what is unset, so it is their union that is complete; selectors are in a comment."""
    document = load_document(EXAMPLE, {}).model_dump(mode="json")

    rules = [document["limits"]["per_ip"], *document["limits"]["per_model"]]
    assert {name for rule in rules for name in rule} == set(IpRuleSettings.model_fields)
    amounts_and_selectors = {"input_tokens", "output_tokens", "tenant", "user", "key"}
    named = {name for quota in document["quotas"] for name in quota}
    assert named == set(QuotaSettings.model_fields) - amounts_and_selectors
    text = EXAMPLE.read_text()
    assert all(f"{name}" in text for name in amounts_and_selectors)
