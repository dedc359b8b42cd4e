"""`providers`: upstream accounts, one model per kind."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from llmgw.config.clouds import AzureOpenAI, Bedrock, Vertex
from llmgw.config.plugins import OrInstalled, PluginError, installed, plugin_kind
from llmgw.config.problems import nearest
from llmgw.config.quantities import Count, Duration
from llmgw.config.secret import Secret
from llmgw.config.section import Flag, Mistake, Section
from llmgw.config.upstream import Account, BaseUrl, HeaderText, Reach, Service, refuse_private
from llmgw.config.vendors import VENDORS

OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"
GEMINI_URL = "https://generativelanguage.googleapis.com/v1beta"
MISTRAL_URL = "https://api.mistral.ai/v1"
COHERE_URL = "https://api.cohere.com"
OLLAMA_URL = "http://127.0.0.1:11434"


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
        refuse_private(self.url, allowed=self.private_allowed)
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


KINDS = (
    "openai",
    "azure_openai",
    "anthropic",
    "gemini",
    "vertex",
    "bedrock",
    "mistral",
    "cohere",
    "ollama",
    "openai_compatible",
    "echo",
)

ProviderSettings = Annotated[
    OpenAI
    | AzureOpenAI
    | Anthropic
    | Gemini
    | Vertex
    | Mistral
    | Cohere
    | Ollama
    | Bedrock
    | OpenAICompatible
    | Echo,
    Field(discriminator="kind"),
    OrInstalled(KINDS),
]


def kind_problem(kind: str) -> tuple[str, str | None]:
    """Why a kind is refused, and the one that was probably meant."""
    known = (*KINDS, *sorted(installed()))
    return f'no provider kind named "{kind}" (known: {", ".join(known)})', nearest(kind, known)


def secret_members(kind: str) -> frozenset[str] | None:
    """The members of a kind's settings that are secrets; None where the kind cannot be used."""
    built_in = get_args(get_args(ProviderSettings)[0])
    model = next((each for each in built_in if kind in get_args(each.model_fields["kind"].annotation)), None)
    if model is None:
        try:
            found = plugin_kind(kind)
        except PluginError:
            return None
        if found is None:
            return None
        model = found.settings
    return frozenset(
        name
        for name, field in model.model_fields.items()
        if Secret in (field.annotation, *get_args(field.annotation))
    )
