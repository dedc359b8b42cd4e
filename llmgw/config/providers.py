"""`providers`: upstream accounts, one model per kind."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from llmgw.config.later import LATER_KINDS, REASON
from llmgw.config.problems import nearest
from llmgw.config.quantities import Count, Duration
from llmgw.config.secret import Secret
from llmgw.config.section import ConfigPath, Flag, Mistake, Section
from llmgw.config.vendors import VENDORS
from llmgw.wire.hosts import is_private_host

PROXY_FORM = "must look like http://host:port or http://user:password@host:port"
OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"
GEMINI_URL = "https://generativelanguage.googleapis.com/v1beta"


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


BaseUrl = Annotated[str, AfterValidator(_base_url), Field(json_schema_extra={"format": "uri"})]
HeaderText = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=256)]


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


class Account(Reach):
    """An account at one service, with a key."""

    api_key: Secret
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
    OpenAI | Anthropic | Gemini | OpenAICompatible | Echo, Field(discriminator="kind")
]

KINDS = ("openai", "anthropic", "gemini", "openai_compatible", "echo")


def kind_problem(kind: str) -> tuple[str, str | None]:
    """Why a kind is refused, and the one that was probably meant."""
    if kind in LATER_KINDS:
        return f'kind "{kind}" is {REASON}', None
    return f'no provider kind named "{kind}" (known: {", ".join(KINDS)})', nearest(kind, KINDS)
