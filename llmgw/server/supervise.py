"""Worker processes side by side: started, watched, asked what they counted, and ended together.

A worker has a channel to the supervisor. It begins with the document, pickled as the supervisor
resolved it: a worker that is started later serves the same generation whatever has become of the
file, and no secret stands in a command line, in the environment or on disk. It ends when either
process does, so a worker notices at once that its supervisor is gone, and the other way round.

Promise: while the supervisor lives, each place has a worker or will soon have one. What a worker
counted is kept when it dies, but for the last second. SIGINT, SIGTERM and SIGHUP do nothing to it,
since a terminal and systemd send them to the whole group: workers go when the supervisor says so.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from llmgw import __version__
from llmgw.config.document import Document
from llmgw.server.channel import Adopt, Begin, News, Ready, Told
from llmgw.server.drain import Departure
from llmgw.server.worker_process import Worker
from llmgw.telemetry.events import Events
from llmgw.telemetry.metrics import HostProcesses, WorkerMeters

_START_WITHIN_S = 60.0
_SHORT_LIFE_S = 5.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_ANSWER_WITHIN_S = 0.25
_ADOPT_WITHIN_S = 5.0
_LOOK_S = 1.0
_SILENT_LOOKS = 10
"""Workers tell something each second: one that has not for so many looks is stuck."""
_HURRY_WITHIN_S = 15.0


class NoWorker(Exception):
    """No worker came up. The message says why."""


class NotAdopted(Exception):
    """A worker cannot serve a document. The message says why."""


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
        self._adoptions = 0
        self._looking: asyncio.Task[None] | None = None
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
        self._looking = asyncio.create_task(self._look())

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

    async def adopt(self, document: Document) -> None:
        """Have every worker serve `document`, and each that will follow one.

        Raises NotAdopted when one cannot; then all go on with what they had. One that does not
        answer is left to finish: it has the order, or is stuck and will be replaced.
        """
        before = self._begin
        self._begin = Begin(__version__, await asyncio.to_thread(pickle.dumps, document))
        failures = await self._order(self._begin)
        if failures:
            self._begin = before
            await self._order(before)
            raise NotAdopted(failures[0])

    async def _order(self, begin: Begin) -> list[str]:
        """Have every worker serve what `begin` holds; why some that answered do not."""
        self._adoptions += 1
        order = Adopt(self._adoptions, begin.document)
        # Those that start now answer when they have; nobody waits for them.
        answers = {worker.adopt(order): worker.ready for worker in self._workers.values()}
        awaited = [answer for answer, ready in answers.items() if ready]
        if not awaited:
            return []
        done, _ = await asyncio.wait(awaited, timeout=_ADOPT_WITHIN_S)
        return [failure for answer in done if (failure := answer.result()) is not None]

    async def stop(self, departure: Departure, within_s: float) -> None:
        """Have every worker go as `departure` asks, and wait until none is left.

        within_s: then they are killed; sooner when `departure` hurries.
        """
        self._leaving.set()
        if self._looking is not None:
            self._looking.cancel()
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

    async def _look(self) -> None:
        """Kill workers whose loop is stuck, so that others follow.

        Looks are counted, not seconds: when this loop was late, so was what it heard.
        """
        while True:
            await asyncio.sleep(_LOOK_S)
            for worker in list(self._workers.values()):
                worker.silent += worker.ready
                if worker.silent > _SILENT_LOOKS:
                    worker.silent = 0
                    self._events.log_event("error", "worker_stuck", index=worker.index, pid=worker.pid)
                    worker.kill()

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
        await worker.run(lambda: self._begin, self._heard)
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
