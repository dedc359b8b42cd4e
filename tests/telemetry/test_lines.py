from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

from llmgw.telemetry.lines import LineWriter
from tests.telemetry.conftest import Written

Pipe = Callable[[], tuple[int, int]]


def test_lines_in_order(written: Written) -> None:
    for number in range(2000):
        written.out.put(b"%d\n" % number)

    assert written.lines() == [b"%d" % number for number in range(2000)]
    assert written.out.dropped == 0


def test_written_without_closing(pipe: Pipe) -> None:
    """Soon is soon: nobody has to flush."""
    read, write = pipe()
    out = LineWriter(write, interval_s=0.001)

    out.put(b"hello\n")

    assert os.read(read, 100) == b"hello\n"
    out.close()


def test_put_after_close_starts_again(written: Written) -> None:
    written.out.put(b"one\n")
    written.read()

    written.out.put(b"two\n")

    assert written.lines() == [b"one", b"two"]


def test_close_twice(written: Written) -> None:
    written.out.close()
    written.out.put(b"one\n")
    written.out.close()
    written.out.close()


def test_full_pipe_blocks_nobody(pipe: Pipe) -> None:
    """Nobody reads: `put` and `close` come back, and what does not fit is counted."""
    read, write = pipe()
    out = LineWriter(write, interval_s=0.001, max_lines=100)
    line = b"x" * 9_999 + b"\n"
    began = time.monotonic()

    while out.dropped < 50:
        out.put(line)
        assert time.monotonic() - began < 5

    began = time.monotonic()
    out.close(0.05)
    assert time.monotonic() - began < 1

    drain = threading.Thread(target=_read_all, args=(read,))
    drain.start()
    out.close(5)
    os.close(write)
    drain.join(5)


def test_closed_pipe_is_counted(pipe: Pipe) -> None:
    read, write = pipe()
    os.close(read)
    out = LineWriter(write, interval_s=0.001)

    out.put(b"one\n")
    out.put(b"two\n")
    out.close()

    assert out.dropped == 2


def test_a_line_that_was_cut_spoils_no_other(tmp_path: Path) -> None:
    """The disk is full in the middle of a line, and has room again later."""
    path = tmp_path / "lines"
    pid = os.fork()
    if pid == 0:  # pragma: no cover - another process
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        out = LineWriter(fd, interval_s=0.001)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (25, most))
        out.put(b"a" * 9 + b"\n")
        out.put(b"b" * 9 + b"\n")
        out.put(b"c" * 9 + b"\n")
        out.close(10)
        out.put(b"d" * 9 + b"\n")
        out.close(10)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        out.put(b"e" * 9 + b"\n")
        out.put(b"f" * 9 + b"\n")
        out.close(10)
        os._exit(out.dropped)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    assert path.read_bytes().split(b"\n") == [b"a" * 9, b"b" * 9, b"c" * 5, b"e" * 9, b"f" * 9, b""]


def test_a_full_pipe_that_refuses_to_wait_is_waited_for(pipe: Pipe) -> None:
    """Whoever shares the pipe may have made it non-blocking."""
    read, write = pipe()
    os.set_blocking(write, False)
    out = LineWriter(write, interval_s=0.001)
    lines = [b"%d" % number + b"x" * 3000 for number in range(100)]
    for line in lines:
        out.put(line + b"\n")
    found = bytearray()
    while found.count(b"\n") < len(lines) and not out.dropped:
        found += os.read(read, 1 << 16)

    out.close()

    assert found.split() == lines
    assert out.dropped == 0


def test_several_threads(written: Written) -> None:
    """Every line is whole, and there once."""

    def work(name: int) -> None:
        for number in range(500):
            written.out.put(b"%d-%d\n" % (name, number))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    expected = sorted(b"%d-%d" % (name, number) for name in range(4) for number in range(500))
    assert sorted(written.lines()) == expected


def _read_all(fd: int) -> None:
    while os.read(fd, 1 << 16):
        continue
