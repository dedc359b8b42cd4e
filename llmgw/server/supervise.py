"""Worker processes side by side: started, watched, asked what they counted, and ended together.

A worker has a channel to the supervisor. It begins with the document, pickled as the supervisor
resolved it: a worker that is started later serves the same generation whatever has become of the
file, and no secret stands in a command line, in the environment or on disk. It ends when either
process does, so a worker notices at once that its supervisor is gone, and the other way round.

Promise: while the supervisor lives, each place has a worker or will soon have one. What a worker
counted is kept when it dies, but for the last second. SIGINT and SIGTERM do nothing to a worker,
since a terminal and systemd send them to the whole group: workers go when the supervisor says so.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Self, TypeVar

import msgspec

from llmgw import __version__
from llmgw.config.document import Document
from llmgw.server.drain import Departure
from llmgw.server.listeners import share
from llmgw.telemetry.events import Events
from llmgw.telemetry.metrics import HostProcesses, Tally, WorkerMeters

PROGRAM = "llmgw.server.serve"
"""Run with `-m`: place, number of places, and the inherited sockets of the listener and the channel."""

_START_WITHIN_S = 60.0
_SHORT_LIFE_S = 5.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_ANSWER_WITHIN_S = 0.25
_EXIT_WITHIN_S = 10.0
_HURRY_WITHIN_S = 15.0
_BACKLOG_BYTES = 1 << 20
_SIGNALS = {signal.SIGINT, signal.SIGTERM}


class NoWorker(Exception):
    """No worker came up. The message says why."""


class Begin(msgspec.Struct, frozen=True, tag=True):
    """To a worker: serve this. version: the supervisor's."""

    version: str
    document: bytes


class Ask(msgspec.Struct, frozen=True, tag=True):
    """To a worker: tell what you counted, now."""


class Leave(msgspec.Struct, frozen=True, tag=True):
    """To a worker: end, in good order the first time."""

    patient: bool


class Ready(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it accepts requests."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it cannot start, and why."""

    message: str


class Told(msgspec.Struct, frozen=True, tag=True):
    """From a worker: what it counted since it last told. asked: as the answer to `Ask`."""

    tally: Tally
    asked: bool = False


Order = Begin | Ask | Leave
News = Ready | Failed | Told
_Kind = TypeVar("_Kind")
_encode = msgspec.msgpack.Encoder().encode


class Channel(Generic[_Kind]):
    """Whole messages over one socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: Any) -> None:
        self._reader = reader
        self._writer = writer
        # Any: a union of messages is no type to mypy.
        self._decode: Callable[[bytes], _Kind] = msgspec.msgpack.Decoder(kind).decode

    @classmethod
    async def over(cls, sock: socket.socket, kind: Any) -> Self:
        """kind: what is received."""
        sock.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        return cls(reader, writer, kind)

    @property
    def clogged(self) -> bool:
        """Whether the other side has not read for long."""
        return self._writer.transport.get_write_buffer_size() > _BACKLOG_BYTES

    def send(self, message: Order | News) -> None:
        """Have it sent; nothing happens when the other side is gone."""
        if not self._writer.is_closing():
            data = _encode(message)
            self._writer.write(len(data).to_bytes(4, "big") + data)

    async def receive(self) -> _Kind | None:
        """The next message, None at the end."""
        try:
            size = int.from_bytes(await self._reader.readexactly(4), "big")
            return self._decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError):
            # What cannot be read any more has ended, whoever's fault it is.
            return None

    async def close(self) -> None:
        """Send what is left, and end."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            # The other side went first, which is as good an end.
            return


class Worker:
    """One process, from its start to its end.

    ready: whether it accepts requests. failure: why it could not start, if it said so.
    code: after its end, as `subprocess` has it. cpu_s: the same.
    """

    def __init__(self, index: int, of: int, reserved: socket.socket) -> None:
        """Start the process, which then waits for its document. Raises OSError."""
        self.index = index
        self.ready = False
        self.failure: str | None = None
        self.code: int | None = None
        self.cpu_s = 0.0
        self.under_way = 0
        self._leaving = False
        self._channel: Channel[News] | None = None
        self._answer: asyncio.Future[None] | None = None
        self._sock, theirs = socket.socketpair()
        try:
            with theirs, share(reserved) as data, _held_signals():
                fds = (data.fileno(), theirs.fileno())
                self._process = subprocess.Popen(  # noqa: S603 - our own module
                    [sys.executable, "-m", PROGRAM, str(index), str(of), *map(str, fds)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=fds,
                )
        except OSError:
            self._sock.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    async def run(self, begin: Begin, heard: Callable[[Worker, News], None]) -> None:
        """Have it serve until it ends."""
        self._channel = await Channel[News].over(self._sock, News)
        if not self._leaving:
            self._channel.send(begin)
            while (news := await self._channel.receive()) is not None:
                if type(news) is Ready:
                    self.ready = True
                elif type(news) is Failed:
                    self.failure = news.message
                elif type(news) is Told:
                    self.under_way = news.tally.in_flight
                heard(self, news)
                if type(news) is Told and news.asked:
                    self._answered()
        self.ready = False
        self._answered()
        await self._channel.close()
        await self._reap()

    def ask(self) -> asyncio.Future[None]:
        """Done when it has told what it counted by now, or has ended."""
        if self._answer is None:
            self._answer = asyncio.get_running_loop().create_future()
            if self._channel is not None:
                self._channel.send(Ask())
        return self._answer

    def leave(self, *, patient: bool) -> None:
        """Have it end; told again, hurry."""
        self._leaving = True
        if self._channel is not None:
            self._channel.send(Leave(patient))

    def kill(self) -> None:
        # Not by `Popen`, which would take the exit status from `_reap`.
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)

    def _answered(self) -> None:
        if self._answer is not None:
            self._answer.set_result(None)
            self._answer = None

    async def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + _EXIT_WITHIN_S
        while True:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)  # noqa: ASYNC222 - does not wait
            if pid:
                break
            if loop.time() > end:
                self.kill()
            await asyncio.sleep(0.01)
        self.code = self._process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_s = used.ru_utime + used.ru_stime


