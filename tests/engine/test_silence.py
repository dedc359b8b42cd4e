from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from llmgw.engine.silence import Bridge, is_only_comments


class Loop:
    """Calls back when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def call_later(self, seconds: float, call: Callable[..., None], *args: Any) -> Loop:
        assert seconds == 15.0
        self.waiting = [lambda: call(*args)]
        return self

    def cancel(self) -> None:
        self.waiting = []

    def pass_by(self) -> None:
        for call in self.waiting:
            call()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b": alive\n\n", True),
        (b":\n: twice\n\n", True),
        (b": alive\n\ndata: {}\n\n", False),
        (b": alive\nevent: ping\n\n", False),
        (b": ping\r\n\r\n", True),
        (b": ping\r\r", True),
        (b": ping\r\ndata: {}\r\n\r\n", False),
    ],
)
def test_what_is_only_comments(data: bytes, expected: bool) -> None:
    assert is_only_comments(data) is expected


def test_it_speaks_while_nothing_comes_and_only_then() -> None:
    passed = [0]
    said: list[int] = []
    loop = Loop()
    bridge = Bridge(
        cast("asyncio.AbstractEventLoop", loop), 15.0, lambda: passed[0], lambda: said.append(passed[0])
    )

    loop.pass_by()
    loop.pass_by()
    assert said == [0, 0]
    passed[0] = 1
    loop.pass_by()
    assert said == [0, 0]
    loop.pass_by()
    assert said == [0, 0, 1]
    bridge.close()
    loop.pass_by()
    assert said == [0, 0, 1]
