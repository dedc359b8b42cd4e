"""Providers: what each kind needs, and which addresses are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmgw.config.load import document_from_text
from llmgw.config.providers import Ollama, OpenAI, OpenAICompatible
from llmgw.config.vendors import VENDORS

Refusals = Callable[..., list[str]]

PRIVATE_URLS = [
    "http://127.0.0.1/v1",
    "http://127.1:8000/v1",
    "http://127.0.1/v1",
    "http://2130706433/v1",
    "http://0x7f000001/v1",
    "http://0x7f.1/v1",
    "http://0177.0.0.1/v1",
    "http://017700000001/v1",
    "http://0/v1",
    "http://0.0.0.0:8000/v1",
    "http://localhost/v1",
    "http://LOCALHOST:1/v1",
    "http://localhost./v1",
    "http://x.localhost/v1",
    "http://localhost.localdomain/v1",
    "http://10.0.0.7/v1",
    "http://10.7/v1",
    "http://0xa000007/v1",
    "http://172.16.3.4/v1",
    "http://192.168.0.1/v1",
    "http://0300.0250.0.1/v1",
    "http://3232235521/v1",
    "http://100.64.0.1/v1",
    "http://100.127.255.254/v1",
    "http://169.254.169.254/latest",
    "http://2852039166/latest",
    "http://0xA9FEA9FE/latest",
    "http://0251.0376.0251.0376/latest",
    "http://metadata.google.internal/v1",
    "http://[::]/v1",
    "http://[::1]/v1",
    "http://[0:0:0:0:0:0:0:1]/v1",
    "http://[::ffff:127.0.0.1]/v1",
    "http://[::ffff:7f00:1]/v1",
    "http://[::127.0.0.1]/v1",
    "http://[::ffff:a9fe:a9fe]/v1",
    "http://[64:ff9b::7f00:1]/v1",
    "http://[64:ff9b::169.254.169.254]/v1",
    "http://[2002:7f00:1::]/v1",
    "http://[2002:c0a8:1::1]/v1",
    "http://[fe80::1]/v1",
    "http://[fe80::1%25eth0]/v1",
    "http://[fc00::1]/v1",
    "http://[fd12:3456::1]/v1",
    "http://127。0。0。1/v1",
    "http://①②⑦.⓪.⓪.①/v1",
    "http://１２７.0.0.1/v1",
    "http://vllm:8000/v1",
    "http://printer.local/v1",
    "https://127.0.0.1.:443/v1",
]


def text(row: str) -> str:
    return f"version: 1\nproviders:\n  x: {{{row}}}\n"


@pytest.mark.parametrize("url", PRIVATE_URLS)
@pytest.mark.parametrize("kind", ["kind: openai, api_key: k", "kind: openai_compatible"])
def test_e02_private_base_url(url: str, kind: str, refusals: Refusals) -> None:
    """Refused on its line, and taken when the provider says that it is meant."""
    row = f'{kind}, base_url: "{url}"'

    found = refusals(text(row))

    assert len(found) == 1
    assert found[0].startswith("f.yaml:3 providers.x.base_url: ")
    if "not a public host" in found[0]:
        assert document_from_text(text(f"{row}, allow_private: true"))


def test_e02_table_is_large_enough() -> None:
    assert len(set(PRIVATE_URLS)) >= 40


def test_e02_tenants_are_held_to_it_too(refusals: Refusals) -> None:
    """A tenant's own provider is no way around."""
    row = "{kind: openai_compatible, base_url: 'http://169.254.169.254/v1'}"

    found = refusals(
        f"version: 1\nproviders: {{e: {{kind: echo}}}}\ntenants: {{a: {{providers: {{e: {row}}}}}}}\n"
    )

    assert "tenants.a.providers.e.base_url: 169.254.169.254 is not a public host" in found[0]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com", "must start with http://"),
        ("api.example.com/v1", "must start with http://"),
        ("https:///v1", "must start with http://"),
        ("https://user:hunter2@example.com/v1", "must hold no user or password"),
        ("https://hunter2@example.com", "must hold no user or password"),
        ("https://example.com/v1?key=hunter2", "must hold no query"),
        ("https://example.com/v1?", "must hold no query"),
        ("https://example.com/v1#x", "must hold no query and no fragment"),
        ("https://example.com:99999/v1", "is not a URL"),
        ("https://example.com:0/v1", "port 0"),
        ("https://exa mple.com/v1", "is not a URL"),
        ("https://example.com\\\\@evil.com/v1", "is not a URL"),
        ("https://[::1/v1", "is not a URL"),
        ("https://${env:HOST}/v1", "is not a URL"),
    ],
)
def test_bad_base_url(url: str, reason: str, refusals: Refusals) -> None:
    found = "\n".join(refusals(text(f'kind: openai, api_key: k, base_url: "{url}"')))

    assert f"providers.x.base_url: {reason}" in found
    assert "hunter2" not in found


