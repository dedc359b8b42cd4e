"""The data plane of one process: opened on a document, and made to serve another one."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmgw.config.document import Document
from llmgw.runtime.build import (
    PriceTables,
    Resources,
    build_generation,
    build_road,
    declared_keys,
    open_resources,
)
from llmgw.runtime.keyring import Keyring
from llmgw.server.app import build_app
from llmgw.server.counting import Counting
from llmgw.server.drain import Departure, drain
from llmgw.server.gateway import Gateway
from llmgw.server.listeners import Listener, data_listener
from llmgw.server.outlets import Outlets
from llmgw.server.protocol import FrontDoor
from llmgw.stores.keys import SqlKeyStore
from llmgw.telemetry.events import Events
from llmgw.telemetry.metrics import PrometheusMeter
from llmgw.tokens.prices import load as load_prices

TICK_S = 1.0


class StartProblem(Exception):
    """The gateway cannot start. The message says why and what to do."""


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
    events: Events
    tls: ssl.SSLContext | None

    async def open(self) -> None:
        """Accept from now on."""
        await self.listener.open(asyncio.get_running_loop(), self.tls)

    async def adopt(self, document: Document) -> None:
        """Serve `document` to requests that begin from now on, or raise and change nothing.

        Connections, counters, balances and proved keys go on; what is under way keeps what it
        began with.
        """
        if _has_listed_prices(document):
            await asyncio.get_running_loop().run_in_executor(None, load_prices)
        self.counting.watch(document, self.events, self.meter)
        self.resources.alerter = self.counting.alerter
        generation = build_generation(document, self.resources)
        prices = PriceTables(document)
        declared = declared_keys(document)
        # Nothing waits from here on: a request sees all of it or nothing.
        self.meter.name_models(_named_models(document))
        self.keyring.declare(declared)
        self.gateway.road.prices = prices
        self.gateway.generation = generation

    def tick(self) -> None:
        """Called each second."""
        self.gateway.tick()
        self.resources.counters.sweep()

    async def close(self) -> None:
        """Once nothing is under way."""
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
        )


async def prepare_plane(
    document: Document, counting: Counting, data: socket.socket, meter: PrometheusMeter, outlets: Outlets
) -> DataPlane:
    """The data plane of one process, ready to accept on `data`. Raises StartProblem."""
    loop = asyncio.get_running_loop()
    server = document.server
    tls = tls_of(server.tls.cert, server.tls.key)
    priced = loop.run_in_executor(None, load_prices) if _has_listed_prices(document) else None
    counting.watch(document, outlets.events, meter)
    try:
        resources = open_resources(document, loop, counting.clock, counting.counters, counting.alerter)
    except OSError as error:
        raise StartProblem(f"storage.data_dir {document.storage.data_dir} cannot be used: {error}") from error
    meter.name_models(_named_models(document))
    meter.gauge(
        "llmgw_journal_failed_writes", "Journal writes that failed.", lambda: resources.journal.failed_writes
    )
    meter.gauge("llmgw_log_lines_dropped", "Log lines that nobody took.", outlets.dropped)
    road = build_road(document, resources, meter, outlets.log)
    door = server.front_door
    gateway = Gateway(
        road,
        build_generation(document, resources),
        FrontDoor(
            door.header_timeout,
            door.body_timeout,
            door.write_idle,
            max_headers=door.max_headers,
            max_header_bytes=door.max_header_bytes,
            max_url=door.max_url,
            max_body=door.max_body,
            connections_per_ip=door.connections_per_ip,
        ),
    )
    key_store = SqlKeyStore(document.storage.url)
    keyring = Keyring(resources.keys, key_store, declared_keys(document), _key_trouble(outlets.events))
    await keyring.refresh()
    if priced is not None:
        await priced
    listener = data_listener(data, build_app(gateway), gateway, loop)
    return DataPlane(gateway, listener, resources, keyring, key_store, counting, meter, outlets.events, tls)


async def ticks(listeners: list[Listener], plane: DataPlane | None = None) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(TICK_S)
        if plane is not None:
            plane.tick()
        for listener in listeners:
            listener.check_deadlines(loop.time())


def tls_of(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None or key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise StartProblem(f"server.tls: {cert} and {key} cannot be used: {error}") from error
    return context


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


def _key_trouble(events: Events) -> Callable[[Exception | None], None]:
    def tell(error: Exception | None) -> None:
        if error is None:
            events.log_event("info", "key_store_answers_again")
        else:
            events.log_event("error", "key_store_unreachable", error=str(error))

    return tell
