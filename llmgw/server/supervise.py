"""Worker processes side by side: started, watched, asked what they counted, and ended together.

A worker has a channel to the supervisor. It begins with the document, pickled as the supervisor
resolved it: a worker that is started later serves the same generation whatever has become of the
file, and no secret stands in a command line, in the environment or on disk. It ends when either
process does, so a worker notices at once that its supervisor is gone, and the other way round.

Each team member has one of as many places as there are workers, and there is one more: `replace`
starts a worker there on the socket of the one it follows, and has that one leave once it accepts.

Promise: while the supervisor lives, there is a full team or soon will be. What a worker
counted is kept when it dies, but for the last second. SIGINT, SIGTERM and SIGHUP do nothing to it,
since a terminal and systemd send them to the whole group: workers go when the supervisor says so.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from llmgw.config.document import Document
from llmgw.config.problems import ConfigError
from llmgw.server.channel import News, Ready, Told
from llmgw.server.drain import Departure
from llmgw.server.listeners import share
from llmgw.server.worker_process import Serving, Worker
from llmgw.telemetry.events import Events
from llmgw.telemetry.metrics import HostProcesses, WorkerMeters

_START_WITHIN_S = 60.0
_SHORT_LIFE_S = 5.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_ANSWER_WITHIN_S = 0.25
_ADOPT_WITHIN_S = 5.0
_LOOK_S = 1.0
_STUCK_LOOKS = 5
"""One that has been silent for more looks is killed."""
_STARTING_LOOKS = 60
"""The same, while it has not begun to accept."""
_HURRY_WITHIN_S = 15.0


class NoWorker(Exception):
    """No worker came up. The message says why."""


class NotAdopted(Exception):
    """A worker cannot serve a document. The message says why."""


class NotReplaced(Exception):
    """Workers are not replaced. The message says why."""


@dataclass(slots=True, eq=False)
class Rolling:
    """How far the replacing of workers is. failure: why it stopped."""

    workers: int
    replaced: int = 0
    done: bool = False
    failure: str | None = None


@dataclass(slots=True, eq=False)
class _Run:
    """A worker, and the task that sees it through to what is said of its end."""

    worker: Worker
    ended: asyncio.Task[str]


class Supervisor:
    """Keeps a team of workers.

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
        self._serving = Serving(1, document.generation, pickle.dumps(document))
        self._looking: asyncio.Task[None] | None = None
        self._data = data
        self._events = events
        self._meters = meters
        self._recovered = recovered
        self._team = document.server.workers
        self._workers: dict[int, Worker] = {}
        self._runs: set[asyncio.Task[str]] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._places = list(range(self._team))
        self._turns = [asyncio.Event() for _ in range(self._team)]
        self._replaced: asyncio.Future[str | None] | None = None
        self._roller: asyncio.Task[None] | None = None
        self._leaving = asyncio.Event()
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._failures: dict[int, str] = {}
        self._recovering: dict[int, asyncio.Task[None]] = {}
        self.rolling: Rolling | None = None
        self.restarts = 0
        self.processes = HostProcesses()

    @property
    def ready(self) -> int:
        """How many workers accept requests."""
        return sum(worker.serves for worker in list(self._workers.values()))

    @property
    def workers(self) -> list[Worker]:
        """Those that live, by their place."""
        return [worker for _, worker in sorted(self._workers.items())]

    @property
    def under_way(self) -> int:
        """Requests under way, as last told."""
        return sum(worker.under_way for worker in self._workers.values())

    def start(self) -> None:
        """Start a worker in each place."""
        self._keepers = [asyncio.create_task(self._keep(member)) for member in range(self._team)]
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

        All prepare, then all switch. Raises ConfigError or NotAdopted when one cannot; then nothing has
        changed.
        One that does not answer is left to finish: it has the orders, or is stuck and will be
        replaced.
        """
        pickled = await asyncio.to_thread(pickle.dumps, document)
        serving = Serving(self._serving.number + 1, document.generation, pickled)
        failures = await self._answers({worker: worker.prepare(serving) for worker in self.workers})
        if failures:
            # The number is spent: an answer that comes late is to no other document.
            self._serving = replace(self._serving, number=serving.number)
            if problems := [problem for worker in self.workers for problem in worker.against]:
                raise ConfigError(problems)
            raise NotAdopted(failures[0])
        self._serving = serving
        await self._answers({worker: worker.switch(serving) for worker in self.workers})

    async def _answers(self, asked: dict[Worker, asyncio.Future[str | None]]) -> list[str]:
        """What those say against it that serve; nobody waits for those that start now or are silent."""
        awaited = [answer for worker, answer in asked.items() if worker.serves]
        if not awaited:
            return []
        done, _ = await asyncio.wait(awaited, timeout=_ADOPT_WITHIN_S)
        return [failure for answer in done if (failure := answer.result()) is not None]

    def replace(self) -> Rolling:
        """Begin to put a new process in the place of each worker, one after the other.

        Raises NotReplaced when that is under way already, or not all workers are up.
        """
        if self.rolling is not None and not self.rolling.done:
            raise NotReplaced("workers are being replaced already; see `llmgw workers list`")
        if self._leaving.is_set():
            raise NotReplaced("the gateway is stopping")
        if self.ready < self._team:
            raise NotReplaced(f"only {self.ready} of {self._team} workers serve; see `llmgw workers list`")
        self.rolling = Rolling(self._team)
        self._roller = asyncio.create_task(self._roll(self.rolling))
        return self.rolling

    async def _roll(self, rolling: Rolling) -> None:
        self._events.log_event("info", "workers_restarting", workers=self._team)
        for member in range(self._team):
            self._replaced = asyncio.get_running_loop().create_future()
            self._turns[member].set()
            rolling.failure = await self._replaced
            if rolling.failure is not None:
                break
            rolling.replaced += 1
        rolling.done = True
        if rolling.failure is None:
            self._events.log_event("info", "workers_restarted", workers=rolling.replaced)
        else:
            self._events.log_event(
                "error", "workers_not_restarted", replaced=rolling.replaced, error=rolling.failure
            )

    async def stop(self, departure: Departure, within_s: float) -> None:
        """Have every worker go as `departure` asks, and wait until none is left.

        within_s: then they are killed; sooner when `departure` hurries.
        """
        self._leaving.set()
        if self._looking is not None:
            self._looking.cancel()
        if self._roller is not None:
            self._roller.cancel()
        self._data.close()
        self._tell_to_leave(patient=departure.patient)
        for recovering in self._recovering.values():
            recovering.cancel()
        if not self._first.done():
            self._first.cancel()
        gone = asyncio.create_task(self._gone())
        await _either(gone, departure.hurry, within_s)
        if not gone.done() and departure.hurry.is_set():
            self._tell_to_leave(patient=False)
            await asyncio.wait([gone], timeout=_HURRY_WITHIN_S)
        if not gone.done():
            for worker in self._workers.values():
                worker.kill()
        await gone

    async def _gone(self) -> None:
        await asyncio.gather(*self._keepers)
        if self._runs:
            await asyncio.wait(self._runs)

    def _tell_to_leave(self, *, patient: bool) -> None:
        for worker in self._workers.values():
            worker.leave(patient=patient)

    async def _look(self) -> None:
        """Kill workers whose loop is stuck, so that others follow.

        Looks are counted, not seconds: when this loop was late, so was what it heard.
        """
        while True:
            await asyncio.sleep(_LOOK_S)
            for worker in self.workers:
                was_silent = worker.is_silent
                worker.silent += 1
                if worker.ready and worker.is_silent and not was_silent:
                    self._tell_of("warning", "worker_silent", worker)
                    worker.show_stacks()
                elif worker.silent > (_STUCK_LOOKS if worker.ready else _STARTING_LOOKS):
                    worker.silent = 0
                    self._tell_of("error", "worker_stuck", worker)
                    worker.kill()

    def _tell_of(self, level: str, event: str, worker: Worker, **fields: object) -> None:
        self._events.log_event(level, event, index=worker.index, pid=worker.pid, **fields)

    async def _keep(self, member: int) -> None:
        """Have a worker at this place in the team until the end, whichever place it has."""
        loop = asyncio.get_running_loop()
        turn = self._turns[member]
        pause_s = 0.0
        while not self._leaving.is_set():
            started = loop.time()
            try:
                run = self._launch(self._places[member])
            except OSError as error:
                failure = self._not_started(self._places[member], error)
            else:
                while not run.ended.done():
                    await _either(run.ended, turn)
                    if turn.is_set():
                        turn.clear()
                        run = await self._follow(run)
                        self._places[member] = run.worker.index
                        started = loop.time()
                failure = run.ended.result()
            if not await self._goes_on(member, failure):
                return
            short = loop.time() - started < _SHORT_LIFE_S
            pause_s = min(max(_FIRST_PAUSE_S, 2 * pause_s), _LONGEST_PAUSE_S) if short else 0.0
            await self._pause(pause_s)
            self.restarts += not self._leaving.is_set()

    def _launch(self, index: int, data: socket.socket | None = None) -> _Run:
        """Start a worker. data: the socket to listen on, which is closed here; its own when absent.

        Raises OSError.
        """
        with share(self._data) if data is None else data as listening:
            worker = Worker(index, self._team + 1, listening)
        run = _Run(worker, asyncio.create_task(self._see_through(worker)))
        self._runs.add(run.ended)
        run.ended.add_done_callback(self._runs.discard)
        return run

    def _not_started(self, index: int, error: OSError) -> str:
        self._events.log_event("error", "worker_not_started", index=index, error=str(error))
        return f"worker {index} cannot be started: {error}"

    async def _follow(self, run: _Run) -> _Run:
        """Replace a worker that lives. Who serves then: its successor, or itself where that failed."""
        await run.worker.up.wait()
        # A member that waits to be started again keeps its place.
        (spare,) = set(range(self._team + 1)) - set(self._places)
        try:
            successor = self._launch(spare, await run.worker.borrow())
        except OSError as error:
            self._has_replaced(self._not_started(spare, error))
            return run
        await successor.worker.up.wait()
        if not successor.worker.ready:
            # Its place is free again when its end has been told.
            await asyncio.wait([successor.ended])
            self._has_replaced(successor.ended.result())
            return run
        # With patience: connections that are kept open hear that they end before they do.
        run.worker.leave(patient=True, succeeded=True)
        run.ended.add_done_callback(lambda _: self._has_replaced(None))
        return successor

    def _has_replaced(self, failure: str | None) -> None:
        if self._replaced is not None and not self._replaced.done():
            self._replaced.set_result(failure)

    async def _see_through(self, worker: Worker) -> str:
        """Run a worker to its end; what is to be said of it."""
        index = worker.index
        self._workers[index] = worker
        self._show_processes()
        if index in self._recovering:
            # The process starts meanwhile, and opens nothing before it has its document.
            await asyncio.wait([self._recovering[index]])
        await worker.run(lambda: self._serving, self._heard)
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
        expected = code == 0 and (worker.leaving or self._leaving.is_set())
        self._tell_of("info" if expected else "error", "worker_ended", worker, **how)
        end = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return worker.failure or f"worker {worker.index} {end} before it was ready"

    async def _goes_on(self, member: int, failure: str) -> bool:
        """Whether a worker shall follow: not at the end, and not when none has ever come up."""
        if self._leaving.is_set():
            return False
        if not self._first.done():
            self._failures[member] = failure
            if len(self._failures) == self._team:
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
            self._tell_of("info", "worker_ready", worker)
            if not self._first.done():
                self._first.set_result(None)

    def _show_processes(self) -> None:
        self.processes.pids = tuple(worker.pid for worker in self._workers.values())


async def _either(done: asyncio.Future[Any], told: asyncio.Event, within_s: float | None = None) -> None:
    """Wait until one is done or the other is told, but only so long."""
    telling = asyncio.create_task(told.wait())
    # Any: what they return does not matter.
    both: set[asyncio.Future[Any]] = {done, telling}
    await asyncio.wait(both, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    telling.cancel()
