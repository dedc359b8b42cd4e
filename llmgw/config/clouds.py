"""`providers` on the large clouds, where requests are proved by more than a key: Azure, Amazon and Google."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from llmgw.config.secret import Secret
from llmgw.config.section import ConfigPath, Flag, Mistake, ModelName
from llmgw.config.upstream import BaseUrl, HeaderText, Reach, Service, refuse_private

CREDENTIALS_FORM = (
    "must be the JSON of a service account, of workload identity federation, or of "
    "gcloud auth application-default login"
)
AZURE_VERSION = "2024-10-21"
"""The newest that is not a preview."""

ENTRA_URL = "https://login.microsoftonline.com"
AZURE_CREDENTIALS = (
    "api_key",
    "entra_token",
    "entra_token_file",
    "client_secret",
    "client_certificate",
    "federated_token_file",
    "workload_identity",
    "managed_identity",
)
"""The ways to prove requests to Azure OpenAI, one of which is given."""
_OF_AN_APP = frozenset({"client_secret", "client_certificate", "federated_token_file"})

GOOGLE_CREDENTIALS = frozenset(
    {"service_account", "authorized_user", "external_account", "impersonated_service_account"}
)
"""The kinds of files that tokens can be got by."""
_AZURE_VERSION = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}(-preview)?")


def _azure_version(text: str) -> str:
    if _AZURE_VERSION.fullmatch(text) is None:
        raise ValueError("must look like 2024-10-21 or 2025-04-01-preview")
    return text


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
    return isinstance(found, dict) and found.get("type") in GOOGLE_CREDENTIALS


class AzureOpenAI(Service):
    """A resource of Azure OpenAI."""

    kind: Literal["azure_openai"]
    base_url: BaseUrl
    """Of the resource, as `https://NAME.openai.azure.com`."""
    api_key: Secret | None = None
    entra_token: Secret | None = None
    """Bearer token of Microsoft Entra ID, in place of `api_key`, as it is. It is not renewed."""
    entra_token_file: ConfigPath | None = None
    """A file that somebody else keeps such a token in; read each minute."""
    client_secret: Secret | None = None
    """Of an app registration; with `tenant_id` and `client_id`."""
    client_certificate: ConfigPath | None = None
    """PEM with certificate and key, in place of `client_secret`."""
    federated_token_file: ConfigPath | None = None
    """A token of another issuer that Entra trusts, in place of `client_secret`."""
    workload_identity: Flag = False
    """As AKS sets it up for pods: by AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE."""
    managed_identity: Flag = False
    """Of the machine, container or app on Azure; `client_id` names a user-assigned one."""
    tenant_id: HeaderText | None = None
    client_id: HeaderText | None = None
    authority: BaseUrl = ENTRA_URL
    """Where Entra is: another one in national clouds."""
    scope: HeaderText = "https://cognitiveservices.azure.com/.default"
    """What tokens are asked for."""
    api_version: AzureVersion = AZURE_VERSION
    """Date of the API, as `2024-10-21` or `2025-04-01-preview`."""
    deployments: dict[ModelName, Deployment] = Field(default_factory=dict)
    """Deployments by the target's model; one that is not here is deployed under its own name."""

    @property
    def credential(self) -> str | None:
        """The one member that says how requests are proved, None for none or many."""
        given = [name for name in AZURE_CREDENTIALS if getattr(self, name) not in (None, False)]
        return given[0] if len(given) == 1 else None

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        given = [name for name in AZURE_CREDENTIALS if getattr(self, name) not in (None, False)]
        if not given:
            places = " or ".join((", ".join(AZURE_CREDENTIALS[1:-1]), AZURE_CREDENTIALS[-1]))
            raise Mistake(f"is required, or {places} in its place", member="api_key")
        if len(given) > 1:
            raise Mistake(f"stands beside {given[0]}; only one of them can be sent", member=given[1])
        if given[0] in _OF_AN_APP:
            for name in ("tenant_id", "client_id"):
                if getattr(self, name) is None:
                    raise Mistake(f"is required beside {given[0]}", member=name)
        if self.client_certificate is not None and find_spec("cryptography") is None:
            raise ValueError("client_certificate needs the package cryptography: pip install 'llmgw[azure]'")
        return self

    @model_validator(mode="after")
    def _ends_at_the_resource(self) -> Self:
        if "/openai/" in f"{urlsplit(self.base_url).path}/":
            raise Mistake("must end before /openai, which is added to it", member="base_url")
        return self


class Bedrock(Reach):
    """Amazon Bedrock, in one region."""

    kind: Literal["bedrock"]
    region: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,4}(-[a-z]+)+-\d{1,2}$", max_length=64)]
    """Such as `us-east-1`."""
    base_url: BaseUrl | None = None
    """Up to but without `/model/...`, where it is not the region's own."""
    api_key: Secret | None = None
    """A key of Bedrock itself, sent as a bearer token."""
    access_key_id: Secret | None = None
    """Without this and `api_key`, credentials are found as the AWS tools find them."""
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    """Of temporary credentials."""
    profile: HeaderText | None = None
    """The profile of `~/.aws`, where it is not `AWS_PROFILE` or the default."""
    role_arn: (
        Annotated[str, StringConstraints(pattern=r"^arn:[\w-]+:iam::\d{12}:role/[\x21-\x7e]+$")] | None
    ) = None
    """A role to take on, by the credentials above."""
    external_id: HeaderText | None = None
    """Asked for by the role's owner."""

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
    def _one_credential(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            missing = "access_key_id" if self.access_key_id is None else "secret_access_key"
            raise Mistake("is required beside the other half of the key", member=missing)
        if self.session_token is not None and self.access_key_id is None:
            raise Mistake("needs access_key_id and secret_access_key", member="session_token")
        others = ("access_key_id", "profile", "role_arn")
        beside = next((each for each in others if getattr(self, each) is not None), None)
        if self.api_key is not None and beside is not None:
            raise Mistake("stands beside api_key; only one of them can be used", member=beside)
        if self.profile is not None and self.access_key_id is not None:
            raise Mistake("stands beside access_key_id; only one of them can be used", member="profile")
        if self.external_id is not None and self.role_arn is None:
            raise Mistake("needs role_arn", member="external_id")
        return self

    @model_validator(mode="after")
    def _can_sign(self) -> Self:
        if self.api_key is None and find_spec("botocore") is None:
            raise ValueError(
                "needs botocore to sign requests, which comes with llmgw[bedrock]; or an api_key"
            )
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
    """The JSON of a credentials file. Without it they are found as Google's own tools find them."""
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
        if sum(given) > 1:
            member = "credentials" if given[0] else "access_token"
            raise Mistake("stands beside another source of tokens; keep one of them", member=member)
        if self.credentials is not None and not (find_spec("google") and find_spec("google.auth")):
            raise ValueError("needs google-auth for its credentials, which comes with llmgw[vertex]")
        return self
