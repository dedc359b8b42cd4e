"""A worker as its supervisor has it: a process, and what it said over its channel."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llmgw import __version__
from llmgw.config.problems import Problem
from llmgw.core.program import python
from llmgw.server.channel import (
    STACKS,
    Ask,
    Begin,
    Channel,
    Failed,
    Leave,
    Lend,
    News,
    Prepare,
    Prepared,
    Ready,
    Switch,
    Switched,
    Told,
)

PROGRAM = "llmgw.server.worker"
"""Run with `-m`: place, number of places, and the inherited sockets: to listen on,
the channel, and the one that the first is handed back over."""

_EXIT_WITHIN_S = 10.0
_LEND_WITHIN_S = 5.0
_SILENT_LOOKS = 2
"""Workers tell something each second: one that has not for more looks is silent."""
_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2}


@dataclass(frozen=True, slots=True)
class Serving:
    """A document for workers, pickled. number: of it, counted by the supervisor."""

    number: int
    generation: str
    document: bytes


class Worker:
    """One process, from its start to its end.

    ready: whether it accepts requests. up: set when it does, or has ended.
    leaving: whether it was told to go. failure: why it could not start, if it said so.
    silent: how often it was looked at since it said something.
    generation: of the document it was last told to serve.
    against: what it last found wrong in one that it was to prepare.
    code: after its end, as `subprocess` has it. cpu_s: the same.
    """

    def __init__(self, index: int, of: int, listening: socket.socket) -> None:
        """Start the process, which then waits for its document. Raises OSError.

        listening: of its own, or that of the worker it follows; stays the caller's to close.
        """
        self.index = index
        self.ready = False
        self.up = asyncio.Event()
        self.failure: str | None = None
        self.code: int | None = None
        self.cpu_s = 0.0
        self.under_way = 0
        self.silent = 0
        self.leaving = False
        self.generation = ""
        self.against: tuple[Problem, ...] = ()
        self.started = asyncio.get_running_loop().time()
        self._newest = 0
        self._answers: dict[tuple[type[News], int], asyncio.Future[str | None]] = {}
        self._channel: Channel[News] | None = None
        self._answer: asyncio.Future[None] | None = None
        self._sock, theirs = socket.socketpair()
        self._hand, their_hand = socket.socketpair()
        self._hand.setblocking(False)
        try:
            with theirs, their_hand, _held_signals():
                fds = (listening.fileno(), theirs.fileno(), their_hand.fileno())
                self._process = subprocess.Popen(  # noqa: S603 - our own module
                    [*python(PROGRAM), str(index), str(of), *map(str, fds)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=fds,
                )
        except OSError:
            self._sock.close()
            self._hand.close()
            raise

    @property
    def serves(self) -> bool:
        """Whether requests find it: it accepts them, and shows that it is alive."""
        return self.ready and not self.leaving and not self.is_silent

    @property
    def is_silent(self) -> bool:
        return self.silent > _SILENT_LOOKS

    @property
    def state(self) -> str:
        """One word for people."""
        if self.leaving:
            return "leaving"
        if self.ready:
            return "silent" if self.is_silent else "serving"
        return "starting"

    @property
    def pid(self) -> int:
        return self._process.pid

    async def run(self, begin: Callable[[], Serving], heard: Callable[[Worker, News], None]) -> None:
        """Have it serve until it ends. begin: asked when it can be told."""
        self._channel = await Channel[News].over(self._sock, News)
        if not self.leaving:
            serving = begin()
            self.generation = serving.generation
            self._newest = serving.number
            self._channel.send(Begin(__version__, serving.document))
            while (news := await self._channel.receive()) is not None:
                self.silent = 0
                if type(news) is Ready:
                    self.ready = True
                    self.up.set()
                elif type(news) is Failed:
                    self.failure = news.message
                elif type(news) is Told:
                    self.under_way = news.tally.in_flight
                elif type(news) is Prepared:
                    self.against = news.problems
                    self._settle(Prepared, news.number, news.failure)
                elif type(news) is Switched:
                    self._settle(Switched, news.number, None)
                heard(self, news)
                if type(news) is Told and news.asked:
                    self._answered()
        self.ready = False
        self.up.set()
        self._answered()
        for kind, number in list(self._answers):
            self._settle(kind, number, None)
        self._hand.close()
        await self._channel.close()
        await self._reap()

    def ask(self) -> asyncio.Future[None]:
        """Done when it has told what it counted by now, or has ended."""
        if self._answer is None:
            self._answer = asyncio.get_running_loop().create_future()
            if self._channel is not None:
                self._channel.send(Ask())
        return self._answer

    def prepare(self, serving: Serving) -> asyncio.Future[str | None]:
        """Done when it is ready to serve this, with None; or cannot, with why.

        One that ends meanwhile has nothing against it: who follows begins with the document.
        """
        self.against = ()
        done = self._expect(Prepared, serving.number)
        if self._channel is None:
            # It has not begun, and will with the document that is the supervisor's by then.
            self._settle(Prepared, serving.number, None)
        else:
            self._newest = serving.number
            self._channel.send(Prepare(serving.number, serving.document))
        return done

    def switch(self, serving: Serving) -> asyncio.Future[str | None]:
        """Done when it serves this, or has ended."""
        done = self._expect(Switched, serving.number)
        if self._channel is None:
            self._settle(Switched, serving.number, None)
        else:
            if self._newest < serving.number:
                # It began with the former document after the others had prepared this one.
                self._newest = serving.number
                self._channel.send(Prepare(serving.number, serving.document))
            self.generation = serving.generation
            self._channel.send(Switch(serving.number))
        return done

    async def borrow(self) -> socket.socket:
        """A copy of the socket that it listens on; the caller's to close. Raises OSError.

        Nobody else holds one, so that the kernel gives no connection to a worker that has died.
        """
        if self._channel is not None:
            self._channel.send(Lend())
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        fd = self._hand.fileno()
        if fd < 0:
            raise ConnectionError("it has ended")
        loop.add_reader(fd, readable.set)
        try:
            async with asyncio.timeout(_LEND_WITHIN_S):
                await readable.wait()
            _, fds, _, _ = socket.recv_fds(self._hand, 1, 1)
        finally:
            loop.remove_reader(fd)
        if not fds:
            raise ConnectionError("it has ended")
        return socket.socket(fileno=fds[0])

    def leave(self, *, patient: bool, succeeded: bool = False) -> None:
        """Have it end; told again, hurry. succeeded: another accepts in its place."""
        self.leaving = True
        if self._channel is not None:
            self._channel.send(Leave(patient, succeeded))

    def show_stacks(self) -> None:
        """Have it write to standard error where it is."""
        if self.code is None:
            os.kill(self.pid, STACKS)

    def kill(self) -> None:
        # Not by `Popen`, which would take the exit status from `_reap`.
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)

    def _answered(self) -> None:
        if self._answer is not None:
            self._answer.set_result(None)
            self._answer = None

    def _expect(self, kind: type[News], number: int) -> asyncio.Future[str | None]:
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._answers[kind, number] = done
        return done

    def _settle(self, kind: type[News], number: int, failure: str | None) -> None:
        done = self._answers.pop((kind, number), None)
        if done is not None:
            done.set_result(failure)

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


@contextmanager
def _held_signals() -> Iterator[None]:
    """A process that is started inside never gets the signals that are meant for the supervisor."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
