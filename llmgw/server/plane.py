"""The data plane of one process: opened on a document, and made to serve another one."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from llmgw.config.document import Document
from llmgw.config.problems import ConfigError
from llmgw.engine.generation import Generation
from llmgw.policies.idempotency import Tell
from llmgw.ports.peers import Peers
from llmgw.ports.stores import KeyEntry, KeyNotices, NoKeyNotices
from llmgw.ports.targets import TargetStates
from llmgw.runtime.authenticators import import_used
from llmgw.runtime.build import (
    PriceTables,
    Resources,
    build_generation,
    build_road,
    declared_keys,
    open_resources,
)
from llmgw.runtime.keyring import Keyring
from llmgw.runtime.once import open_names
from llmgw.server.app import build_app
from llmgw.server.caching import cache_room, watch_cache
from llmgw.server.counting import Counting
from llmgw.server.drain import Departure, drain
from llmgw.server.front_door import FrontDoor
from llmgw.server.gateway import Gateway
from llmgw.server.listeners import Listener, data_listener
from llmgw.server.memory import Cgroup, MemoryWatch
from llmgw.server.outlets import Outlets
from llmgw.server.tls import Revocations, TlsProblem, tls_of
from llmgw.stores.keys import SqlKeyStore
from llmgw.stores.known_keys import KnownKeys
from llmgw.stores.urls import is_postgres
from llmgw.telemetry.events import Events
from llmgw.telemetry.metrics import PrometheusMeter
from llmgw.tokens.prices import load as load_prices

TICK_S = 1.0
_MIRRORS_WITHIN_S = 1.0
_MIRROR_COUNTS = {
    "sent": "Requests that were copied to a target on trial.",
    "failed": "Copies that had no good end.",
    "skipped": "Copies that there was no room for.",
}


class StartProblem(Exception):
    """The gateway cannot start. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A document and what was made of it, not yet served."""

    document: Document
    generation: Generation
    prices: PriceTables
    declared: list[KeyEntry]


@dataclass(slots=True)
class DataPlane:
    """What serves requests: all of a process but its admin listener and the drainer."""

    gateway: Gateway
    listener: Listener
    resources: Resources
    keyring: Keyring
    key_store: SqlKeyStore
    counting: Counting
    meter: PrometheusMeter
    outlets: Outlets
    memory: MemoryWatch
    tls: ssl.SSLContext | None
    revocations: Revocations | None = None

    async def open(self) -> None:
        """Accept from now on."""
        await self.listener.open(asyncio.get_running_loop(), self.tls)

    async def prepare(self, document: Document) -> Compiled:
        """All that serving `document` takes. Changes nothing; raises when it cannot be served."""
        if _has_listed_prices(document):
            await asyncio.get_running_loop().run_in_executor(None, load_prices)
        await asyncio.get_running_loop().run_in_executor(None, import_used, document)
        self.counting.watch(document, self.outlets.events, self.meter)
        self.resources.alerter = self.counting.alerter
        return Compiled(
            document,
            build_generation(document, self.resources),
            PriceTables(document),
            declared_keys(document),
        )

    def switch(self, compiled: Compiled) -> None:
        """Serve it to requests that begin from now on: each sees all of it or nothing.

        Connections, counters, balances and proved keys go on; what is under way keeps what it
        began with.
        """
        document = compiled.document
        self.meter.name_models(_named_models(document))
        self.keyring.stale_grace = document.auth.stale_grace
        self.keyring.declare(compiled.declared)
        self.gateway.road.prices = compiled.prices
        self.gateway.generation = compiled.generation
        self.counting.tell(document)
        self.resources.cache.follow(document)
        self.outlets.tell_from(document.logging.level)
        self.outlets.hide(document.redaction.logs)

    async def adopt(self, document: Document) -> None:
        """Serve `document` from now on, or raise and change nothing."""
        self.switch(await self.prepare(document))

    def tick(self) -> None:
        """Called each second."""
        self.gateway.tick()
        self.counting.sweep()
        self.resources.names.sweep()
        if self.revocations is not None:
            self.revocations.tick()

    async def close(self) -> None:
        """Once nothing is under way but copies for targets on trial."""
        mirrors = self.gateway.road.mirrors
        mirrors.stop()
        end = asyncio.get_running_loop().time() + _MIRRORS_WITHIN_S
        while mirrors.under_way and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)
        await self.resources.close()
        await self.counting.close()
        await self.key_store.close()

    async def drain(self, document: Document, departure: Departure) -> None:
        """Accept no more and end what is under way, as `departure` asks."""
        await drain(
            self.gateway,
            [self.listener],
            lame_duck_s=document.server.lame_duck if departure.patient else 0.0,
            drain_timeout_s=document.server.drain_timeout,
            hurry=departure.hurry,
            accepting=not departure.succeeded,
        )


async def prepare_plane(
    document: Document,
    counting: Counting,
    targets: TargetStates,
    peers: Peers,
    data: socket.socket,
    meter: PrometheusMeter,
    outlets: Outlets,
) -> DataPlane:
    """The data plane of one process, ready to accept on `data`. Raises StartProblem."""
    loop = asyncio.get_running_loop()
    server = document.server
    tls = open_tls(document)
    priced = loop.run_in_executor(None, load_prices) if _has_listed_prices(document) else None
    counting.watch(document, outlets.events, meter)
    try:
        resources = open_resources(
            document, loop, counting.clock, counting.counters, counting.alerter, targets
        )
    except OSError as error:
        raise StartProblem(f"storage.data_dir {document.storage.data_dir} cannot be used: {error}") from error
    resources.shared = await counting.share(document, outlets.events, meter)
    resources.cache = cache_room(document, counting, outlets.events)
    resources.cache.follow(document)
    watch_cache(resources.cache, meter, counting.index)
    sharing = counting.sharing
    link = (lambda: sharing.counters.link) if sharing is not None else None
    resources.names = open_names(document, counting.clock, link, _tell(outlets.events))
    resources.issuers.trouble = _issuer_trouble(outlets.events)
    meter.name_models(_named_models(document))
    meter.gauge(
        "llmgw_journal_failed_writes", "Journal writes that failed.", lambda: resources.journal.failed_writes
    )
    meter.gauge("llmgw_log_lines_dropped", "Log lines that nobody took.", outlets.dropped)
    outlets.hide(document.redaction.logs)
    road = build_road(document, resources, meter, outlets.log)
    for name, text in _MIRROR_COUNTS.items():
        meter.gauge(f"llmgw_mirror_{name}", text, partial(getattr, road.mirrors, name))
    door = server.front_door
    try:
        generation = build_generation(document, resources)
    except ConfigError as error:
        raise StartProblem(str(error)) from error
    gateway = Gateway(
        road,
        generation,
        FrontDoor(
            door.header_timeout,
            door.body_timeout,
            door.write_idle,
            max_headers=door.max_headers,
            max_header_bytes=door.max_header_bytes,
            max_url=door.max_url,
            max_body=door.max_body,
            connections_per_ip=door.connections_per_ip,
            trusted=server.trusted_proxies,
        ),
        peers,
    )
    key_store = SqlKeyStore(document.storage.database)
    notices = _key_notices(document)
    meter.gauge("llmgw_key_notices", "Changes of keys that Redis told of.", lambda: notices.heard)
    keyring = Keyring(
        resources.keys,
        key_store,
        declared_keys(document),
        _key_trouble(outlets.events),
        document.auth.stale_grace,
        KnownKeys(document.storage.data_dir) if is_postgres(document.storage.database) else None,
        notices,
    )
    await keyring.open()
    if priced is not None:
        await priced
    memory = MemoryWatch(gateway, outlets.events, Cgroup())
    listener = data_listener(data, build_app(gateway), gateway, loop)
    revocations = _revocations(document, tls, outlets.events)
    return DataPlane(
        gateway, listener, resources, keyring, key_store, counting, meter, outlets, memory, tls, revocations
    )


async def ticks(listeners: list[Listener], plane: DataPlane | None = None) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(TICK_S)
        if plane is not None:
            plane.tick()
        for listener in listeners:
            listener.check_deadlines(loop.time())


def open_tls(document: Document) -> ssl.SSLContext | None:
    """TLS as `server.tls` says. Raises StartProblem."""
    try:
        return tls_of(document.server.tls)
    except TlsProblem as problem:
        raise StartProblem(str(problem)) from problem


def _revocations(document: Document, tls: ssl.SSLContext | None, events: Events) -> Revocations | None:
    file = document.server.tls.client_crl
    if tls is None or file is None:
        return None

    def tell(why: str | None) -> None:
        if why is None:
            events.log_event("info", "client_crl_read_again")
        else:
            events.log_event("error", "client_crl", error=why)

    return Revocations(tls, file, tell)


def _has_listed_prices(document: Document) -> bool:
    """Whether a provider's prices come from the shipped table, which takes a third of a second to load."""
    providers = [*document.providers.values()]
    for tenant in document.tenants.values():
        providers.extend(tenant.providers.values())
    return any(provider.kind != "echo" for provider in providers)


