"""What the figures were measured on: they mean nothing without it, and little elsewhere."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from tests.bench.nginx import binary


def describe() -> dict[str, str]:
    return {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "nginx": _told([binary("nginx"), "-v"]).removeprefix("nginx version: nginx/"),
        "wrk": _told([binary("wrk"), "-v"]).split()[1],
    }


def is_in_memory(directory: Path) -> bool:
    """Whether the directory is on a tmpfs, where a journal costs less than on a disk."""
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, fs, *_ = line.split()
        if directory.resolve().is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, fs
    return kind in ("tmpfs", "ramfs")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _told(command: list[str]) -> str:
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return (told.stdout + told.stderr).splitlines()[0].strip()
