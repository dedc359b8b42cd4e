"""Runs the gateway: opens what the document names, serves, and ends in good order.

With one worker this process does it all. With more it is their supervisor, which holds the
address, the admin listener and the drainer, and each worker is this module run as a program.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import socket
import sqlite3
import ssl
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import uvloop

from llmgw import __version__
from llmgw.config.document import Document
from llmgw.core.clock import Clock
from llmgw.core.errors import Unavailable
from llmgw.ports.alerts import NullAlerter
from llmgw.ports.counters import CounterStore
from llmgw.ports.stores import KeyEntry
from llmgw.ports.telemetry import RequestLog
from llmgw.runtime.build import Resources, build_generation, build_road, declared_keys, open_resources
from llmgw.runtime.keyring import Keyring
from llmgw.runtime.limits import Limits
from llmgw.server.app import build_app
from llmgw.server.control import ControlSocket
from llmgw.server.counting import (
    Counting,
    attach_shared,
    forget_shared,
    ledger_of,
    open_alone,
    open_shared,
    release_dead,
)
from llmgw.server.drain import Departure, drain
from llmgw.server.gateway import Gateway
from llmgw.server.inspection import Inspection
from llmgw.server.listeners import Listener, admin_listener, bind, data_listener, reserve
from llmgw.server.ops import OpsState, build_ops_app
from llmgw.server.protocol import FrontDoor
from llmgw.server.supervise import (
    Ask,
    Begin,
    Channel,
    Failed,
    Leave,
    NoWorker,
    Order,
    Ready,
    Supervisor,
    Told,
)
from llmgw.stores.drain_process import DrainProcess
from llmgw.stores.journal import journal_bytes
from llmgw.stores.keys import SqlKeyStore
from llmgw.stores.schema_version import SchemaState, create_schema, schema_state
from llmgw.stores.sqlite import DatabaseProblem, check_file, library_warning
from llmgw.telemetry.events import Events, JsonEvents, route_stdlib
from llmgw.telemetry.lines import LineWriter
from llmgw.telemetry.logs import JsonLog
from llmgw.telemetry.metrics import PrometheusMeter, WorkerMeters
from llmgw.tokens.prices import load as load_prices

_T = TypeVar("_T")

_TICK_S = 1.0
_RECOVER_WITHIN_S = 10.0
_SETTLE_WITHIN_S = 15.0


class StartProblem(Exception):
    """The gateway cannot start. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Where it listens, for whoever announces it."""

    data: str
    admin: str


@dataclass(frozen=True, slots=True)
class Place:
    """Which of a host's workers a process is. index: from 0."""

    index: int = 0
    of: int = 1


@dataclass(slots=True)
class Outlets:
    """Where log lines and events go. dropped: lines that nobody took."""

    log: RequestLog
    events: Events
    close: Callable[[], None]
    dropped: Callable[[], int] = lambda: 0


def json_outlets(level: str) -> Outlets:
    """One JSON line a request on stdout, and one an event on stderr."""
    out = LineWriter(1)
    err = LineWriter(2)

    def close() -> None:
        out.close(1.0)
        err.close(1.0)

    return Outlets(JsonLog(out), JsonEvents(err, level=level), close, lambda: out.dropped + err.dropped)


def console_outlets(level: str) -> Outlets:
    """The same for a person at a terminal."""
    from rich.console import Console

    from llmgw.telemetry.console import ConsoleEvents, ConsoleLog

    console = Console(stderr=False)
    return Outlets(ConsoleLog(console), ConsoleEvents(console, level=level), lambda: None)


def run(document: Document, announce: Callable[[Bound], None], outlets: Outlets) -> None:
    """Serve until told to stop. Raises StartProblem, ListenError and DatabaseProblem before it does."""
    prepare_database(document, outlets.events)
    serve = _serve if document.server.workers == 1 else _supervise
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(document, announce, outlets))


def prepare_database(document: Document, events: Events) -> None:
    """Make a fresh schema where there is none; refuse one that is not this program's."""
    url = document.storage.url
    path = document.storage.sqlite_path
    check_file(url)
    state = schema_state(url)
    if state is SchemaState.FRESH:
        create_schema(url)
        events.log_event("info", "database_created", path=str(path))
    elif state is SchemaState.BEHIND:
        raise StartProblem(f"the database {path} has an older schema; run `llmgw db migrate` first")
    elif state is not SchemaState.CURRENT:
        whose = "a newer llmgw's" if state is SchemaState.AHEAD else "another program's"
        raise StartProblem(
            f"the database {path} has {whose} schema; set storage.url to a file that does not exist yet "
            f"and llmgw creates a fresh one there"
        )
    warning = library_warning()
    if warning is not None:
        events.log_event("warning", "sqlite_library", message=warning)


@dataclass(slots=True)
class DataPlane:
    """What serves requests: all of a process but its admin listener and the drainer."""

    gateway: Gateway
    listener: Listener
    resources: Resources
    keyring: Keyring
    key_store: SqlKeyStore
    counting: Counting
    tls: ssl.SSLContext | None

    async def open(self) -> None:
        """Accept from now on."""
        await self.listener.open(asyncio.get_running_loop(), self.tls)

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
    tls = _tls(server.tls.cert, server.tls.key)
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
    return DataPlane(gateway, listener, resources, keyring, key_store, counting, tls)


