"""A request in words."""

from __future__ import annotations

import time

import pytest

from llmgw.admin.question import Question, exchange_of, principal_of
from llmgw.config.load import document_from_text
from llmgw.core.errors import InvalidCredentials, NotFound
from llmgw.core.principal import Principal
from llmgw.engine.match import asked_of
from llmgw.ports.stores import KeyEntry

ONE = document_from_text("version: 1\nproviders: {e: {kind: echo}}\n")
TWO = document_from_text("version: 1\nproviders: {e: {kind: echo}}\ntenants: {acme: {}, rival: {}}\n")
KEYS = [
    KeyEntry("k1", "acme", "alice", b"", ("gpt-*",), None, {"team": "red"}),
    KeyEntry("old", "acme", None, b"", None, time.time() - 1),
]


def test_the_only_tenant_need_not_be_named() -> None:
    assert principal_of(Question(user="u"), ONE, []) == Principal("default", "u")
    assert principal_of(Question(tenant="rival"), TWO, []) == Principal("rival")


def test_a_token_says_what_it_claims() -> None:
    found = principal_of(Question(tenant="acme", claims={"groups": ["a", "b"]}), TWO, [])

    assert found.claims == (("groups", ("a", "b")),)


def test_a_key_says_who_asks_and_what_for() -> None:
    found = principal_of(Question(key="k1", tenant="acme"), TWO, KEYS)

    assert found == Principal("acme", "alice", "k1", ("gpt-*",))
    assert found.labels == (("team", "red"),)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (Question(), r"whose request\? Name a tenant with --tenant \(acme, rival\)"),
        (Question(tenant="x"), "there is no tenant 'x'; there are acme, rival"),
        (Question(key="x"), "no key has the id 'x'"),
        (Question(key="k1", tenant="rival"), "the key k1 is of tenant acme; leave out --tenant"),
        (Question(key="k1", claims={"a": ["b"]}), "a key has no claims; leave out --key"),
        (Question(key="k1", user="bob"), "the key k1 is of user alice; leave out --user"),
    ],
)
def test_who_asks_must_be_known(question: Question, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        principal_of(question, TWO, KEYS)


CERTIFICATES = document_from_text(
    "version: 1\nproviders: {e: {kind: echo}}\ntenants: {acme: {}, rival: {}}\n"
    "auth: {client_cert: {enabled: true, map: {'spiffe://a/acme/*': {tenant: acme, user: web}}}}\n"
)


def test_a_certificate_says_who_asks() -> None:
    found = principal_of(Question(cert="spiffe://a/acme/x"), CERTIFICATES, [])

    assert found == Principal("acme", "web", "cert:spiffe://a/acme/x")
    with pytest.raises(InvalidCredentials, match="nobody's"):
        principal_of(Question(cert="spiffe://a/rival/x"), CERTIFICATES, [])


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (Question(cert="spiffe://a/acme/x", key="k1"), "leave out --key"),
        (Question(cert="spiffe://a/acme/x", tenant="rival"), "of tenant acme"),
        (Question(cert="spiffe://a/acme/x", user="bob"), "of user web"),
    ],
)
def test_a_certificate_is_asked_about_alone(question: Question, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        principal_of(question, CERTIFICATES, KEYS)
    with pytest.raises(ValueError, match="not enabled"):
        principal_of(Question(cert="spiffe://a/acme/x"), TWO, KEYS)


def test_a_key_that_has_expired_is_refused_as_by_the_gateway() -> None:
    with pytest.raises(InvalidCredentials, match="the API key has expired"):
        principal_of(Question(key="old"), TWO, KEYS)


PREFIXES = (b"/fast/er", b"/fast")


@pytest.mark.parametrize(
    ("path", "endpoint", "model", "prefix"),
    [
        ("/v1/chat/completions", "/v1/chat/completions", "m", ""),
        ("/v1/messages?beta=true", "/v1/messages", "m", ""),
        ("/v1/messages/count_tokens", "/v1/messages", "m", ""),
        ("/v1beta/models/gemini:streamGenerateContent?alt=sse", "generateContent", "gemini", ""),
        ("/v1/models/gemini:generateContent", "generateContent", "gemini", ""),
        ("/openai/deployments/mine/chat/completions?api-version=1", "/v1/chat/completions", "mine", ""),
        ("/openai/deployments/chat/completions", "/v1/completions", "chat", ""),
        ("/openai/deployments/a/b/completions", "/v1/completions", "a/b", ""),
        ("/openai/v1/chat/completions", "/v1/chat/completions", "m", ""),
        ("/fast/openai/v1/responses", "/v1/responses", "m", "/fast"),
        ("/api/show", "/api/chat", "m", ""),
        ("/v1beta/models/a%2Fb:countTokens", "generateContent", "a/b", ""),
        ("/openai/deployments/a%2Fb/chat/completions", "/v1/chat/completions", "a/b", ""),
        ("/fast/v1/messages", "/v1/messages", "m", "/fast"),
        ("/fast/er/api/chat", "/api/chat", "m", "/fast/er"),
        ("/fast/openai/deployments/mine/embeddings", "/v1/embeddings", "mine", "/fast"),
    ],
)
def test_a_path_is_read_as_the_gateway_reads_it(path: str, endpoint: str, model: str, prefix: str) -> None:
    ex = exchange_of(
        Question(path=path, model="m", headers={"X-Team": "a"}, host="A.com"),
        Principal("acme"),
        "g",
        PREFIXES,
    )
    asked = asked_of(ex)

    assert (ex.endpoint.path, ex.model) == (endpoint, model)
    assert (asked.prefix, asked.path) == (prefix, path.partition("?")[0])
    assert (asked.host, asked.fields[b"x-team"]) == ("a.com", b"a")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nothing",
        "/fast",
        "/fast/",
        "/faster/v1/messages",
        "/fast/fast/v1/messages",
        "/v1/models/x",
        "/openai/deployments//chat/completions",
        "/openai/deployments/mine/nothing",
        "/openai/deployments/mine/chat%2Fcompletions",
        "/openai/v1/messages",
        "/openai/v1/%63hat/completions",
        "/v1/%63hat/completions",
        "/v1beta/models/gemini:nothing",
    ],
)
def test_nothing_is_at_other_paths(path: str) -> None:
    with pytest.raises(NotFound):
        exchange_of(Question(path=path, model="m"), Principal("acme"), "g", PREFIXES)


def test_a_model_must_be_named() -> None:
    with pytest.raises(ValueError, match="which model"):
        exchange_of(Question(), Principal("acme"), "g", ())
    with pytest.raises(ValueError, match="which model"):
        exchange_of(Question(model=""), Principal("acme"), "g", ())


@pytest.mark.parametrize(
    "question", [Question(path="/v1beta/models/é:generateContent"), Question(host="é.test")]
)
def test_what_no_client_can_send_is_not_explained(question: Question) -> None:
    with pytest.raises(ValueError, match="sent in ASCII"):
        exchange_of(question, Principal("acme"), "g", ())
