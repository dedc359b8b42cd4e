from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from mmap import mmap
from pathlib import Path

import pytest

from llmgw.stores import host_lock
from llmgw.stores.host_lock import HostLock

Opens = Callable[[], HostLock]


@pytest.fixture
def opens(tmp_path: Path) -> Iterator[Opens]:
    """Opens the file as another process would: a lock belongs to the opened file."""
    path = tmp_path / "lock"
    path.write_bytes(bytes(64))
    opened = []

    def open_it() -> HostLock:
        fd = os.open(path, os.O_RDWR)
        view = mmap(fd, 64)
        opened.append((fd, view))
        return HostLock(fd, view, 16)

    yield open_it
    for fd, view in opened:
        view.close()
        os.close(fd)


def test_one_holds_it_at_a_time(opens: Opens) -> None:
    one, other = opens(), opens()
    assert one.take()
    one.degraded = other.degraded = True
    assert not other.take()
    one.free()

    assert other.take()
    assert (other.degraded, other.holder) == (False, os.getpid())


def test_a_holder_that_runs_is_waited_for_longer(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_lock, "PATIENCE_NS", 10_000_000)
    monkeypatch.setattr(host_lock, "_RUNNING_NS", 100_000_000)
    one, other = opens(), opens()
    assert one.take()
    begun = time.monotonic()

    assert not other.take()

    assert time.monotonic() - begun >= 0.1
    assert other.degraded


@pytest.mark.parametrize(
    ("states", "waits"), [("T", False), ("t", False), ("R", True), ("S", True), ("D", True)]
)
def test_a_holder_that_is_stopped_is_not(
    opens: Opens, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, states: str, waits: bool
) -> None:
    monkeypatch.setattr(host_lock, "_RUNNING_NS", 150_000_000)
    monkeypatch.setattr(host_lock, "_PROC", tmp_path)
    status = tmp_path / str(os.getpid())
    status.mkdir()
    (status / "stat").write_text(f"12 (a name) R)) {states} 1 2 3")
    one, other = opens(), opens()
    assert one.take()
    begun = time.monotonic()

    assert not other.take()

    assert (time.monotonic() - begun >= 0.15) == waits


def test_a_system_that_does_not_say_who_is_stopped(
    opens: Opens, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(host_lock, "_RUNNING_NS", 50_000_000)
    monkeypatch.setattr(host_lock, "_PROC", tmp_path / "none")
    one, other = opens(), opens()
    assert one.take()

    assert not other.take()


def test_who_waits_goes_first(opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that takes the lock again and again pauses once for one that has asked for it."""
    busy, waiting = opens(), opens()
    busy.take()
    waiting.degraded = True
    assert not waiting.take()
    busy.free()
    pauses = []
    monkeypatch.setattr(host_lock.time, "sleep", pauses.append)

    assert busy.take()
    busy.free()
    assert busy.take()
    busy.free()

    assert len(pauses) == 1