async def _serve(document: Document, announce: Callable[[Bound], None], outlets: Outlets) -> None:
    """All in this process."""
    loop = asyncio.get_running_loop()
    server = document.server
    data_socket = bind("server.listen", server.listen.host, server.listen.port)
    admin_socket = bind("server.admin_listen", server.admin_listen.host, server.admin_listen.port)
    meter = PrometheusMeter(version=__version__)
    drainer = _drainer(document, meter, outlets.events)
    counting = await _counting(open_alone(document), document)
    plane = await prepare_plane(document, counting, data_socket, meter, outlets)
    gateway = plane.gateway
    control = _control(document, counting.counters, counting.clock, plane.key_store)
    drainer.start()
    state = OpsState(
        ready=lambda: (not gateway.draining, "draining" if gateway.draining else ""),
        generation=lambda: gateway.generation.name,
        render_metrics=meter.render if document.observability.prometheus else None,
        version=__version__,
    )
    admin = admin_listener(admin_socket, build_ops_app(state), loop)
    route_stdlib(outlets.events, level=document.logging.level)
    await plane.open()
    await admin.open(loop)
    await control.open()
    _spare_the_collector()
    departure = Departure()
    with departure.on_signals(loop):
        tasks = [
            asyncio.create_task(plane.keyring.watch()),
            asyncio.create_task(drainer.watch()),
            asyncio.create_task(_ticks([plane.listener, admin], plane)),
        ]
        announce(Bound(_name(data_socket.getsockname()), _name(admin_socket.getsockname())))
        outlets.events.log_event("info", "started", version=__version__, generation=document.generation)
        await departure.asked.wait()
        outlets.events.log_event("info", "stopping", under_way=len(gateway.under_way))
        await plane.drain(document, departure)
        for task in tasks:
            task.cancel()
        await control.close()
        await plane.close()
        await drainer.close()
        await _close_admin(admin)
    outlets.events.log_event("info", "stopped")
    outlets.close()


async def _supervise(document: Document, announce: Callable[[Bound], None], outlets: Outlets) -> None:
    """Everything but serving, which the workers do."""
    loop = asyncio.get_running_loop()
    server = document.server
    # Only to refuse at once what no worker could load.
    _tls(server.tls.cert, server.tls.key)
    data_socket = reserve("server.listen", server.listen.host, server.listen.port)
    admin_socket = bind("server.admin_listen", server.admin_listen.host, server.admin_listen.port)
    bound = Bound(_name(data_socket.getsockname()), _name(admin_socket.getsockname()))
    meter = PrometheusMeter(version=__version__)
    drainer = _drainer(document, meter, outlets.events)
    meter.gauge("llmgw_log_lines_dropped", "Log lines that nobody took.", outlets.dropped)
    counters = await _counting(open_shared(document, server.workers), document)
    key_store = SqlKeyStore(document.storage.url)
    control = _control(document, counters, counters.clock, key_store)

    async def recovered(index: int, pid: int) -> None:
        """What a dead worker wrote is in the database by then, unless that takes too long."""
        if not await drainer.adopted(pid, _RECOVER_WITHIN_S):
            # What it held goes on counting, which refuses too much rather than too little.
            outlets.events.log_event("warning", "journal_not_adopted", index=index, pid=pid)
            return
        await loop.run_in_executor(None, release_dead, document, counters, index)

    supervisor = Supervisor(document, data_socket, outlets.events, WorkerMeters(meter), recovered)
    meter.gauge("llmgw_workers", "Workers that accept requests.", lambda: supervisor.ready)
    meter.gauge(
        "llmgw_worker_restarts", "Workers started in place of dead ones.", lambda: supervisor.restarts
    )
    departure = Departure()

    def ready() -> tuple[bool, str]:
        if departure.asked.is_set():
            return False, "draining"
        return supervisor.ready > 0, "no worker is ready"

    state = OpsState(
        ready=ready,
        generation=lambda: document.generation,
        render_metrics=partial(meter.render, supervisor.processes)
        if document.observability.prometheus
        else None,
        version=__version__,
        refresh=supervisor.refresh,
    )
    admin = admin_listener(admin_socket, build_ops_app(state), loop)
    route_stdlib(outlets.events, level=document.logging.level)
    if server.workers > (cpus := _cpus()):
        outlets.events.log_event("warning", "more_workers_than_cpus", workers=server.workers, cpus=cpus)
    failure: NoWorker | None = None
    with departure.on_signals(loop):
        supervisor.start()
        drainer.start()
        tasks = [asyncio.create_task(drainer.watch()), asyncio.create_task(_ticks([admin]))]
        await admin.open(loop)
        await control.open()
        try:
            if await supervisor.came_up(departure.asked):
                announce(bound)
                outlets.events.log_event(
                    "info",
                    "started",
                    version=__version__,
                    generation=document.generation,
                    workers=server.workers,
                )
                await departure.asked.wait()
        except NoWorker as error:
            failure = error
        outlets.events.log_event("info", "stopping", under_way=supervisor.under_way)
        await supervisor.stop(departure, server.lame_duck + server.drain_timeout + _SETTLE_WITHIN_S)
        for task in tasks:
            task.cancel()
        await control.close()
        await key_store.close()
        await drainer.close()
        counters.close()
        forget_shared(document)
        await _close_admin(admin)
    outlets.events.log_event("info", "stopped")
    outlets.close()
    if failure is not None:
        raise StartProblem(f"no worker came up: {failure}") from failure


