"""A wire with faults between a client and a server: in a thread, for tests of every kind."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Self


class Wire:
    """`with Wire(port) as wire:` and connect to `wire.port`. Faults can be set at any time.

    delay_s: before each piece that the server sends.
    silent: nothing gets through any more, and nothing says so.
    cut_answer: is shown what the server sends; where it says so the connection ends instead.
    deafens: is shown what clients send; where it says so that client hears nothing any more.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = int(sock.getsockname()[1])
        self.delay_s = 0.0
        self.silent = False
        self.cut_answer: Callable[[bytes], bool] = lambda data: False
        self.deafens: Callable[[bytes], bool] = lambda data: False

    def __enter__(self) -> Self:
        self._thread.start()
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._ask(self._settle())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self) -> None:
        """Accept connections."""
        self._listener = self._ask(asyncio.start_server(self._accepted, "127.0.0.1", self.port))

    def close(self) -> None:
        """Refuse connections, and end those there are."""
        self._ask(self._close())

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for writer in self._writers:
            writer.transport.abort()

    async def _settle(self) -> None:
        # Whoever was let in a moment ago has a task by then.
        await asyncio.sleep(0.02)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # An aborted transport ends in a later turn.
        await asyncio.sleep(0.02)

    def _ask(self, coroutine):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        both = {writer}
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._server)
            both.add(far_writer)
            self._writers |= both
            deaf = asyncio.Event()
            await asyncio.gather(
                self._carry(reader, far_writer, deaf, from_server=False),
                self._carry(far_reader, writer, deaf, from_server=True),
            )
        except OSError:
            return
        finally:
            for one in both:
                one.transport.abort()
            self._writers -= both

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        deaf: asyncio.Event,
        *,
        from_server: bool,
    ) -> None:
        try:
            while data := await reader.read(65536):
                if from_server and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                while self.silent:
                    await asyncio.sleep(0.02)
                if from_server and self.cut_answer(data):
                    break
                if not from_server and self.deafens(data):
                    deaf.set()
                if from_server and deaf.is_set():
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.transport.abort()
