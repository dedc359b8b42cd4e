"""What a process let on from standing shares, in a file that outlives it.

One line before each such request goes on, another when it has ended. The file goes once Redis
holds a lease for every request in it, so whoever finds one of a dead process knows what that
process owes. Written only while Redis is away.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

SUFFIX = ".alone"
SHARE_KEYS = "stand|"
"""How the keys of the host's counters begin that say what is left of its shares."""


class AloneTake(NamedTuple):
    """request: its id. tag: of the share. amount: what it may use, or used. until_us: UTC, of the period."""

    request: str
    tag: str
    key: str
    amount: int
    until_us: int


class AloneLog:
    """One process's. name: `index-pid`, as `logs` finds it."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._number = 0
        self._fd: int | None = None
        self._left: list[Path] = []

    def took(self, takes: Iterable[AloneTake]) -> None:
        """Raises OSError when it cannot be written; then nothing must be let on."""
        self._write([("took", *take) for take in takes])

    def ended(self, request: str, key: str, amount: int) -> None:
        """Raises OSError when it cannot be written; then what was taken counts."""
        self._write([("ended", request, key, amount)])

    def turn(self) -> list[Path]:
        """The files until now. What is written from now on is in another."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        return list(self._left)

    def remove(self, files: Sequence[Path]) -> None:
        """Redis holds leases for what is in these."""
        for file in files:
            # One that stays makes its host hold and charge these again at its next start, no less.
            with suppress(OSError):
                file.unlink()
            if file in self._left:
                self._left.remove(file)

    def _write(self, lines: Sequence[tuple[object, ...]]) -> None:
        if self._fd is None:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._number += 1
            path = self._directory / f"{self._name}-{self._number}{SUFFIX}"
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._left.append(path)
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        if os.write(self._fd, text) != len(text):
            self.turn()
            raise OSError("a line could not be written whole")


class NoAloneLog(AloneLog):
    """Keeps nothing: for counters that nobody finds when their process has died."""

    def __init__(self) -> None:
        super().__init__(Path(), "")

    def _write(self, lines: Sequence[tuple[object, ...]]) -> None: ...


def logs(directory: Path, name: str = "*") -> list[tuple[str, Path]]:
    """The files of a process, or of all: its name and the file, in the order they were written."""
    found = [(path.name.rpartition("-")[0], path) for path in directory.glob(f"{name}-*{SUFFIX}")]
    return sorted(found, key=lambda one: (one[0], len(one[1].name), one[1].name))


def read(path: Path) -> list[AloneTake]:
    """What is in a file. A last line that is not whole was not acted on."""
    takes: dict[tuple[str, str], AloneTake] = {}
    for line in path.read_bytes().split(b"\n"):
        with suppress(msgspec.DecodeError):
            what, *fields = msgspec.json.decode(line, type=list[str | int])
            if what == "took":
                take = msgspec.convert(fields, AloneTake)
                takes[take.request, take.key] = take
            else:
                request, key, amount = msgspec.convert(fields, tuple[str, str, int])
                if (request, key) in takes:
                    takes[request, key] = takes[request, key]._replace(amount=amount)
    return list(takes.values())
