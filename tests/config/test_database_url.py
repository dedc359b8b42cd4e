"""The database's URL: what is shown of it, and what references become in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmgw.config.database_url import DatabaseUrl
from llmgw.config.document import Document
from llmgw.config.load import document_from_text
from llmgw.config.problems import ConfigError
from llmgw.config.resolve import resolve_secrets, secrets_of
from llmgw.ports.secrets import SecretRef
from llmgw.secrets.env import EnvSource

ECHO = "version: 1\nproviders: {e: {kind: echo}}\n"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        (
            "postgresql://u:hunter2@h:5433/d?sslmode=require",
            "postgresql://u:********@h:5433/d?sslmode=require",
        ),
        ("postgresql://u:hunter2%40x@h1,h2:5433/d", "postgresql://u:********@h1,h2:5433/d"),
        ("postgresql://h/d?user=u&password=hunter2&a=b", "postgresql://h/d?user=u&password=********&a=b"),
        ("postgresql://u:${env:PW}@h/d", "postgresql://u:${env:PW}@h/d"),
        ("postgresql://u:hunter2${env:PW}@h/d", "postgresql://u:********@h/d"),
        ("${env:DATABASE_URL}", "${env:DATABASE_URL}"),
    ],
)
def test_the_password_is_never_shown(url: str, shown: str) -> None:
    made = DatabaseUrl.checked(url, None)

    assert str(made) == shown
    assert repr(made) == f"Secret('{shown}')"


def test_a_reference_in_it_stands_for_the_value_as_it_is() -> None:
    """What a URL gives another meaning to is escaped; a URL as a whole comes as it is."""
    inside = DatabaseUrl.checked("postgresql://u:${env:PW}@h/d", None)
    whole = DatabaseUrl.checked("${env:URL}", None)

    assert inside.resolved({SecretRef("env", "PW"): "p@s/s:#?"}).get_secret_value() == (
        "postgresql://u:p%40s%2Fs%3A%23%3F@h/d"
    )
    url = "postgresql://u:p%40@h/d"
    assert whole.resolved({SecretRef("env", "URL"): url}).get_secret_value() == url


def document(url: str) -> Document:
    return document_from_text(f"{ECHO}storage: {{url: '{url}'}}", path=Path("/etc/llmgw/llmgw.yaml"))


def test_commands_fill_in_the_storage_section_alone() -> None:
    text = """
version: 1
providers: {o: {kind: openai, api_key: "${env:OTHER}"}}
storage: {url: "postgresql://u:${env:PW}@h/d"}
"""
    made = resolve_secrets(document_from_text(text), [EnvSource({"PW": "x"})], "storage")

    assert made.storage.database == "postgresql://u:x@h/d"
    assert made.storage.sqlite_path is None
    assert [path for path, _ in secrets_of(made)] == [("storage", "url"), ("providers", "o", "api_key")]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("mysql://h/d", "must look like"),
        ("sqlite:///x.db", "a reference must give an absolute path"),
        ("postgresql://h", "must name one database"),
    ],
)
def test_what_a_reference_gives_is_judged_too(value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_secrets(document("${env:URL}"), [EnvSource({"URL": value})])

    assert f"storage.url: {said}" in str(caught.value)
    assert value not in str(caught.value)


def test_it_is_asked_for_only_after_it_was_filled_in() -> None:
    with pytest.raises(LookupError, match=r"\$\{env:PW\}"):
        _ = document("postgresql://u:${env:PW}@h/d").storage.database


def test_a_dump_and_its_schema() -> None:
    dumped = document("postgresql://u:hunter2@h/d").model_dump(mode="json")

    assert dumped["storage"]["url"] == "postgresql://u:********@h/d"
