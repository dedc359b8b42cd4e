"""`providers`: upstream accounts, one model per kind."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from llmgw.config.later import LATER_KINDS, REASON
from llmgw.config.problems import nearest
from llmgw.config.quantities import Count, Duration
from llmgw.config.secret import Secret
from llmgw.config.section import ConfigPath, Flag, Mistake, ModelName, Section
from llmgw.config.vendors import VENDORS
from llmgw.wire.hosts import is_private_host

PROXY_FORM = "must look like http://host:port or http://user:password@host:port"
OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"
GEMINI_URL = "https://generativelanguage.googleapis.com/v1beta"
MISTRAL_URL = "https://api.mistral.ai/v1"
COHERE_URL = "https://api.cohere.com"
OLLAMA_URL = "http://127.0.0.1:11434"
AZURE_VERSION = "2024-10-21"
"""The newest that is not a preview."""

_AZURE_VERSION = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}(-preview)?")


def _base_url(text: str) -> str:
    if any(mark.isspace() or ord(mark) < 32 or mark in '\\"<>{}|^`' for mark in text):
        raise ValueError("is not a URL")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise ValueError(f"is not a URL: {str(error).lower()}") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("must start with http:// or https:// and name a host")
    if url.username is not None or url.password is not None:
        raise ValueError("must hold no user or password; put the credential in api_key")
    if "?" in text or "#" in text:
        raise ValueError("must hold no query and no fragment")
    if port == 0:
        raise ValueError("port 0 is not a port")
    return text.rstrip("/")


def _azure_version(text: str) -> str:
    if _AZURE_VERSION.fullmatch(text) is None:
        raise ValueError("must look like 2024-10-21 or 2025-04-01-preview")
    return text


BaseUrl = Annotated[str, AfterValidator(_base_url), Field(json_schema_extra={"format": "uri"})]
HeaderText = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=256)]
AzureVersion = Annotated[
    str,
    AfterValidator(_azure_version),
    Field(json_schema_extra={"examples": ["2024-10-21", "2025-04-01-preview"]}),
]
Deployment = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]


def is_proxy_url(text: str) -> bool:
    """Whether text is `http://[user:password@]host[:port]`."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return False
    bare = url.path in ("", "/") and not url.query and not url.fragment
    return url.scheme == "http" and bool(url.hostname) and port != 0 and bare


class Reach(Section):
    """How to get to an upstream over HTTP."""

    allow_private: Flag = False
    """Allow loopback, private and link-local addresses."""
    proxy: Secret | None = None
    """HTTP proxy, `http://[user:password@]host:port`."""
    ca: ConfigPath | None = None
    """PEM bundle trusted instead of the system's."""
    client_cert: ConfigPath | None = None
    """PEM certificate shown to the upstream."""
    client_key: ConfigPath | None = None
    """Key of `client_cert`, unless that file holds it."""

    @field_validator("proxy")
    @classmethod
    def _proxy_is_http(cls, proxy: Secret | None) -> Secret | None:
        if proxy is not None and not proxy.references and not is_proxy_url(proxy.get_secret_value()):
            raise ValueError(PROXY_FORM)
        return proxy

    @model_validator(mode="after")
    def _key_has_certificate(self) -> Self:
        if self.client_key is not None and self.client_cert is None:
            raise Mistake("needs client_cert", member="client_key")
        return self


def _refuse_private(url: str, *, allowed: bool) -> None:
    host = urlsplit(url).hostname or ""
    if not allowed and is_private_host(host):
        reason = f"{host or url} is not a public host; add allow_private: true if that is meant"
        raise Mistake(reason, member="base_url")


class Service(Reach):
    """One service, at one base URL."""

    base_url: BaseUrl

    @property
    def vendor(self) -> str | None:
        return None

    @property
    def url(self) -> str:
        """The base URL in effect, without a slash at its end."""
        return self.base_url

    @property
    def private_allowed(self) -> bool:
        return self.allow_private

    @model_validator(mode="after")
    def _public_unless_allowed(self) -> Self:
        _refuse_private(self.url, allowed=self.private_allowed)
        return self


class Account(Service):
    """An account at one service, with a key."""

    api_key: Secret


class OpenAI(Account):
    """OpenAI itself."""

    kind: Literal["openai"]
    base_url: BaseUrl = OPENAI_URL
    organization: HeaderText | None = None
    project: HeaderText | None = None


class Anthropic(Account):
    """Anthropic itself, or what speaks its Messages."""

    kind: Literal["anthropic"]
    base_url: BaseUrl = ANTHROPIC_URL
    """Up to but without `/v1/messages`."""


class Gemini(Account):
    """The Gemini API."""

    kind: Literal["gemini"]
    base_url: BaseUrl = GEMINI_URL
    """Up to but without `/models/...`."""


class Mistral(Account):
    """Mistral's own platform."""

    kind: Literal["mistral"]
    base_url: BaseUrl = MISTRAL_URL
    """Up to but without `/chat/completions`."""


class Cohere(Account):
    """Cohere, by its own API."""

    kind: Literal["cohere"]
    base_url: BaseUrl = COHERE_URL
    """Up to but without `/v2/chat`."""

    @model_validator(mode="after")
    def _ends_at_the_server(self) -> Self:
        if self.base_url.endswith(("/v1", "/v2")):
            raise Mistake("must end before /v2, which is added to it", member="base_url")
        return self