class Supervisor:
    """Keeps a worker in each place.

    data: the reserved address of the data plane.
    recovered: awaited with a dead worker's place and process id, before the worker that follows
        it is given its document. Its failure is told, and does not keep that one waiting.
    restarts: workers started in place of dead ones. processes: for a scrape.
    """

    def __init__(
        self,
        document: Document,
        data: socket.socket,
        events: Events,
        meters: WorkerMeters,
        recovered: Callable[[int, int], Awaitable[None]],
    ) -> None:
        self._begin = Begin(__version__, pickle.dumps(document))
        self._data = data
        self._events = events
        self._meters = meters
        self._recovered = recovered
        self._of = document.server.workers
        self._workers: dict[int, Worker] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._leaving = asyncio.Event()
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._failures: dict[int, str] = {}
        self._recovering: dict[int, asyncio.Task[None]] = {}
        self.restarts = 0
        self.processes = HostProcesses()

    @property
    def ready(self) -> int:
        """How many workers accept requests."""
        return sum(worker.ready for worker in list(self._workers.values()))

    @property
    def under_way(self) -> int:
        """Requests under way, as last told."""
        return sum(worker.under_way for worker in self._workers.values())

    def start(self) -> None:
        """Start a worker in each place."""
        self._keepers = [asyncio.create_task(self._keep(index)) for index in range(self._of)]

    async def came_up(self, asked: asyncio.Event) -> bool:
        """Wait until a worker accepts requests. False when `asked` to go before.

        Raises NoWorker when none will.
        """
        await _either(self._first, asked, _START_WITHIN_S)
        if self._first.done():
            self._first.result()
            return True
        if asked.is_set():
            return False
        raise NoWorker(f"none was ready within {_START_WITHIN_S:g} s")

    async def refresh(self) -> None:
        """Have every worker tell what it counted, those that answer soon."""
        asked = [worker.ask() for worker in self._workers.values() if worker.ready]
        if asked:
            await asyncio.wait(asked, timeout=_ANSWER_WITHIN_S)

    async def stop(self, departure: Departure, within_s: float) -> None:
        """Have every worker go as `departure` asks, and wait until none is left.

        within_s: then they are killed; sooner when `departure` hurries.
        """
        self._leaving.set()
        self._data.close()
        self._tell_to_leave(patient=departure.patient)
        for recovering in self._recovering.values():
            recovering.cancel()
        if not self._first.done():
            self._first.cancel()
        gone = asyncio.gather(*self._keepers)
        await _either(gone, departure.hurry, within_s)
        if not gone.done() and departure.hurry.is_set():
            self._tell_to_leave(patient=False)
            await asyncio.wait([gone], timeout=_HURRY_WITHIN_S)
        if not gone.done():
            for worker in self._workers.values():
                worker.kill()
        await gone

    def _tell_to_leave(self, *, patient: bool) -> None:
        for worker in self._workers.values():
            worker.leave(patient=patient)

    async def _keep(self, index: int) -> None:
        """Have a worker in this place until the end."""
        loop = asyncio.get_running_loop()
        pause_s = 0.0
        while not self._leaving.is_set():
            started = loop.time()
            try:
                worker = Worker(index, self._of, self._data)
            except OSError as error:
                failure = f"worker {index} cannot be started: {error}"
                self._events.log_event("error", "worker_not_started", index=index, error=str(error))
            else:
                failure = await self._see_through(worker)
            if not await self._goes_on(index, failure):
                return
            short = loop.time() - started < _SHORT_LIFE_S
            pause_s = min(max(_FIRST_PAUSE_S, 2 * pause_s), _LONGEST_PAUSE_S) if short else 0.0
            await self._pause(pause_s)
            self.restarts += not self._leaving.is_set()

    async def _see_through(self, worker: Worker) -> str:
        """Run a worker to its end; what is to be said of it."""
        index = worker.index
        self._workers[index] = worker
        self._show_processes()
        if index in self._recovering:
            # The process starts meanwhile, and opens nothing before it has its document.
            await asyncio.wait([self._recovering[index]])
        await worker.run(self._begin, self._heard)
        del self._workers[index]
        self._show_processes()
        self.processes.ended_cpu_s += worker.cpu_s
        self._meters.forget(index)
        if not self._leaving.is_set():
            self._recovering[index] = asyncio.create_task(self._recover(index, worker.pid))
        return self._tell_end(worker)

    def _tell_end(self, worker: Worker) -> str:
        code = worker.code or 0
        how: dict[str, object] = {"signal": -code} if code < 0 else {"code": code}
        if worker.failure is not None:
            how["error"] = worker.failure
        level = "info" if self._leaving.is_set() and code == 0 else "error"
        self._events.log_event(level, "worker_ended", index=worker.index, pid=worker.pid, **how)
        end = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return worker.failure or f"worker {worker.index} {end} before it was ready"

    async def _goes_on(self, index: int, failure: str) -> bool:
        """Whether a worker shall follow: not at the end, and not when none has ever come up."""
        if self._leaving.is_set():
            return False
        if not self._first.done():
            self._failures[index] = failure
            if len(self._failures) == self._of:
                self._first.set_exception(NoWorker(failure))
        await asyncio.wait([self._first])
        return not self._first.cancelled() and self._first.exception() is None

    async def _recover(self, index: int, pid: int) -> None:
        try:
            await self._recovered(index, pid)
        except Exception as error:
            # The place must not stay empty because of what its last worker left.
            self._events.log_event("error", "worker_not_recovered", index=index, pid=pid, error=str(error))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._leaving.wait()
        except TimeoutError:
            return

    def _heard(self, worker: Worker, news: News) -> None:
        if type(news) is Told:
            self._meters.add(worker.index, news.tally)
        elif type(news) is Ready:
            self._events.log_event("info", "worker_ready", index=worker.index, pid=worker.pid)
            if not self._first.done():
                self._first.set_result(None)

    def _show_processes(self) -> None:
        self.processes.pids = tuple(worker.pid for worker in self._workers.values())


async def _either(done: asyncio.Future[Any], told: asyncio.Event, within_s: float) -> None:
    """Wait until one is done or the other is told, but only so long."""
    telling = asyncio.create_task(told.wait())
    # Any: what they return does not matter.
    both: set[asyncio.Future[Any]] = {done, telling}
    await asyncio.wait(both, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    telling.cancel()


@contextmanager
def _held_signals() -> Iterator[None]:
    """A process that is started inside never gets the signals that are meant for the supervisor."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
