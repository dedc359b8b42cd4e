"""Runs the gateway: opens what the document names, serves, and ends in good order.

With one worker this process does it all. With more it is their supervisor, which holds the
address, the admin listener and the drainer and follows the configuration file, and each worker is
`worker.py` run as a program.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import uvloop

from llmgw import __version__
from llmgw.config.document import Document
from llmgw.core.errors import Unavailable
from llmgw.ports.targets import TargetStates
from llmgw.runtime.reload import Adopt, Reloader
from llmgw.runtime.retention import usage_kept_s
from llmgw.runtime.targets import STATE_VALUES, TargetWatch, standings
from llmgw.server.channel import STACKS
from llmgw.server.commands import Commands
from llmgw.server.counting import (
    forget_shared,
    open_alone,
    open_shared,
    release_dead,
    seen_by_commands,
    webhook_of,
)
from llmgw.server.drain import Departure
from llmgw.server.listeners import Listener, admin_listener, bind, reserve
from llmgw.server.ops import OpsState, build_ops_app
from llmgw.server.outlets import Outlets
from llmgw.server.plane import StartProblem, open_tls, prepare_plane, spare_the_collector, ticks
from llmgw.server.recovery import Recovery
from llmgw.server.rolling import alone_answers, team_answers
from llmgw.server.seeding import Seeding
from llmgw.server.signals import heard, ignore
from llmgw.server.sole import alone_on
from llmgw.server.supervise import NotReplaced, NoWorker, Supervisor
from llmgw.stores.drain_process import DrainProcess
from llmgw.stores.host_file import counter_path
from llmgw.stores.host_peers import HostPeers, peers_path
from llmgw.stores.host_targets import HostTargets, targets_path
from llmgw.stores.journal import journal_bytes
from llmgw.stores.keys import SqlKeyStore
from llmgw.stores.peers import MemoryPeers
from llmgw.stores.schema_version import SchemaState, check_database, create_schema, schema_state
from llmgw.stores.sqlite import library_warning
from llmgw.stores.targets import MemoryTargets
from llmgw.stores.urls import is_postgres, shown
from llmgw.telemetry.events import Events, route_stdlib
from llmgw.telemetry.metrics import PrometheusMeter, WorkerMeters

_T = TypeVar("_T")

_SETTLE_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Bound:
    """Where it listens, for whoever announces it."""

    data: str
    admin: str


def run(document: Document, announce: Callable[[Bound], None], outlets: Outlets) -> None:
    """Serve until told to stop. Raises StartProblem, ListenError and DatabaseProblem before it does."""
    with alone_on(document.storage.data_dir):
        _run(document, announce, outlets)


def _run(document: Document, announce: Callable[[Bound], None], outlets: Outlets) -> None:
    prepare_database(document, outlets.events)
    # Until there is something to reload or to replace, whoever asks for it must not end the gateway.
    for number in (signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.register(STACKS, all_threads=True)
    serve = _serve if document.server.workers == 1 else _supervise
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(document, announce, outlets))
    ignore()


def prepare_database(document: Document, events: Events) -> None:
    """Make a fresh schema where there is none; refuse one that is not this program's."""
    url = document.storage.database
    name = shown(url)
    check_database(url)
    state = schema_state(url)
    if state is SchemaState.FRESH:
        create_schema(url)
        events.log_event("info", "database_created", path=name)
    elif state is SchemaState.BEHIND:
        raise StartProblem(f"the database {name} has an older schema; run `llmgw db migrate` first")
    elif state in (SchemaState.AHEAD, SchemaState.FOREIGN):
        whose = "a newer llmgw's" if state is SchemaState.AHEAD else "another program's"
        place = "database that is empty" if is_postgres(url) else "file that does not exist yet"
        raise StartProblem(
            f"the database {name} has {whose} schema; set storage.url to a {place} "
            f"and llmgw creates a fresh one there"
        )
    warning = None if is_postgres(url) else library_warning()
    if warning is not None:
        events.log_event("warning", "sqlite_library", message=warning)