class AzureOpenAI(Service):
    """A resource of Azure OpenAI."""

    kind: Literal["azure_openai"]
    base_url: BaseUrl
    """Of the resource, as `https://NAME.openai.azure.com`."""
    api_key: Secret | None = None
    entra_token: Secret | None = None
    """Bearer token of Microsoft Entra ID, in place of `api_key`."""
    api_version: AzureVersion = AZURE_VERSION
    """Date of the API, as `2024-10-21` or `2025-04-01-preview`."""
    deployments: dict[ModelName, Deployment] = Field(default_factory=dict)
    """Deployments by the target's model; one that is not here is deployed under its own name."""

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if self.api_key is None and self.entra_token is None:
            raise Mistake("is required, or entra_token in its place", member="api_key")
        if self.api_key is not None and self.entra_token is not None:
            raise Mistake("stands beside api_key; only one of them can be sent", member="entra_token")
        return self

    @model_validator(mode="after")
    def _ends_at_the_resource(self) -> Self:
        if "/openai/" in f"{urlsplit(self.base_url).path}/":
            raise Mistake("must end before /openai, which is added to it", member="base_url")
        return self


class Ollama(Service):
    """Ollama, by its own API."""

    kind: Literal["ollama"]
    base_url: BaseUrl = OLLAMA_URL
    """Up to but without `/api` and `/v1`."""
    api_key: Secret | None = None
    """Bearer token; Ollama itself asks for none."""

    @property
    def private_allowed(self) -> bool:
        """Always: it runs on the operator's own network."""
        return True

    @model_validator(mode="after")
    def _ends_at_the_server(self) -> Self:
        if self.base_url.endswith(("/api", "/v1")):
            raise Mistake("must end before /api and /v1, which are added to it", member="base_url")
        return self


class Bedrock(Reach):
    """Amazon Bedrock, in one region."""

    kind: Literal["bedrock"]
    region: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,4}(-[a-z]+)+-\d{1,2}$", max_length=64)]
    """Such as `us-east-1`."""
    base_url: BaseUrl | None = None
    """Up to but without `/model/...`, where it is not the region's own."""
    access_key_id: Secret
    secret_access_key: Secret
    session_token: Secret | None = None
    """Of temporary credentials."""

    @property
    def url(self) -> str:
        """The base URL in effect, without a slash at its end."""
        if self.base_url is not None:
            return self.base_url
        suffix = ".cn" if self.region.startswith("cn-") else ""
        return f"https://bedrock-runtime.{self.region}.amazonaws.com{suffix}"

    @model_validator(mode="after")
    def _public_unless_allowed(self) -> Self:
        _refuse_private(self.url, allowed=self.allow_private)
        return self

    @model_validator(mode="after")
    def _can_sign(self) -> Self:
        if find_spec("botocore") is None:
            raise ValueError("needs botocore, which comes with llmgw[bedrock]")
        return self


class OpenAICompatible(Reach):
    """Any service that speaks OpenAI's API: a known vendor, or one named by its base URL."""

    kind: Literal["openai_compatible"]
    vendor: str | None = Field(default=None, json_schema_extra={"enum": [*VENDORS, None]})
    """A known service; gives the base URL and its quirks."""
    base_url: BaseUrl | None = None
    """Up to but without `/chat/completions`. Required without `vendor`."""
    api_key: Secret | None = None

    @field_validator("vendor")
    @classmethod
    def _vendor_is_known(cls, vendor: str | None) -> str | None:
        if vendor is not None and vendor not in VENDORS:
            reason = f'no vendor named "{vendor}" (known: {", ".join(VENDORS)}; any other by its base_url)'
            raise Mistake(reason, suggestion=nearest(vendor, VENDORS))
        return vendor

    @property
    def url(self) -> str:
        """The base URL in effect, without a slash at its end."""
        if self.base_url is not None:
            return self.base_url
        assert self.vendor is not None
        return VENDORS[self.vendor].base_url

    @property
    def private_allowed(self) -> bool:
        """Said, or in the nature of the vendor."""
        return self.allow_private or (self.vendor is not None and VENDORS[self.vendor].local)

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.base_url is None and self.vendor is None:
            raise ValueError("needs a vendor or a base_url")
        vendor = VENDORS[self.vendor] if self.vendor is not None else None
        if vendor and vendor.key_env and self.base_url is None and self.api_key is None:
            hint = f"usually ${{env:{vendor.key_env}}}"
            raise Mistake(f"is required for {self.vendor}, {hint}", member="api_key")
        _refuse_private(self.url, allowed=self.private_allowed)
        return self


class Echo(Section):
    """Built in: answers with the request's own words, at a set pace, without network or account."""

    kind: Literal["echo"]
    first_token: Duration = 0.0
    """Pause before an answer begins."""
    tokens_per_second: Count = 0
    """Pace of streams; 0 for no pause between tokens."""
    faults: Flag = True
    """Let requests script faults."""


ProviderSettings = Annotated[
    OpenAI | AzureOpenAI | Anthropic | Gemini | Mistral | Cohere | Ollama | Bedrock | OpenAICompatible | Echo,
    Field(discriminator="kind"),
]

KINDS = (
    "openai",
    "azure_openai",
    "anthropic",
    "gemini",
    "bedrock",
    "mistral",
    "cohere",
    "ollama",
    "openai_compatible",
    "echo",
)


def kind_problem(kind: str) -> tuple[str, str | None]:
    """Why a kind is refused, and the one that was probably meant."""
    if kind in LATER_KINDS:
        return f'kind "{kind}" is {REASON}', None
    return f'no provider kind named "{kind}" (known: {", ".join(KINDS)})', nearest(kind, KINDS)
