"""`tenants`: units of isolation, with their own providers, models, prices, users and keys."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import Annotated

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, StringConstraints, WithJsonSchema

from llmgw.config.cache import CacheOverride
from llmgw.config.idempotency import IdempotencyOverride
from llmgw.config.limits import KeyLimits, TenantLimits, UserLimits
from llmgw.config.models import ModelSettings
from llmgw.config.prices import PricesSettings
from llmgw.config.providers import ProviderSettings
from llmgw.config.quotas import KeyQuota, TenantQuota, UserQuota
from llmgw.config.redaction import RedactionOverride
from llmgw.config.section import ModelName, ModelPattern, ProviderName, Section

_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")


def _host(text: str) -> str:
    host = text.lower().rstrip(".")
    if not _HOST.fullmatch(host):
        raise ValueError("must be a host name such as acme.llm.example.com, without scheme, port or wildcard")
    return host


def _key_hash(text: str) -> str:
    if not _HASH.fullmatch(text.lower()):
        raise ValueError("must be sha256: and 64 hexadecimal digits, as `llmgw keys create` prints it")
    return text.lower()


def _expiry(value: object) -> datetime:
    """The moment a key stops working; a date means its first moment, and UTC unless it says otherwise."""
    text = value.isoformat() if isinstance(value, (date, datetime)) else value
    if not isinstance(text, str):
        raise ValueError('must be a date such as "2027-01-01" or a time such as "2027-01-01T12:00:00Z"')
    try:
        if len(text) == len("2027-01-01"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f'"{text[:40]}" is not a date such as 2027-01-01 or a time such as 2027-01-01T12:00:00Z'
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


Host = Annotated[str, AfterValidator(_host)]
KeyHash = Annotated[str, AfterValidator(_key_hash)]
Expiry = Annotated[
    datetime,
    PlainValidator(_expiry),
    PlainSerializer(datetime.isoformat, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["2027-01-01", "2027-01-01T12:00:00Z"]}),
]
KeyId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
UserName = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]


class KeySettings(Section):
    """An API key, declared by its hash; the key itself is never in the file."""

    id: KeyId
    """Public name, unique among all tenants."""
    hash: KeyHash
    """`sha256:` and the SHA-256 of the whole key in hexadecimal."""
    user: UserName | None = None
    allow_models: tuple[ModelPattern, ...] | None = None
    """Models it may use; absent: all of its tenant."""
    expires: Expiry | None = None
    """Date or time from which it is refused."""
    labels: dict[str, str] = Field(default_factory=dict)
    limits: KeyLimits = KeyLimits()
    quotas: tuple[KeyQuota, ...] = ()


class UserSettings(Section):
    """A person or service inside a tenant."""

    limits: UserLimits = UserLimits()
    quotas: tuple[UserQuota, ...] = ()


class TenantSettings(Section):
    """One tenant. Its own providers and models are found before the shared ones."""

    name: str | None = Field(default=None, max_length=256)
    """For people."""
    hosts: tuple[Host, ...] = ()
    """Requests to these hosts must carry a credential of this tenant."""
    allow_models: tuple[ModelPattern, ...] | None = None
    """Shared models it may use, `*` for anything. Absent: all; `[]`: none."""
    deny_models: tuple[ModelPattern, ...] = ()
    """Models it may not use. Wins over `allow_models`."""
    providers: dict[ProviderName, ProviderSettings] = Field(default_factory=dict)
    models: dict[ModelName, ModelSettings] = Field(default_factory=dict)
    prices: PricesSettings = PricesSettings()
    limits: TenantLimits = TenantLimits()
    """Levels that are other than the shared `limits`."""
    idempotency: IdempotencyOverride = IdempotencyOverride()
    """For this tenant's requests."""
    cache: CacheOverride = CacheOverride()
    """For this tenant's requests."""
    redaction: RedactionOverride = RedactionOverride()
    """For this tenant's requests and answers."""
    quotas: tuple[TenantQuota, ...] = ()
    """Quotas within this tenant, beside the shared ones."""
    users: dict[UserName, UserSettings] = Field(default_factory=dict)
    keys: tuple[KeySettings, ...] = ()