async def _work(place: Place, data: socket.socket, sock: socket.socket) -> int:
    """One worker: serve what the supervisor hands over until it says otherwise. The exit code."""
    channel = await Channel[Order].over(sock, Order)
    begin = await channel.receive()
    if type(begin) is not Begin:
        return 0
    if begin.version != __version__:
        channel.send(Failed(f"llmgw {__version__} was installed under a running {begin.version}; restart it"))
        await channel.close()
        return 1
    document: Document = pickle.loads(begin.document)  # noqa: S301 - from our own supervisor
    level = document.logging.level
    outlets = console_outlets(level) if attached_to_terminal() else json_outlets(level)
    meter = PrometheusMeter(version=__version__)
    try:
        counting = attach_shared(document, place.index, place.of)
        plane = await prepare_plane(document, counting, data, meter, outlets)
        route_stdlib(outlets.events, level=level)
        await plane.open()
    except (StartProblem, DatabaseProblem, Unavailable, OSError) as error:
        channel.send(Failed(str(error)))
        await channel.close()
        return 1
    _spare_the_collector()
    departure = Departure()
    tasks = [
        asyncio.create_task(_obey(channel, departure, meter)),
        asyncio.create_task(_report(channel, meter)),
        asyncio.create_task(plane.keyring.watch()),
        asyncio.create_task(_ticks([plane.listener], plane)),
    ]
    channel.send(Ready())
    await departure.asked.wait()
    await plane.drain(document, departure)
    for task in tasks:
        task.cancel()
    await plane.close()
    channel.send(Told(meter.take()))
    outlets.close()
    await channel.close()
    return 0


async def _obey(channel: Channel[Order], departure: Departure, meter: PrometheusMeter) -> None:
    while (order := await channel.receive()) is not None:
        if type(order) is Ask:
            channel.send(Told(meter.take(), asked=True))
        elif type(order) is Leave:
            departure.ask(patient=order.patient)
    # Without a supervisor nobody tells a load balancer to look elsewhere: go, but in good order.
    if not departure.asked.is_set():
        departure.ask(patient=False)


async def _report(channel: Channel[Order], meter: PrometheusMeter) -> None:
    """Tell each second what was counted, so that no more is lost with this process."""
    while True:
        await asyncio.sleep(_TICK_S)
        if not channel.clogged:
            channel.send(Told(meter.take()))


async def _counting(opening: Awaitable[_T], document: Document) -> _T:
    try:
        return await opening
    except (Unavailable, OSError, sqlite3.Error) as error:
        raise StartProblem(f"the counters of limits and quotas cannot be made ready: {error}") from error


def _control(
    document: Document, counters: CounterStore, clock: Clock, key_store: SqlKeyStore
) -> ControlSocket:
    """The door for commands, not yet open."""

    async def issued() -> list[KeyEntry]:
        return (await key_store.load())[1]

    limits = Limits(document, counters, clock, NullAlerter())
    inspection = Inspection(document, counters, clock, limits, ledger_of(document), issued)
    return ControlSocket(document.storage.data_dir, inspection.answers())


def _drainer(document: Document, meter: PrometheusMeter, events: Events) -> DrainProcess:
    """The host's drainer, not yet started, and what `meter` shows of it."""
    journals = document.storage.data_dir / "journal"
    drainer = DrainProcess(
        journals, document.storage.url, document.storage.durability, _drain_trouble(events)
    )
    meter.gauge(
        "llmgw_journal_lag_bytes", "Journal not yet in the database.", lambda: journal_bytes(journals)
    )
    meter.gauge(
        "llmgw_drain_restarts", "Times the drainer had to be started again.", lambda: drainer.restarts
    )
    return drainer


async def _close_admin(admin: Listener) -> None:
    admin.stop()
    admin.close_idle()
    await admin.finish(0.2)


async def _ticks(listeners: list[Listener], plane: DataPlane | None = None) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_TICK_S)
        if plane is not None:
            plane.tick()
        for listener in listeners:
            listener.check_deadlines(loop.time())


def _tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
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


def _spare_the_collector() -> None:
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


def _drain_trouble(events: Events) -> Callable[[int], None]:
    def tell(code: int) -> None:
        events.log_event("error", "drainer_ended", code=code)

    return tell


def _name(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"


def attached_to_terminal() -> bool:
    return sys.stdout.isatty()


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


if __name__ == "__main__":
    index, of, data_fd, channel_fd = map(int, sys.argv[1:])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(
            runner.run(
                _work(Place(index, of), socket.socket(fileno=data_fd), socket.socket(fileno=channel_fd))
            )
        )