def spare_the_collector() -> None:
    """What was made so far stays; what requests make is freed without the cycle collector.

    A profile at 64 connections showed the collector looking through live objects at every turn.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _named_models(document: Document) -> set[str] | None:
    """Model names that may be metric labels; None where every name is passed on."""
    names = {*document.models}
    for tenant in document.tenants.values():
        names.update(tenant.models)
    return names or None


def _key_notices(document: Document) -> KeyNotices:
    """Where changes of keys are heard of."""
    if document.storage.redis is None:
        return NoKeyNotices()
    from llmgw.stores.key_notices import RedisKeyNotices

    return RedisKeyNotices(document.storage.redis.url)


def _tell(events: Events) -> Tell:
    def tell(level: str, event: str, fields: dict[str, object]) -> None:
        events.log_event(level, event, **fields)

    return tell


def _issuer_trouble(events: Events) -> Callable[[str, str | None], None]:
    def tell(issuer: str, reason: str | None) -> None:
        if reason is None:
            events.log_event("info", "issuer_answers_again", issuer=issuer)
        else:
            events.log_event("error", "issuer_keys", issuer=issuer, error=reason)

    return tell


def _key_trouble(events: Events) -> Callable[[Exception | None], None]:
    def tell(error: Exception | None) -> None:
        if error is None:
            events.log_event("info", "key_store_answers_again")
        else:
            why = getattr(error, "detail", None) or str(error)
            events.log_event("error", "key_store_unreachable", error=why)

    return tell