async def _serve(document: Document, announce: Callable[[Bound], None], outlets: Outlets) -> None:
    """All in this process."""
    route_stdlib(outlets.events, level=document.logging.level)
    loop = asyncio.get_running_loop()
    server = document.server
    data_socket = bind("server.listen", server.listen.host, server.listen.port)
    admin_socket = bind("server.admin_listen", server.admin_listen.host, server.admin_listen.port)
    meter = PrometheusMeter(version=__version__)
    drainer = _drainer(document, meter, outlets.events)
    counting = await _counting(open_alone(document, outlets.events), document)
    targets = MemoryTargets()
    plane = await prepare_plane(document, counting, targets, MemoryPeers(), data_socket, meter, outlets)
    gateway = plane.gateway
    looked_at = seen_by_commands(document, counting.counters, counting.clock)
    commands = Commands(document, looked_at, counting.clock, plane.key_store, targets)
    _show_targets(targets, meter)
    seeding = Seeding(counting.clock, counting.counters)

    async def adopt(changed: Document) -> None:
        await seeding.seed(reloader.document, changed)
        await plane.adopt(changed)

    def adopted(document: Document) -> None:
        commands.follow(document)
        drainer.keep(usage_kept_s(document))

    reloader = _reloader(document, outlets.events, meter, adopt, adopted)
    control = commands.socket(document, reloader)
    commands.answers.update(
        alone_answers(
            loop.time(),
            lambda: len(gateway.under_way),
            lambda: gateway.draining,
            lambda: gateway.generation.name,
        )
    )
    state = OpsState(
        ready=lambda: (not gateway.draining, "draining" if gateway.draining else ""),
        generation=lambda: gateway.generation.name,
        render_metrics=meter.render,
        shows_metrics=lambda: reloader.document.observability.prometheus,
        version=__version__,
    )
    admin = admin_listener(admin_socket, build_ops_app(state), loop)
    async with AsyncExitStack() as undone:
        # A thread that is left over would keep the process from ending.
        undone.push_async_callback(plane.close)
        drainer.start()
        undone.push_async_callback(drainer.close)
        await plane.open()
        await admin.open(loop)
        await control.open()
        undone.pop_all()
    spare_the_collector()
    departure = Departure()
    watch = TargetWatch(targets, outlets.events, loop.time, lambda: webhook_of(reloader.document))
    with heard(loop, departure, reloader.ask):
        tasks = [
            asyncio.create_task(reloader.watch()),
            asyncio.create_task(plane.keyring.watch()),
            asyncio.create_task(drainer.watch()),
            asyncio.create_task(ticks([plane.listener, admin], plane)),
            asyncio.create_task(watch.watch()),
        ]
        announce(Bound(_name(data_socket.getsockname()), _name(admin_socket.getsockname())))
        outlets.events.log_event("info", "started", version=__version__, generation=document.generation)
        await departure.asked.wait()
        outlets.events.log_event("info", "stopping", under_way=len(gateway.under_way))
        await plane.drain(document, departure)
        for task in tasks:
            task.cancel()
        seeding.close()
        await control.close()
        await plane.close()
        await drainer.close()
        await _close_admin(admin)
        outlets.events.log_event("info", "stopped")
        outlets.close()


