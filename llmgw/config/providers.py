"""`providers`: upstream accounts, one model per kind."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from typing import Annotated, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from llmgw.config.plugins import OrInstalled, PluginError, installed, plugin_kind
from llmgw.config.problems import nearest
from llmgw.config.quantities import Count, Duration
from llmgw.config.secret import Secret
from llmgw.config.section import Flag, Mistake, ModelName, Section
from llmgw.config.upstream import Account, BaseUrl, Reach, Service, refuse_private
from llmgw.config.vendors import VENDORS

CREDENTIALS_FORM = "must be the JSON of a service account, or of gcloud auth application-default login"
OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"
GEMINI_URL = "https://generativelanguage.googleapis.com/v1beta"
MISTRAL_URL = "https://api.mistral.ai/v1"
COHERE_URL = "https://api.cohere.com"
OLLAMA_URL = "http://127.0.0.1:11434"
AZURE_VERSION = "2024-10-21"
"""The newest that is not a preview."""

_GOOGLE_CREDENTIALS = frozenset({"service_account", "authorized_user"})
_AZURE_VERSION = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}(-preview)?")


def _azure_version(text: str) -> str:
    if _AZURE_VERSION.fullmatch(text) is None:
        raise ValueError("must look like 2024-10-21 or 2025-04-01-preview")
    return text


HeaderText = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=256)]
AzureVersion = Annotated[
    str,
    AfterValidator(_azure_version),
    Field(json_schema_extra={"examples": ["2024-10-21", "2025-04-01-preview"]}),
]
Deployment = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]


def is_google_credentials(text: str) -> bool:
    """Whether this is the JSON of a kind of credentials that tokens can be got by."""
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("type") in _GOOGLE_CREDENTIALS


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
        refuse_private(self.url, allowed=self.allow_private)
        return self

    @model_validator(mode="after")
    def _can_sign(self) -> Self:
        if find_spec("botocore") is None:
            raise ValueError("needs botocore, which comes with llmgw[bedrock]")
        return self


class Vertex(Reach):
    """Vertex AI, in one project and location."""

    kind: Literal["vertex"]
    project: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.:-]+$", max_length=128)]
    """The project's id."""
    location: Annotated[str, StringConstraints(pattern=r"^[a-z]+(-[a-z]+\d+)?$", max_length=64)]
    """A region such as `europe-west4`, a multi-region `us` or `eu`, or `global`."""
    base_url: BaseUrl | None = None
    """Up to but without `/projects/...`, where it is not the location's own."""
    credentials: Secret | None = None
    """The JSON of a service account, or of `gcloud auth application-default login`."""
    metadata_server: Flag = False
    """Ask the metadata server for tokens: of machines and pods on Google Cloud."""
    access_token: Secret | None = None
    """A token, as it is. It is good for an hour, and not renewed."""

    @property
    def url(self) -> str:
        """The base URL in effect, without a slash at its end."""
        if self.base_url is not None:
            return self.base_url
        if self.location == "global":
            return "https://aiplatform.googleapis.com/v1"
        if self.location in ("us", "eu"):
            return f"https://aiplatform.{self.location}.rep.googleapis.com/v1"
        return f"https://{self.location}-aiplatform.googleapis.com/v1"

    @model_validator(mode="after")
    def _public_unless_allowed(self) -> Self:
        refuse_private(self.url, allowed=self.allow_private)
        return self

    @model_validator(mode="after")
    def _one_source_of_tokens(self) -> Self:
        given = (self.credentials is not None, self.metadata_server, self.access_token is not None)
        if sum(given) != 1:
            reason = "is required, or metadata_server: true or an access_token in its place"
            if sum(given) > 1:
                reason = "stands beside another source of tokens; keep one of them"
            raise Mistake(reason, member="credentials" if not any(given) or given[0] else "access_token")
        if self.credentials is not None and not (find_spec("google") and find_spec("google.auth")):
            raise ValueError("needs google-auth for its credentials, which comes with llmgw[vertex]")
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
