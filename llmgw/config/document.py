"""The whole configuration, validated and immutable.

What it means, in two rules that hold when a part is absent: without `models`, every model name
is passed to the only provider; without `tenants`, there is one, `default`. What is compiled from
it is not this package's business; the questions a compiler asks are answered here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Literal

from pydantic import Field, PrivateAttr, field_validator

from llmgw.config.cache import CacheSettings
from llmgw.config.idempotency import IdempotencySettings
from llmgw.config.limits import LimitRule, LimitsSettings, rules_in_effect
from llmgw.config.models import ModelSettings
from llmgw.config.observability import ErrorSettings, LoggingSettings, ObservabilitySettings
from llmgw.config.prices import PricesSettings
from llmgw.config.problems import Path, Place, Problem
from llmgw.config.providers import ProviderSettings
from llmgw.config.quotas import AlertsSettings, QuotaRule, QuotaSettings, most_specific, rule_of
from llmgw.config.redaction import RedactionSettings
from llmgw.config.retention import RetentionSettings
from llmgw.config.routes import RouteSettings
from llmgw.config.section import ModelName, ProviderName, Section, TenantName
from llmgw.config.security import AuthSettings
from llmgw.config.server import ServerSettings
from llmgw.config.source import MapNode, Node, place_of
from llmgw.config.storage import StorageSettings
from llmgw.config.tenants import KeySettings, TenantSettings, UserSettings

DEFAULT_TENANT = "default"


class Document(Section):
    """One validated configuration, a generation."""

    version: Literal[1]
    """Version of this file's shape."""
    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    providers: dict[ProviderName, ProviderSettings] = Field(default_factory=dict)
    """Upstream accounts shared by all tenants, by name."""
    models: dict[ModelName, ModelSettings] = Field(default_factory=dict)
    """Public model names. Absent: every model name is passed to the only provider."""
    routes: tuple[RouteSettings, ...] = ()
    """First match wins. Absent: the model's name decides."""
    limits: LimitsSettings = LimitsSettings()
    """How much may pass in a window, at each level."""
    quotas: tuple[QuotaSettings, ...] = ()
    """How much may be used in a period of the calendar."""
    alerts: AlertsSettings = AlertsSettings()
    auth: AuthSettings = AuthSettings()
    idempotency: IdempotencySettings = IdempotencySettings()
    """Requests that run once, however often they are sent."""
    cache: CacheSettings = CacheSettings()
    """Answers that are given again to the same request."""
    redaction: RedactionSettings = RedactionSettings()
    """Personal data and secrets that are taken out of requests, answers and logs."""
    retention: RetentionSettings = RetentionSettings()
    """How long what is kept about requests stays."""
    logging: LoggingSettings = LoggingSettings()
    observability: ObservabilitySettings = ObservabilitySettings()
    errors: ErrorSettings = ErrorSettings()
    prices: PricesSettings = PricesSettings()
    tenants: dict[TenantName, TenantSettings] = Field(
        default_factory=lambda: {DEFAULT_TENANT: TenantSettings()}
    )
    """By name. Absent: one, `default`."""
    include: tuple[str, ...] = ()
    """Further files or globs of the same shape, relative to the file that names them."""

    _path: FilePath = PrivateAttr(default=FilePath("llmgw.yaml"))
    _files: tuple[FilePath, ...] = PrivateAttr(default=())
    _generation: str = PrivateAttr(default="")
    _root: Node = PrivateAttr(default_factory=lambda: MapNode(Place("llmgw.yaml")))
    _warnings: tuple[Problem, ...] = PrivateAttr(default=())

    @field_validator("tenants")
    @classmethod
    def _at_least_the_default(cls, tenants: dict[str, TenantSettings]) -> dict[str, TenantSettings]:
        return tenants or {DEFAULT_TENANT: TenantSettings()}

    @property
    def path(self) -> FilePath:
        """The configuration file. Absolute when it was loaded from one."""
        return self._path

    @property
    def files(self) -> tuple[FilePath, ...]:
        """Every file read: the configuration file first, then what it includes."""
        return self._files

    @property
    def generation(self) -> str:
        """Twelve hexadecimal digits that change with the contents."""
        return self._generation

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What works and should still be mended."""
        return self._warnings

    def place(self, path: Path) -> Place:
        """Where a path was written, or as much of it as exists."""
        return place_of(self._root, path)

    def provider(self, tenant: str, name: str) -> ProviderSettings | None:
        """The provider a name means to a tenant: its own, else the shared one."""
        own = self.tenants[tenant].providers
        return own.get(name) or self.providers.get(name)

    def route(self, name: str | None) -> RouteSettings | None:
        """The route of that name."""
        return next((one for one in self.routes if one.name == name), None)

    def narrowest_first(
        self, tenant: str, model: str, route: str | None
    ) -> list[RouteSettings | ModelSettings | TenantSettings]:
        """Who is heard before the top level, of a tenant's requests for a model on a route."""
        settings = self.tenants.get(tenant)
        own = settings.models.get(model) if settings is not None else None
        shared = self.models.get(model) if own is None else None
        return [one for one in (self.route(route), own, settings, shared) if one is not None]

    def owns_provider(self, tenant: str, name: str) -> bool:
        """Whether the provider's credential is the tenant's own."""
        return name in self.tenants[tenant].providers

    def passthrough(self, tenant: str) -> str | None:
        """The provider that gets every model name, None when models are declared for the tenant."""
        if self.models or self.tenants[tenant].models:
            return None
        names = {**self.tenants[tenant].providers, **self.providers}
        return next(iter(names), None)

    def limit_rules(
        self, tenant: str, user: str | None, key_id: str | None, route: str | None = None
    ) -> tuple[LimitRule, ...]:
        """The limits in effect for a principal on a route, at every level but `concurrency`.

        Names that the file does not have are those without an override.
        """
        places = self._places(tenant, user, key_id)
        rules = rules_in_effect(self.limits, ((scope, settings.limits) for scope, settings in places))
        own = next((one.limits for one in self.routes if one.name == route), None)
        if own is None or own.per_route is None:
            return rules
        of_route = rules_in_effect(self.limits, [(f"route:{route}", own)])
        return (
            *(rule for rule in rules if rule.level != "per_route"),
            *(rule for rule in of_route if rule.level == "per_route"),
        )

    def quota_rules(self, tenant: str, user: str | None, key_id: str | None) -> tuple[QuotaRule, ...]:
        """The quotas that concern a principal, for all models.

        Those per user and per key are among them also where the principal has none.
        """
        whose = {"", f"tenant:{tenant}"}
        whose |= {f"user:{tenant}/{user}"} if user is not None else set()
        whose |= {f"key:{tenant}/{key_id}"} if key_id is not None else set()
        rules = [rule_of(quota, quota.scope) for quota in self.quotas if quota.scope in whose]
        for scope, settings in self._places(tenant, user, key_id):
            rules += (rule_of(quota, scope) for quota in settings.quotas)
        return most_specific(rules)

    def all_quota_rules(self) -> tuple[QuotaRule, ...]:
        """Every quota of the file, whomever it concerns."""
        rules = [rule_of(quota, quota.scope) for quota in self.quotas]
        for name, tenant in self.tenants.items():
            rules += (rule_of(quota, f"tenant:{name}") for quota in tenant.quotas)
            for user, person in tenant.users.items():
                rules += (rule_of(quota, f"user:{name}/{user}") for quota in person.quotas)
            for key in tenant.keys:
                rules += (rule_of(quota, f"key:{name}/{key.id}") for quota in key.quotas)
        return tuple(rules)

    def _places(
        self, tenant: str, user: str | None, key_id: str | None
    ) -> Iterator[tuple[str, TenantSettings | UserSettings | KeySettings]]:
        """Where a principal's own limits and quotas are, with their scope; the most specific last."""
        settings = self.tenants.get(tenant)
        if settings is None:
            return
        yield f"tenant:{tenant}", settings
        if user is not None and user in settings.users:
            yield f"user:{tenant}/{user}", settings.users[user]
        key = next((key for key in settings.keys if key.id == key_id), None)
        if key is not None:
            yield f"key:{tenant}/{key.id}", key
