"""A request in words, for what explains where it would go: no body, no credential."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

from msgspec import Struct, field

from llmgw.auth.certificate_map import CertificateMap, principal_of_certificate
from llmgw.config.document import Document
from llmgw.core.errors import InvalidCredentials, NotFound
from llmgw.core.exchange import Exchange
from llmgw.core.operation import Endpoint
from llmgw.core.principal import Principal
from llmgw.dialects.endpoints import (
    CHAT_COMPLETIONS,
    ENDPOINTS,
    GEMINI,
    GENERATE,
    MESSAGES,
    OLLAMA_CHAT,
    OPENAI,
    dialect_of,
)
from llmgw.engine.match import PATH, PREFIX
from llmgw.ports.stores import KeyEntry

_ASIDE = {"/v1/messages/count_tokens": MESSAGES, "/api/show": OLLAMA_CHAT}
"""Not on the road, but permitted by the same routes."""
_AZURE = "/openai"
_MODEL_PATH = re.compile(
    r"/(?:v1|v1beta)/models/(.+):"
    r"(?:generateContent|streamGenerateContent|countTokens|embedContent|batchEmbedContents)"
)
_DEPLOYMENT_PATH = re.compile(r"/openai/deployments/(.+)")
_BY_SUFFIX = sorted(
    ((one.suffix, one) for one in ENDPOINTS.values() if one.dialect == OPENAI), key=lambda row: -len(row[0])
)


class Question(Struct, frozen=True, forbid_unknown_fields=True):
    """path: as the client sends it. headers: by name. key: the id of an API key.
    claims: the values of a token's claims, by name or path. cert: the name in a client certificate."""

    path: str = CHAT_COMPLETIONS.path
    headers: dict[str, str] = field(default_factory=dict)
    host: str | None = None
    tenant: str | None = None
    user: str | None = None
    key: str | None = None
    model: str | None = None
    claims: dict[str, list[str]] = field(default_factory=dict)
    cert: str | None = None


def principal_of(question: Question, document: Document, keys: Iterable[KeyEntry]) -> Principal:
    """Whoever asks.

    Raises ValueError when that cannot be told, InvalidCredentials for a key that has expired.
    """
    names = list(document.tenants)
    if question.cert is not None:
        return _by_certificate(question, document, question.cert)
    if question.key is None:
        if question.tenant is None and len(names) > 1:
            raise ValueError(
                f"whose request? Name a tenant with --tenant ({', '.join(names)}), or a key with --key"
            )
        tenant = question.tenant or names[0]
        if tenant not in document.tenants:
            raise ValueError(f"there is no tenant {tenant!r}; there are {', '.join(names)}")
        claims = tuple((name, tuple(values)) for name, values in question.claims.items())
        return Principal(tenant, question.user, claims=claims)
    if question.claims:
        raise ValueError("a key has no claims; leave out --key, and say --tenant and --user instead")
    entry = next((one for one in keys if one.key_id == question.key), None)
    if entry is None:
        raise ValueError(
            f"no key has the id {question.key!r}; keys that were issued are known while a gateway runs"
        )
    for name, said, is_ in (("tenant", question.tenant, entry.tenant), ("user", question.user, entry.user)):
        if said not in (None, is_):
            raise ValueError(f"the key {question.key} is of {name} {is_}; leave out --{name}")
    if entry.expires_at is not None and time.time() >= entry.expires_at:
        raise InvalidCredentials("the API key has expired")
    return Principal(entry.tenant, entry.user, entry.key_id, entry.allow_models, tuple(entry.labels.items()))


def _by_certificate(question: Question, document: Document, name: str) -> Principal:
    """Whoever comes with a certificate that has such a name, of the issuer that is asked for."""
    if question.claims or question.key is not None:
        raise ValueError("a certificate is asked about alone; leave out --key and --claim")
    settings = document.auth.client_cert
    if not settings.enabled:
        raise ValueError("auth.client_cert is not enabled, so a certificate says nothing")
    found = CertificateMap(settings.identity, settings.map).find(name)
    if found is None:
        raise InvalidCredentials("the client certificate is nobody's here")
    holder = found[1]
    for what, said, is_ in (
        ("tenant", question.tenant, holder.tenant),
        ("user", question.user, holder.user),
    ):
        if said not in (None, is_):
            raise ValueError(f"the certificate is of {what} {is_}; leave out --{what}")
    return principal_of_certificate(name, holder)


def exchange_of(
    question: Question, principal: Principal, generation: str, prefixes: Sequence[bytes]
) -> Exchange:
    """The request as the road would have it.

    prefixes: what routes take off, the longest first.
    Raises NotFound when nothing is served at its path, ValueError when no model is named or no client
    could send it.
    """
    for what, said in (("path", question.path), ("host", question.host or "")):
        if not said.isascii():
            raise ValueError(f"a {what} is sent in ASCII (%XX in a path, xn--... in a host); {said!r} is not")
    path = question.path.partition("?")[0]
    prefix = ""
    place = _place(path)
    for each in prefixes if place is None else ():
        if path.startswith(f"{each.decode()}/"):
            prefix = each.decode()
            place = _place(path.removeprefix(prefix))
            break
    if place is None:
        raise NotFound("there is nothing at this path")
    endpoint, named = place
    model = named or question.model
    if not model:
        raise ValueError("which model? Name one with --model")
    fields = {name.lower().encode(): value.encode("latin-1") for name, value in question.headers.items()}
    if question.host is not None:
        fields[b"host"] = question.host.encode("latin-1")
    fields |= {PATH: path.removeprefix(prefix).encode("latin-1"), PREFIX: prefix.encode()}
    ex = Exchange("explained", endpoint, fields, b"", None, 0.0, 0.0, generation)
    ex.principal = principal
    ex.model = model
    return ex


def _place(raw: str) -> tuple[Endpoint, str | None] | None:
    """What is served at a path, and the model that the path names. Only that may be spelled with escapes."""
    if raw in ENDPOINTS:
        return ENDPOINTS[raw], None
    if raw in _ASIDE:
        return _ASIDE[raw], None
    of_azure = ENDPOINTS.get(raw.removeprefix(_AZURE)) if raw.startswith(f"{_AZURE}/v1/") else None
    if of_azure is not None and of_azure.dialect == OPENAI:
        return of_azure, None
    path = unquote(raw)
    if dialect_of(path) == GEMINI:
        found = _MODEL_PATH.fullmatch(path)
        return (GENERATE, found[1]) if found else None
    if found := _DEPLOYMENT_PATH.fullmatch(path):
        for suffix, endpoint in _BY_SUFFIX:
            if found[1].endswith(suffix) and raw.endswith(suffix):
                model = found[1].removesuffix(suffix)
                return (endpoint, model) if model else None
    return None
