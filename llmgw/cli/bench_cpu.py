"""What a process and everything it started has spent in CPU time.

Each process's own clock counts nanoseconds over all its threads, ended ones too. Linux lets
anyone read it under the id that `clock_getcpuclockid(3)` makes; `/proc/<pid>/stat`, in ticks of
10 ms, is only needed for children already reaped.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
PARENT, CHILDREN_USER, CHILDREN_SYSTEM = 1, 13, 14


def is_measurable(pid: int) -> bool:
    """Whether this system tells the CPU time of that process."""
    return (PROC / str(pid) / "stat").exists()


def tree(root: int) -> list[int]:
    """The process and its living descendants, the root first."""
    children: dict[int, list[int]] = {}
    for pid, fields in _processes():
        children.setdefault(int(fields[PARENT]), []).append(pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def tree_cpu_ns(root: int) -> int:
    """CPU time of a process, of its living descendants, and of those they have reaped."""
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    total_ns = 0
    for pid in tree(root):
        # A process may end between being listed and being read; its parent then has its time.
        with contextlib.suppress(OSError):
            total_ns += time.clock_gettime_ns((~pid << 3) | 2)
            fields = read_stat(pid)
            total_ns += (int(fields[CHILDREN_USER]) + int(fields[CHILDREN_SYSTEM])) * tick_ns
    return total_ns


def read_stat(pid: int) -> list[str]:
    """The fields of proc(5) `stat` from `state` on. Raises OSError when the process is gone."""
    text = (PROC / str(pid) / "stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def _processes() -> Iterator[tuple[int, list[str]]]:
    for name in os.listdir(PROC):
        if name.isdigit():
            with contextlib.suppress(OSError):
                yield int(name), read_stat(int(name))
