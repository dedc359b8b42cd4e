"""Makes a running road of a document: the one place that knows both arms.

What a configuration does not use is not imported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, cast

from llmgw.auth.api_key import ApiKeys
from llmgw.config.document import Document
from llmgw.config.plugins import plugin_kind
from llmgw.config.prices import PricesSettings
from llmgw.core.api_key import parse_digest
from llmgw.core.clock import Clock
from llmgw.core.principal import Principal
from llmgw.engine.generation import Generation
from llmgw.engine.health import Healths
from llmgw.engine.repeats import FLOOR, Repeats
from llmgw.engine.road import Road
from llmgw.policies.authenticate import Authenticate
from llmgw.policies.certificate import AuthenticateCertificate
from llmgw.policies.hosts import Hosts
from llmgw.policies.idempotency import Names
from llmgw.policies.upstream_state import KnownResponses
from llmgw.ports.alerts import Alerter
from llmgw.ports.counters import CounterStore, SharedCounters
from llmgw.ports.policy import Policy
from llmgw.ports.provider import Provider
from llmgw.ports.stores import KeyEntry
from llmgw.ports.targets import TargetStates
from llmgw.ports.telemetry import Meter, RequestLog
from llmgw.ports.transport import Transport
from llmgw.providers import CLASSES
from llmgw.runtime.authenticators import (
    Issuers,
    build_authenticators,
    build_certificates,
    certificate_field,
)
from llmgw.runtime.caching import CacheRoom, Caching, room_of_one
from llmgw.runtime.limits import Limits
from llmgw.runtime.once import Once
from llmgw.runtime.plans import Plans
from llmgw.stores.idempotency_memory import MemoryIdempotency
from llmgw.stores.journal import FileJournal
from llmgw.tokens.prices import PriceTable, UnitPrices
from llmgw.transport.http import HttpTransport

Made = dict[tuple[str | None, str], tuple[object, Provider]]
"""Settings and provider by the tenant that owns it and its name."""


@dataclass(slots=True, eq=False)
class Resources:
    """What outlives a generation.

    keys: what authenticates API keys; `runtime.keyring` fills it.
    providers: those of earlier generations, with what some of them hold, such as tokens.
    cache: where answers are kept. names: what idempotency keys were taken.
    """

    journal: FileJournal
    transport: HttpTransport
    keys: ApiKeys
    known_responses: KnownResponses
    clock: Clock
    counters: CounterStore
    alerter: Alerter
    healths: Healths
    shared: SharedCounters | None = None
    providers: Made = field(default_factory=dict)
    issuers: Issuers = field(default_factory=Issuers)
    cache: CacheRoom = field(default_factory=room_of_one)
    names: Names = field(default_factory=lambda: Names(MemoryIdempotency()))

    async def close(self) -> None:
        await self.transport.close()
        await self.names.close()
        self.cache.close()
        await self.journal.close()


def open_resources(
    document: Document,
    loop: asyncio.AbstractEventLoop,
    clock: Clock,
    counters: CounterStore,
    alerter: Alerter,
    targets: TargetStates,
) -> Resources:
    """Open what the static half of `document` names, to count with these. Raises OSError."""
    journal = FileJournal(
        document.storage.data_dir / "journal", loop=loop, durability=document.storage.durability
    )
    return Resources(
        journal,
        HttpTransport(loop),
        ApiKeys(declared_keys(document)),
        KnownResponses(),
        clock,
        counters,
        alerter,
        Healths(targets),
    )


def build_road(document: Document, resources: Resources, meter: Meter, log: RequestLog) -> Road:
    """The road for `document`'s prices, on `resources`."""
    return Road(
        asyncio.get_running_loop(),
        resources.journal,
        meter,
        log,
        PriceTables(document),
        resources.clock,
        repeats=Repeats(floor=max(1, FLOOR // document.server.workers)),
    )


def build_generation(document: Document, resources: Resources) -> Generation:
    """Compile `document`, whose secrets are resolved. Raises ConfigError."""
    providers = Providers(document, resources.providers, resources.healths.renewed)
    limits = Limits(document, resources.counters, resources.clock, resources.alerter, resources.shared)
    unproved = limits.unproved()
    plans = Plans(
        document,
        providers.provider,
        cast("Transport", resources.transport),
        resources.known_responses,
        limits,
        PriceTables(document),
        resources.healths,
        Caching(document, resources.cache.prepare(document)),
        Once(document, resources.names),
    )
    authenticators = build_authenticators(
        document, resources.keys, resources.issuers, cast("Transport", resources.transport)
    )
    providers.begin()
    anonymous = Principal(document.auth.anonymous.tenant) if document.auth.anonymous is not None else None
    certificates = build_certificates(document)
    front: list[Policy] = [
        Authenticate(authenticators, unproved.admit, anonymous)
        if certificates is None
        else AuthenticateCertificate(certificates, authenticators, unproved.admit, anonymous)
    ]
    hosts = {host: name for name, tenant in document.tenants.items() for host in tenant.hosts}
    if hosts:
        front.append(Hosts(hosts))
    return Generation(
        document.generation,
        tuple(front),
        plans.match,
        document.errors.format == "flat",
        plans.models,
        unproved.admit,
        limits.rate_limit(None, None, None),
        plans.prefixes,
        plans.facts,
        certificate_field(document),
    )


class Providers:
    """A document's providers, made at first use; equal names of different tenants are apart.

    before: those of earlier documents. One whose settings are still the same goes on.
    renewed: told whose and which provider has other settings than before.
    """

    def __init__(
        self,
        document: Document,
        before: Made | None = None,
        renewed: Callable[[str | None, str], None] = lambda owner, name: None,
    ) -> None:
        self._renewed = renewed
        self._document = document
        self._made: dict[tuple[str | None, str], Provider] = {}
        self._kept: Made = {} if before is None else before

    def provider(self, tenant: str, name: str) -> Provider:
        """The provider that `name` means to `tenant`."""
        owner = tenant if self._document.owns_provider(tenant, name) else None
        made = self._made.get((owner, name))
        if made is None:
            settings: Any = self._document.provider(tenant, name)  # one of the kinds' models
            kept = self._kept.get((owner, name))
            if kept is not None and kept[0] == settings:
                made = kept[1]
            else:
                made = _make(name, settings)
                if kept is not None:
                    self._renewed(owner, name)
            self._made[owner, name] = made
            self._kept[owner, name] = (settings, made)
        return made

    def begin(self) -> None:
        """Let shared providers get what they sign requests with, so that no request waits for it."""
        for name in self._document.providers:
            tenants = self._document.tenants.items()
            tenant = next((tenant for tenant, own in tenants if name not in own.providers), None)
            if tenant is not None:
                begin = getattr(self.provider(tenant, name).signer, "begin", None)
                if begin is not None:
                    begin()


def _make(name: str, settings: Any) -> Provider:  # Any: one of the kinds' models
    secret = getattr(settings, "api_key", None)
    make = _class_of(settings.kind)
    made: Provider = make(name, settings, secret.get_secret_value() if secret is not None else None)
    return made


def _class_of(kind: str) -> Any:
    """The class that serves a kind, built in or installed. Raises PluginError."""
    built_in = CLASSES.get(kind)
    if built_in is not None:
        module, _, class_name = built_in.partition(":")
        return getattr(import_module(module), class_name)
    found = plugin_kind(kind)
    assert found is not None
    return found.provider


class PriceTables:
    """A tenant's price table: its own overrides before the shared ones."""

    def __init__(self, document: Document) -> None:
        shared = _overrides(document.prices)
        self._tables: dict[str, PriceTable] = {
            name: PriceTable({**shared, **_overrides(tenant.prices)})
            for name, tenant in document.tenants.items()
        }
        self._shared = PriceTable(shared)

    def __call__(self, tenant: str) -> PriceTable:
        return self._tables.get(tenant, self._shared)


def _overrides(prices: PricesSettings) -> Mapping[str, UnitPrices]:
    return {
        name: UnitPrices(
            input=price.input,
            output=price.output,
            cached_input=price.cached,
            cache_write=price.cache_write,
            reasoning=price.reasoning,
            per_request=price.request,
        )
        for name, price in prices.overrides.items()
    }


def declared_keys(document: Document) -> list[KeyEntry]:
    """The keys that the document declares by hash."""
    return [
        KeyEntry(
            key.id,
            name,
            key.user,
            parse_digest(key.hash),
            key.allow_models,
            key.expires.timestamp() if key.expires is not None else None,
            key.labels,
        )
        for name, tenant in document.tenants.items()
        for key in tenant.keys
    ]
