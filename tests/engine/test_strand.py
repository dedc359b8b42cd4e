from __future__ import annotations

import asyncio

import pytest

from llmgw.engine.strand import Pause, Strand


class Ended:
    def __init__(self) -> None:
        self.errors: list[BaseException | None] = []

    def __call__(self, error: BaseException | None) -> None:
        self.errors.append(error)


def test_resumes_inside_the_wake() -> None:
    """A woken coroutine has gone on before `wake` returns: no turn of a loop in between."""
    pause, seen, ended = Pause(), [], Ended()

    async def road() -> None:
        seen.append(await pause)

    Strand(road(), ended).start()
    assert seen == []

    pause.wake("x")

    assert seen == ["x"]
    assert ended.errors == [None]


def test_a_pause_that_ended_before_the_wait_does_not_wait() -> None:
    pause, ended = Pause(), Ended()
    pause.wake(1)

    async def road() -> None:
        assert await pause == 1

    Strand(road(), ended).start()

    assert ended.errors == [None]


def test_failure_is_raised_at_the_wait_and_wakes_only_once() -> None:
    pause, ended = Pause(), Ended()

    async def road() -> None:
        with pytest.raises(ValueError, match="no"):
            await pause

    Strand(road(), ended).start()
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

    strand = Strand(road(), ended)
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
    strand: Strand

    async def road() -> None:
        strand.interrupt(ValueError("later"))
        seen.append("still running")
        await pause

    strand = Strand(road(), ended)
    strand.start()

    assert seen == ["still running"]
    assert isinstance(ended.errors[0], ValueError)


async def test_awaits_what_a_task_awaits() -> None:
    """Futures, sleeps, threads and bare yields all resume it."""
    done = asyncio.get_running_loop().create_future()
    seen: list[object] = []

    async def road() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        seen.append(await asyncio.get_running_loop().run_in_executor(None, lambda: 7))
        seen.append(await asyncio.gather(*(asyncio.sleep(0, n) for n in range(3))))

    Strand(road(), done.set_result).start()

    assert await done is None
    assert seen == [7, [0, 1, 2]]


def test_the_error_of_the_coroutine_is_told() -> None:
    ended = Ended()

    async def road() -> None:
        raise KeyError("x")

    Strand(road(), ended).start()

    assert isinstance(ended.errors[0], KeyError)
