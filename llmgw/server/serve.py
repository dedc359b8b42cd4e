"""Runs the gateway: opens what the document names, serves, and ends in good order."""

from __future__ import annotations

import asyncio
import gc
import signal
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from llmgw import __version__
from llmgw.config.document import Document
from llmgw.ports.telemetry import RequestLog
from llmgw.runtime.build import Resources, build_generation, build_road, declared_keys, open_resources
from llmgw.runtime.keyring import Keyring
from llmgw.server.app import build_app
from llmgw.server.drain import drain
from llmgw.server.gateway import Gateway
from llmgw.server.listeners import Listener, admin_listener, bind, data_listener
from llmgw.server.ops import OpsState, build_ops_app
from llmgw.server.protocol import FrontDoor
from llmgw.stores.drain_process import DrainProcess
from llmgw.stores.journal import journal_bytes
from llmgw.stores.keys import SqlKeyStore
from llmgw.stores.schema_version import SchemaState, create_schema, schema_state
from llmgw.stores.sqlite import check_file, library_warning
from llmgw.telemetry.events import Events, JsonEvents, route_stdlib
from llmgw.telemetry.lines import LineWriter
from llmgw.telemetry.logs import JsonLog
from llmgw.telemetry.metrics import PrometheusMeter
from llmgw.tokens.prices import load as load_prices

_TICK_S = 1.0


class StartProblem(Exception):
    """The gateway cannot start. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Where it listens, for whoever announces it."""

    data: str
    admin: str


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
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(document, announce, outlets))


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


async def _serve(document: Document, announce: Callable[[Bound], None], outlets: Outlets) -> None:
    loop = asyncio.get_running_loop()
    server = document.server
    tls = _tls(server.tls.cert, server.tls.key)
    priced = loop.run_in_executor(None, load_prices) if _has_listed_prices(document) else None
    data_socket = bind("server.listen", server.listen.host, server.listen.port)
    admin_socket = bind("server.admin_listen", server.admin_listen.host, server.admin_listen.port)
    try:
        resources = open_resources(document, loop)
    except OSError as error:
        raise StartProblem(f"storage.data_dir {document.storage.data_dir} cannot be used: {error}") from error
    journals = document.storage.data_dir / "journal"
    drainer = DrainProcess(
        journals, document.storage.url, document.storage.durability, _drain_trouble(outlets.events)
    )
    meter = PrometheusMeter(version=__version__)
    meter.name_models(_named_models(document))
    meter.gauge(
        "llmgw_journal_lag_bytes", "Journal not yet in the database.", lambda: journal_bytes(journals)
    )
    meter.gauge(
        "llmgw_journal_failed_writes", "Journal writes that failed.", lambda: resources.journal.failed_writes
    )
    meter.gauge(
        "llmgw_drain_restarts", "Times the drainer had to be started again.", lambda: drainer.restarts
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
    drainer.start()
    state = OpsState(
        ready=lambda: (not gateway.draining, "draining" if gateway.draining else ""),
        generation=lambda: gateway.generation.name,
        render_metrics=meter.render if document.observability.prometheus else None,
        version=__version__,
    )
    data = data_listener(data_socket, build_app(gateway), gateway, loop)
    admin = admin_listener(admin_socket, build_ops_app(state), loop)
    route_stdlib(outlets.events, level=document.logging.level)
    await data.open(loop, tls)
    await admin.open(loop)
    _spare_the_collector()
    stop, hurry, patient = asyncio.Event(), asyncio.Event(), asyncio.Event()
    with _signals(loop, stop, hurry, patient):
        tasks = [
            asyncio.create_task(keyring.watch()),
            asyncio.create_task(drainer.watch()),
            asyncio.create_task(_ticks(gateway, [data, admin], loop)),
        ]
        announce(Bound(_name(data_socket.getsockname()), _name(admin_socket.getsockname())))
        outlets.events.log_event("info", "started", version=__version__, generation=document.generation)
        await stop.wait()
        outlets.events.log_event("info", "stopping", under_way=len(gateway.under_way))
        await drain(
            gateway,
            [data],
            lame_duck_s=server.lame_duck if patient.is_set() else 0.0,
            drain_timeout_s=server.drain_timeout,
            hurry=hurry,
        )
        for task in tasks:
            task.cancel()
        await _close(resources, drainer, key_store, admin)
    outlets.events.log_event("info", "stopped")
    outlets.close()


async def _close(
    resources: Resources, drainer: DrainProcess, key_store: SqlKeyStore, admin: Listener
) -> None:
    await resources.close()
    await drainer.close()
    await key_store.close()
    admin.stop()
    admin.close_idle()
    await admin.finish(0.2)


async def _ticks(gateway: Gateway, listeners: list[Listener], loop: asyncio.AbstractEventLoop) -> None:
    while True:
        await asyncio.sleep(_TICK_S)
        gateway.tick()
        for listener in listeners:
            listener.check_deadlines(loop.time())


@contextmanager
def _signals(
    loop: asyncio.AbstractEventLoop, stop: asyncio.Event, hurry: asyncio.Event, patient: asyncio.Event
) -> Iterator[None]:
    """SIGTERM stops with patience, SIGINT without a lame-duck period; a second of either hurries."""

    def stopping(number: int) -> None:
        if stop.is_set():
            hurry.set()
        elif number == signal.SIGTERM:
            patient.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping, number)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


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
