"""A worker as its supervisor has it: a process, and what it said over its channel."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llmgw.server.channel import Adopt, Adopted, Ask, Begin, Channel, Failed, Leave, News, Ready, Told
from llmgw.server.listeners import share

PROGRAM = "llmgw.server.worker"
"""Run with `-m`: place, number of places, and the inherited sockets of the listener and the channel."""

_EXIT_WITHIN_S = 10.0
_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class Worker:
    """One process, from its start to its end.

    ready: whether it accepts requests. failure: why it could not start, if it said so.
    silent: how often it was looked at since it said something.
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
        self.silent = 0
        self._leaving = False
        self._adopting: dict[int, asyncio.Future[str | None]] = {}
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

    async def run(self, begin: Callable[[], Begin], heard: Callable[[Worker, News], None]) -> None:
        """Have it serve until it ends. begin: asked when it can be told."""
        self._channel = await Channel[News].over(self._sock, News)
        if not self._leaving:
            self._channel.send(begin())
            while (news := await self._channel.receive()) is not None:
                self.silent = 0
                if type(news) is Ready:
                    self.ready = True
                elif type(news) is Failed:
                    self.failure = news.message
                elif type(news) is Told:
                    self.under_way = news.tally.in_flight
                elif type(news) is Adopted:
                    self._adopted(news.number, news.failure)
                heard(self, news)
                if type(news) is Told and news.asked:
                    self._answered()
        self.ready = False
        self._answered()
        for number in list(self._adopting):
            self._adopted(number, None)
        await self._channel.close()
        await self._reap()

    def ask(self) -> asyncio.Future[None]:
        """Done when it has told what it counted by now, or has ended."""
        if self._answer is None:
            self._answer = asyncio.get_running_loop().create_future()
            if self._channel is not None:
                self._channel.send(Ask())
        return self._answer

    def adopt(self, order: Adopt) -> asyncio.Future[str | None]:
        """Done when it serves the document, with None; or goes on with what it had, with why.

        One that ends meanwhile has nothing against it: who follows begins with the document.
        """
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        if self._channel is None:
            # It has not begun, and will with the document that is the supervisor's by then.
            done.set_result(None)
        else:
            self._adopting[order.number] = done
            self._channel.send(order)
        return done

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

    def _adopted(self, number: int, failure: str | None) -> None:
        done = self._adopting.pop(number, None)
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
