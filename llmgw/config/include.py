"""`include:`: one configuration in several files.

An included file has the shape of the whole and may hold any part of it. Named things (`providers`,
`models`, `tenants`, `prices.overrides`) are put together by name; anything else may be said once.
A name said twice is an error that names both places: there is no order in which files win.

Paths in `include` start at the file that holds them. A glob may match nothing, a plain path must exist.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path as FilePath

from llmgw.config.problems import ConfigError, Path, Place, Problem, problem_at
from llmgw.config.source import MAX_SIZE, ListNode, MapNode, Node, parse_yaml

_BY_NAME: frozenset[Path] = frozenset(
    {(), ("providers",), ("models",), ("tenants",), ("prices",), ("prices", "overrides")}
)
_REPEATABLE = ("version", "include")


class Includes:
    """Reads a configuration's files and puts them together; collects the problems.

    files: those that were read. wanted: those, and every other that is named. globs: the patterns.
    """

    def __init__(self, main: FilePath) -> None:
        self.files: list[FilePath] = [main]
        self.wanted: list[FilePath] = [main]
        self.globs: list[str] = []
        self.problems: list[Problem] = []
        self._main = main

    def join(self, root: MapNode) -> None:
        """Add to `root` what it includes, and what that includes."""
        self._join(root, root, self._main, (self._main.resolve(),))

    def _join(self, whole: MapNode, part: MapNode, file: FilePath, above: tuple[FilePath, ...]) -> None:
        for place, path, target in self._wanted(part, file):
            real = target.resolve()
            if real in above:
                self.problems.append(problem_at(place, path, f"{shown(target)} includes itself"))
                continue
            if any(real == known.resolve() for known in self.files):
                self.problems.append(problem_at(place, path, f"{shown(target)} is included twice"))
                continue
            self.wanted.append(target)
            try:
                node = parse_yaml(read(target), shown(target))
            except OSError as error:
                reason = f"{shown(target)} cannot be read: {error.strerror}"
                self.problems.append(problem_at(place, path, reason))
                continue
            except ConfigError as error:
                self.problems.extend(error.problems)
                continue
            self.files.append(target)
            if isinstance(node, MapNode):
                self._join(whole, node, target, (*above, real))
                self._merge(whole, node, ())
            elif node.value is not None or isinstance(node, ListNode):
                self.problems.append(problem_at(node.place, (), "must be a mapping of names to values"))

    def _wanted(self, part: MapNode, file: FilePath) -> Iterator[tuple[Place, Path, FilePath]]:
        """The files a part includes, with the place that says so."""
        entry = part.entries.get("include")
        if entry is None or not isinstance(entry[1], ListNode):
            if entry is not None and file != self._main and entry[1].value is not None:
                self.problems.append(problem_at(entry[0], ("include",), "must be a list"))
            return
        for index, item in enumerate(entry[1].items):
            path: Path = ("include", index)
            if not isinstance(item.value, str) or not item.value:
                if file != self._main:
                    self.problems.append(problem_at(item.place, path, "must be text"))
                continue
            try:
                pattern = _pattern(file.parent, item.value)
            except ValueError as error:
                self.problems.append(problem_at(item.place, path, str(error)))
                continue
            if glob.has_magic(item.value):
                self.globs.append(pattern)
                yield from (
                    (item.place, path, FilePath(found))
                    for found in sorted(glob.glob(pattern, recursive=True))
                )
            else:
                yield item.place, path, FilePath(pattern)

    def _merge(self, whole: MapNode, part: MapNode, path: Path) -> None:
        for name, (place, node) in part.entries.items():
            known = whole.entries.get(name)
            here = (*path, name)
            if known is None or _is_empty(known[1]):
                if not path and name == "include":
                    continue
                whole.entries[name] = (place, node)
            elif _is_empty(node):
                continue
            elif here in _BY_NAME and isinstance(known[1], MapNode) and isinstance(node, MapNode):
                merged = known[1].copy()
                self._merge(merged, node, here)
                whole.entries[name] = (known[0], merged)
            elif path or name not in _REPEATABLE:
                self.problems.append(problem_at(place, here, f"defined twice; first at {known[0]}"))
            elif name == "version" and node.value != known[1].value:
                self.problems.append(problem_at(place, here, f"differs from {known[0]}"))


def read(path: FilePath) -> bytes:
    """The file's bytes; at most one more than the reader takes, so that it can tell. Raises OSError.

    A pipe is read while somebody writes to it, and refused else: to open it would wait for a writer.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        data = file.read(MAX_SIZE + 1)
        if not data and stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "a pipe that nobody writes to", str(path))
        return data


def _open_at_once(path: str, flags: int) -> int:
    opened = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(opened, True)
    return opened


def shown(path: FilePath) -> str:
    """The path as messages show it: from the working directory when it is below."""
    try:
        return str(path.absolute().relative_to(FilePath.cwd()))
    except (ValueError, OSError):
        # Elsewhere, or the working directory is gone.
        return str(path)


def _pattern(directory: FilePath, text: str) -> str:
    """Where an entry looks. Raises ValueError for what is no path."""
    if "\0" in text:
        raise ValueError("is not a path: it holds a NUL character")
    try:
        return str(directory / FilePath(text).expanduser())
    except RuntimeError:
        raise ValueError(f"{text.partition('/')[0]} stands for no user's directory") from None


def _is_empty(node: Node) -> bool:
    return type(node) is Node and node.value is None
