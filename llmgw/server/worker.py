"""One worker: a program that serves what its supervisor hands over until it says otherwise."""

from __future__ import annotations

import asyncio
import faulthandler
import pickle
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

import uvloop

from llmgw import __version__
from llmgw.config.document import Document
from llmgw.config.problems import ConfigError
from llmgw.core.errors import Unavailable
from llmgw.server.channel import (
    STACKS,
    Ask,
    Begin,
    Channel,
    Failed,
    Leave,
    Lend,
    Order,
    Prepare,
    Prepared,
    Ready,
    Switch,
    Switched,
    Told,
)
from llmgw.server.counting import attach_shared
from llmgw.server.drain import Departure
from llmgw.server.outlets import outlets_for
from llmgw.server.plane import (
    TICK_S,
    Compiled,
    DataPlane,
    StartProblem,
    prepare_plane,
    spare_the_collector,
    ticks,
)
from llmgw.stores.host_file import counter_path
from llmgw.stores.host_peers import HostPeers, peers_path
from llmgw.stores.host_targets import HostTargets, targets_path
from llmgw.stores.sqlite import DatabaseProblem
from llmgw.telemetry.events import route_stdlib
from llmgw.telemetry.metrics import PrometheusMeter


@dataclass(frozen=True, slots=True)
class Place:
    """Which of a host's places a process has. index: from 0. of: how many there are."""

    index: int = 0
    of: int = 1


async def _work(place: Place, data: socket.socket, sock: socket.socket, hand: socket.socket) -> int:
    """One worker: serve what the supervisor hands over until it says otherwise. The exit code.

    data: listened on. sock: for the channel. hand: `data` is lent over it.
    """
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
    outlets = outlets_for(level)
    route_stdlib(outlets.events, level=level)
    meter = PrometheusMeter(version=__version__)
    try:
        counting = attach_shared(document, place.index, place.of)
        shared = counter_path(document.storage.data_dir, place.of)
        targets = HostTargets(targets_path(shared))
        peers = HostPeers(peers_path(shared), place.index)
        plane = await prepare_plane(document, counting, targets, peers, data, meter, outlets)
        await plane.open()
    except (StartProblem, DatabaseProblem, Unavailable, OSError) as error:
        channel.send(Failed(str(error)))
        await channel.close()
        return 1
    spare_the_collector()
    departure = Departure()
    tasks = [
        asyncio.create_task(_obey(channel, departure, meter, plane, lambda: _lend(hand, data))),
        asyncio.create_task(_report(channel, meter)),
        asyncio.create_task(plane.keyring.watch()),
        asyncio.create_task(ticks([plane.listener], plane)),
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


async def _obey(
    channel: Channel[Order],
    departure: Departure,
    meter: PrometheusMeter,
    plane: DataPlane,
    lend: Callable[[], None],
) -> None:
    prepared: tuple[int, Compiled] | None = None
    while (order := await channel.receive()) is not None:
        if type(order) is Ask:
            channel.send(Told(meter.take(), asked=True))
        elif type(order) is Prepare:
            try:
                # From our own supervisor.
                prepared = order.number, await plane.prepare(pickle.loads(order.document))  # noqa: S301
                channel.send(Prepared(order.number))
            except Exception as error:
                # Whatever it is, the document in effect goes on.
                problems = tuple(error.problems) if isinstance(error, ConfigError) else ()
                channel.send(Prepared(order.number, str(error) or type(error).__name__, problems))
        elif type(order) is Switch:
            if prepared is not None and prepared[0] == order.number:
                plane.switch(prepared[1])
                channel.send(Switched(order.number))
            else:
                # Others serve it, and so will whoever follows.
                channel.send(Failed("could not serve the document that the others do"))
                departure.ask(patient=False)
            prepared = None
        elif type(order) is Lend:
            lend()
        elif type(order) is Leave:
            departure.ask(patient=order.patient, succeeded=order.succeeded)
    # Without a supervisor nobody tells a load balancer to look elsewhere: go, but in good order.
    if not departure.asked.is_set():
        departure.ask(patient=False)


def _lend(hand: socket.socket, data: socket.socket) -> None:
    socket.send_fds(hand, [b"."], [data.fileno()])


async def _report(channel: Channel[Order], meter: PrometheusMeter) -> None:
    """Tell each second what was counted, so that no more is lost with this process."""
    while True:
        await asyncio.sleep(TICK_S)
        if not channel.clogged:
            channel.send(Told(meter.take()))


if __name__ == "__main__":
    index, of, data_fd, channel_fd, hand_fd = map(int, sys.argv[1:])
    # The supervisor asks for it when the loop is stuck.
    faulthandler.register(STACKS, all_threads=True)
    inherited = [socket.socket(fileno=fd) for fd in (data_fd, channel_fd, hand_fd)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(_work(Place(index, of), *inherited)))