def test_openai_defaults() -> None:
    provider = document_from_text(text("kind: openai, api_key: k, base_url: 'https://eu.api.openai.com/v1/'"))

    settings = provider.providers["x"]
    assert isinstance(settings, OpenAI)
    assert settings.url == "https://eu.api.openai.com/v1"
    assert not settings.private_allowed
    assert settings.vendor is None


def test_vendor_gives_the_url() -> None:
    settings = document_from_text(text("kind: openai_compatible, vendor: groq, api_key: k")).providers["x"]

    assert isinstance(settings, OpenAICompatible)
    assert settings.url == VENDORS["groq"].base_url
    assert not settings.private_allowed


def test_local_vendor_is_private_by_nature() -> None:
    """No key is needed, and its base URL may be anywhere on the operator's network."""
    settings = document_from_text(
        text("kind: openai_compatible, vendor: vllm, base_url: 'http://10.0.0.7/v1'")
    )

    provider = settings.providers["x"]
    assert isinstance(provider, OpenAICompatible)
    assert provider.private_allowed
    assert provider.url == "http://10.0.0.7/v1"


@pytest.mark.parametrize("vendor", sorted(VENDORS))
def test_every_vendor_loads(vendor: str) -> None:
    """Each row is a usable provider, with a key where its service wants one."""
    row = VENDORS[vendor]
    key = ", api_key: k" if row.key_env else ""

    provider = document_from_text(text(f"kind: openai_compatible, vendor: {vendor}{key}")).providers["x"]

    assert isinstance(provider, OpenAICompatible)
    assert provider.url == row.base_url
    assert row.local == (row.key_env is None)
    assert row.base_url.startswith("http://127.0.0.1:" if row.local else "https://")


@pytest.mark.parametrize(
    ("row", "refusal"),
    [
        ("kind: openai_compatible", "providers.x: needs a vendor or a base_url"),
        (
            "kind: openai_compatible, vendor: groq",
            "api_key: is required for groq, usually ${env:GROQ_API_KEY}",
        ),
        ("kind: openai_compatible, vendor: grok, api_key: k", 'did you mean "groq"?'),
        ("kind: opena, api_key: k", 'did you mean "openai"?'),
        ("kind: mistral", "f.yaml:3 providers.x.api_key: is required"),
        (
            "kind: mistral, api_key: k, base_url: 'http://10.0.0.1/v1'",
            "base_url: 10.0.0.1 is not a public host",
        ),
        (
            "kind: ollama, base_url: 'http://h:1/v1/'",
            "f.yaml:3 providers.x.base_url: must end before /api and /v1",
        ),
        (
            "kind: ollama, base_url: 'http://h:1/api'",
            "f.yaml:3 providers.x.base_url: must end before /api and /v1",
        ),
        ("kind: openai, api_key: ''", "api_key: must be text or a reference"),
        ("kind: openai, api_key: 5", "api_key: must be text or a reference"),
        ("kind: openai, api_key: k, client_key: k.pem", "client_key: needs client_cert"),
        ("kind: openai, api_key: k, proxy: 'https://p:1'", "proxy: must look like http://host:port"),
        ("kind: openai, api_key: k, organization: 'a b'", "organization: holds characters"),
        ("kind: openai, api_key: k, allow_private: 'yes'", "allow_private: must be true or false"),
        ("kind: echo, first_token: 20", "first_token: 20 needs a unit"),
        ("kind: echo, api_key: k", "api_key: unknown key"),
    ],
)
def test_refused_rows(row: str, refusal: str, refusals: Refusals) -> None:
    found = refusals(text(row))

    assert any(refusal in line for line in found), found


def test_ollama_is_private_by_nature() -> None:
    """Its address may be anywhere on the operator's network, and needs no key."""
    near = document_from_text(text("kind: ollama")).providers["x"]
    far = document_from_text(text("kind: ollama, base_url: 'http://10.0.0.7:11434/'")).providers["x"]

    assert isinstance(near, Ollama)
    assert isinstance(far, Ollama)
    assert (near.url, far.url) == ("http://127.0.0.1:11434", "http://10.0.0.7:11434")
    assert near.private_allowed
    assert far.api_key is None