async def _supervise(document: Document, announce: Callable[[Bound], None], outlets: Outlets) -> None:
    """Everything but serving, which the workers do."""
    route_stdlib(outlets.events, level=document.logging.level)
    loop = asyncio.get_running_loop()
    server = document.server
    # Only to refuse at once what no worker could load.
    open_tls(document)
    data_socket = reserve("server.listen", server.listen.host, server.listen.port)
    admin_socket = bind("server.admin_listen", server.admin_listen.host, server.admin_listen.port)
    bound = Bound(_name(data_socket.getsockname()), _name(admin_socket.getsockname()))
    meter = PrometheusMeter(version=__version__)
    drainer = _drainer(document, meter, outlets.events)
    meter.gauge("llmgw_log_lines_dropped", "Log lines that nobody took.", outlets.dropped)
    # One worker more can be there while another follows it.
    places = server.workers + 1
    counters = await _counting(open_shared(document, places, outlets.events), document)
    key_store = SqlKeyStore(document.storage.database)
    targets = _host_tables(document, places)
    _show_targets(targets, meter)
    looked_at = seen_by_commands(document, counters, counters.clock)
    commands = Commands(document, looked_at, counters.clock, key_store, targets)

    recovery = Recovery(counters, drainer.adopted, partial(release_dead, document, counters), outlets.events)
    supervisor = Supervisor(document, data_socket, outlets.events, WorkerMeters(meter), recovery.recovered)

    def adopted(document: Document) -> None:
        outlets.tell_from(document.logging.level)
        commands.follow(document)
        drainer.keep(usage_kept_s(document))

    seeding = Seeding(counters.clock, counters)

    async def adopt(changed: Document) -> None:
        await seeding.seed(reloader.document, changed)
        await supervisor.adopt(changed)

    reloader = _reloader(document, outlets.events, meter, adopt, adopted)
    control = commands.socket(document, reloader)
    commands.answers.update(team_answers(supervisor))
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
        generation=lambda: reloader.document.generation,
        render_metrics=partial(meter.render, supervisor.processes),
        shows_metrics=lambda: reloader.document.observability.prometheus,
        version=__version__,
        refresh=supervisor.refresh,
        workers=lambda: [worker.generation for worker in supervisor.workers if worker.serves],
    )
    admin = admin_listener(admin_socket, build_ops_app(state), loop)
    if server.workers > (cpus := _cpus()):
        outlets.events.log_event("warning", "more_workers_than_cpus", workers=server.workers, cpus=cpus)
    failure: NoWorker | None = None
    watch = TargetWatch(targets, outlets.events, loop.time, lambda: webhook_of(reloader.document))
    with heard(loop, departure, reloader.ask):
        drainer.start()
        await admin.open(loop)
        await control.open()
        supervisor.start()
        loop.add_signal_handler(signal.SIGUSR2, _replace_workers, supervisor, outlets.events)
        tasks = [
            asyncio.create_task(drainer.watch()),
            asyncio.create_task(ticks([admin])),
            asyncio.create_task(watch.watch()),
        ]
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
                tasks.append(asyncio.create_task(reloader.watch()))
                await departure.asked.wait()
        except NoWorker as error:
            failure = error
        outlets.events.log_event("info", "stopping", under_way=supervisor.under_way)
        await supervisor.stop(departure, server.lame_duck + server.drain_timeout + _SETTLE_WITHIN_S)
        for task in tasks:
            task.cancel()
        seeding.close()
        await control.close()
        await key_store.close()
        await drainer.close()
        await recovery.close()
        counters.close()
        forget_shared(document, places)
        await _close_admin(admin)
        outlets.events.log_event("info", "stopped")
        outlets.close()
    if failure is not None:
        raise StartProblem(f"no worker came up: {failure}") from failure


async def _counting(opening: Awaitable[_T], document: Document) -> _T:
    try:
        return await opening
    except (Unavailable, OSError, sqlite3.Error) as error:
        why = getattr(error, "detail", None) or error
        raise StartProblem(f"the counters of limits and quotas cannot be made ready: {why}") from error


def _host_tables(document: Document, places: int) -> HostTargets:
    """Of all workers together, and the file they count their connections in. Raises StartProblem."""
    counters = counter_path(document.storage.data_dir, places)
    try:
        HostPeers.create(peers_path(counters), places)
        return HostTargets.create(targets_path(counters))
    except OSError as error:
        raise StartProblem(f"what workers share cannot be kept beside {counters}: {error}") from error


def _show_targets(targets: TargetStates, meter: PrometheusMeter) -> None:
    def read() -> Iterator[tuple[tuple[str, ...], float]]:
        for one in standings(targets, time.monotonic()):
            if one.model is not None:
                yield (one.tenant or "", one.provider, one.model), STATE_VALUES[one.state]

    meter.labelled_gauge(
        "llmgw_target_state",
        "Breaker of each target: 0 closed, 1 half-open, 2 open.",
        ("tenant", "provider", "model"),
        read,
    )


def _reloader(
    document: Document,
    events: Events,
    meter: PrometheusMeter,
    adopt: Adopt,
    adopted: Callable[[Document], None],
) -> Reloader:
    """Follows the configuration file once it is told to, and what `meter` shows of it."""
    reloader = Reloader(document, os.environ, events, adopt, adopted)
    meter.gauge(
        "llmgw_config_reloads", "Configurations put into effect since the start.", lambda: reloader.accepted
    )
    meter.gauge(
        "llmgw_config_rejections", "Configurations refused since the start.", lambda: reloader.rejected
    )
    return reloader


def _replace_workers(supervisor: Supervisor, events: Events) -> None:
    try:
        supervisor.replace()
    except NotReplaced as error:
        events.log_event("warning", "workers_not_restarted", replaced=0, error=str(error))


def _drainer(document: Document, meter: PrometheusMeter, events: Events) -> DrainProcess:
    """The host's drainer, not yet started, and what `meter` shows of it."""
    journals = document.storage.data_dir / "journal"
    drainer = DrainProcess(
        journals, document.storage.database, document.storage.durability, _drain_trouble(events)
    )
    drainer.keep(usage_kept_s(document))
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


def _drain_trouble(events: Events) -> Callable[[int], None]:
    def tell(code: int) -> None:
        events.log_event("error", "drainer_ended", code=code)

    return tell


def _name(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
