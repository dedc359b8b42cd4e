from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from llmgw.core.errors import ClientGone, Unavailable
from llmgw.engine.strand import Pause, Strand, sheltered


class Ended:
    """errors: what each strand ended with."""

    def __init__(self) -> None:
        self.errors: list[BaseException | None] = []


class Told(Strand):
    """Tells an `Ended`."""

    __slots__ = ("_told",)

    def __init__(self, coroutine: Coroutine[Any, Any, None], told: Ended) -> None:
        super().__init__(coroutine)
        self._told = told

    def ended(self, error: BaseException | None) -> None:
        self._told.errors.append(error)


def test_resumes_inside_the_wake() -> None:
    """A woken coroutine has gone on before `wake` returns: no turn of a loop in between."""
    pause, seen, ended = Pause(), [], Ended()

    async def road() -> None:
        seen.append(await pause)

    Told(road(), ended).start()
    assert seen == []

    pause.wake("x")

    assert seen == ["x"]
    assert ended.errors == [None]


def test_a_pause_that_ended_before_the_wait_does_not_wait() -> None:
    pause, ended = Pause(), Ended()
    pause.wake(1)

    async def road() -> None:
        assert await pause == 1

    Told(road(), ended).start()

    assert ended.errors == [None]


def test_failure_is_raised_at_the_wait_and_wakes_only_once() -> None:
    pause, ended = Pause(), Ended()

    async def road() -> None:
        with pytest.raises(ValueError, match="no"):
            await pause

    Told(road(), ended).start()
    pause.fail(ValueError("no"))
    pause.wake()
    pause.fail(ValueError("again"))

    assert ended.errors == [None]


def test_interrupt_is_raised_where_it_waits_and_a_late_wake_is_not_heard() -> None:
    first, second, ended, seen = Pause(), Pause(), Ended(), []

    async def road() -> None:
        try:
            await first
        except ValueError:
            seen.append("interrupted")
        await second
        seen.append("second")

    strand = Told(road(), ended)
    strand.start()
    strand.interrupt(ValueError())
    first.wake()
    assert seen == ["interrupted"]

    second.wake()
    strand.interrupt(ValueError())

    assert seen == ["interrupted", "second"]
    assert ended.errors == [None]


def test_interrupt_while_running_waits_for_the_next_wait() -> None:
    pause, ended, seen = Pause(), Ended(), []
    strand: Told

    async def road() -> None:
        strand.interrupt(ValueError("later"))
        seen.append("still running")
        await pause

    strand = Told(road(), ended)
    strand.start()

    assert seen == ["still running"]
    assert isinstance(ended.errors[0], ValueError)


async def test_awaits_what_a_task_awaits() -> None:
    """Futures, sleeps, threads and bare yields all resume it."""
    ended = Ended()
    seen: list[object] = []

    async def road() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        seen.append(await asyncio.get_running_loop().run_in_executor(None, lambda: 7))
        seen.append(await asyncio.gather(*(asyncio.sleep(0, n) for n in range(3))))

    Told(road(), ended).start()
    while not ended.errors:
        await asyncio.sleep(0.001)

    assert ended.errors == [None]
    assert seen == [7, [0, 1, 2]]


def test_the_error_of_the_coroutine_is_told() -> None:
    ended = Ended()

    async def road() -> None:
        raise KeyError("x")

    Told(road(), ended).start()

    assert isinstance(ended.errors[0], KeyError)


async def test_what_is_sheltered_is_done_whatever_interrupts() -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    found = []

    async def work() -> None:
        found.append(await sheltered(future))

    strand = Strand(work())
    strand.start()
    strand.interrupt(ClientGone("left"))
    strand.interrupt(Unavailable("stopping"))
    assert found == []
    future.set_result("done")
    await asyncio.sleep(0)

    assert found == ["done"]
