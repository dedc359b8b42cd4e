from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmgw.ports.telemetry import RequestReport
from llmgw.telemetry.lines import LineWriter

USUAL: dict[str, Any] = {
    "request_id": "req_1",
    "tenant": "acme",
    "user": "alice",
    "key": "ci",
    "endpoint": "/v1/chat/completions",
    "operation": "chat",
    "model": "gpt-4o",
    "provider": "openai",
    "upstream_model": "gpt-4o-2024-11-20",
    "status": 200,
    "outcome": "ok",
    "code": None,
    "attempts": 1,
    "streamed": False,
    "total_s": 0.2,
    "first_byte_s": 0.1,
    "overhead_s": 0.00004,
    "input_tokens": 12,
    "output_tokens": 34,
    "cached_tokens": 0,
    "usage_source": "reported",
    "cost_nano_usd": 370_000,
    "generation": "g1",
}


def report(**changes: Any) -> RequestReport:
    """A usual request's report, with `changes`."""
    return RequestReport(**{**USUAL, **changes})


class Written:
    """A `LineWriter` into a file, and what it wrote."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.out = LineWriter(self._fd, interval_s=0.001)

    def read(self) -> bytes:
        """Everything put so far, once it is written."""
        self.out.close(10)
        with open(self._path, "rb") as file:
            return file.read()

    def lines(self) -> list[bytes]:
        return self.read().splitlines()

    def close(self) -> None:
        self.out.close(10)
        os.close(self._fd)


@pytest.fixture
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    file = Written(str(tmp_path_factory.mktemp("log") / "lines"))
    yield file
    file.close()


@pytest.fixture
def pipe() -> Iterator[Callable[[], tuple[int, int]]]:
    """Makes pipes; closes what the test left open."""
    made: list[int] = []

    def make() -> tuple[int, int]:
        ends = os.pipe()
        made.extend(ends)
        return ends

    yield make
    for fd in made:
        try:
            os.close(fd)
        except OSError:
            continue
