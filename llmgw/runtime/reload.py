"""Follows the configuration file: a new document is adopted whole, or told why not.

What the file and its includes look like is asked every 200 ms (inode, size, time of change, and
what the globs find), and their contents each second anyway. Contents count only when they read
the same before and after they were parsed, so that no mixture of two versions is ever taken.

Promise: whatever has become of the files, the document in effect stays until another is adopted.
"""

from __future__ import annotations

import asyncio
import glob
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from llmgw.config.document import Document
from llmgw.config.environment import overrides
from llmgw.config.include import Includes, read, shown
from llmgw.config.load import load_document
from llmgw.config.problems import ConfigError, Path, Place, Problem, problem_at, render_path
from llmgw.config.resolve import resolve_secrets
from llmgw.config.source import MapNode, Node, parse_yaml
from llmgw.runtime.lastgood import LastGood
from llmgw.secrets.env import EnvSource
from llmgw.secrets.file import FileSource
from llmgw.telemetry.events import Events

LOOK_S = 0.2
_LOOKS_PER_HASH = 5
_READS = 5
_STATIC = ("server", "storage")

Adopt = Callable[[Document], Awaitable[None]]
"""Makes a document the one in effect. Raises when it cannot, and then nothing has changed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a reload. problems: why the old document goes on; empty when it was taken."""

    generation: str
    changed: bool
    problems: tuple[Problem, ...] = ()


class Sources:
    """The files that a configuration is made of, including those that are missing or broken."""

    def __init__(self, main: FilePath) -> None:
        self.main = main
        self._files: list[FilePath] = [main]
        self._globs: list[str] = []

    def find(self) -> None:
        """Follow what is included now. Blocking."""
        includes = Includes(self.main)
        try:
            root = parse_yaml(read(self.main), shown(self.main))
            if isinstance(root, MapNode):
                includes.join(root)
        except (OSError, ConfigError):
            # A broken file does not say what it includes; what it included is still looked at.
            return
        self._files = includes.wanted
        self._globs = includes.globs

    def look(self) -> object:
        """Changes when a file was written, replaced, removed or added. Blocking, without reading."""
        found = [_matches(pattern) for pattern in self._globs]
        return [_identity(file) for file in self._files], found

    def contents(self) -> dict[str, bytes | None]:
        """By path; None for what cannot be read. Blocking."""
        found = [FilePath(name) for pattern in self._globs for name in _matches(pattern)]
        return {str(file): _contents(file) for file in [*self._files, *found]}


class Reloader:
    """document: the one in effect, with its secrets.

    environ: overrides and secrets come from it. adopted: told each document that was taken.
    rejected: how many were not, accepted: how many were; for metrics.
    """

    def __init__(
        self,
        document: Document,
        environ: Mapping[str, str],
        events: Events,
        adopt: Adopt,
        adopted: Callable[[Document], None],
    ) -> None:
        self.document = document
        self.accepted = 0
        self.rejected = 0
        self._environ = environ
        self._events = events
        self._adopt = adopt
        self._adopted = adopted
        self._sources = Sources(document.path)
        self._last_good = LastGood(document.storage.data_dir)
        self._lock = asyncio.Lock()
        self._asked = asyncio.Event()
        self._seen = b""
        self._told = b""

    @property
    def overridden(self) -> list[str]:
        """The paths that the environment says otherwise than the file, whatever that says."""
        return list(_leaves(overrides(self._environ), ()))

    def ask(self) -> None:
        """Read the file soon, changed or not."""
        self._asked.set()

    async def watch(self) -> None:
        """Follow the file for ever."""
        before: object = None
        dirty = True
        looks = 0
        while True:
            forced = await self._pause()
            try:
                now = await asyncio.to_thread(self._sources.look)
                # What is being written is given the time of one look to become whole.
                settled = now == before
                dirty = dirty or not settled
                before = now
                looks += 1
                due = dirty or looks >= _LOOKS_PER_HASH
                if forced or (due and settled) or looks >= 2 * _LOOKS_PER_HASH:
                    dirty, looks = False, 0
                    await self.reload(forced=forced)
            except Exception as error:
                # Following the file must never end while requests are served.
                self._events.log_event("error", "config_not_followed", error=str(error))

    async def reload(self, *, forced: bool = False) -> Outcome:
        """Take what the file says now. Nothing is done when it says the same as when last read.

        forced: read it in any case; a secret may have changed, and problems are to be known.
        """
        async with self._lock:
            seen = await asyncio.to_thread(self._digest)
            if seen == self._seen and not forced:
                return Outcome(self.document.generation, changed=False)
            try:
                found, sources = await asyncio.to_thread(self._read)
                seen = _digest_of(sources)
                if isinstance(found, ConfigError):
                    raise found
                document = found
                changed = document.generation != self.document.generation or (
                    forced and document.model_dump() != self.document.model_dump()
                )
                if changed:
                    _insist_on_static(self.document, document)
                    await self._take(document)
            except ConfigError as error:
                self._seen = seen
                self._reject(error, seen)
                return Outcome(self.document.generation, changed=False, problems=tuple(error.problems))
            self._seen = seen
            self._told = b""
            if changed or self._last_good.unwritten:
                await asyncio.to_thread(self._keep, document)
            return Outcome(document.generation, changed)

    async def _take(self, document: Document) -> None:
        before = self.document.generation
        try:
            await self._adopt(document)
        except ConfigError:
            # It says where.
            raise
        except Exception as error:
            # Whatever an adapter has against its settings, the old document goes on.
            place = Place(shown(document.path))
            raise ConfigError([problem_at(place, (), f"cannot be put into effect: {error}")]) from error
        self.document = document
        self.accepted += 1
        self._adopted(document)
        self._events.log_event("info", "config_reloaded", generation=document.generation, before=before)
        for warning in document.warnings:
            self._events.log_event("warning", "config_warning", message=str(warning))

    def _reject(self, error: ConfigError, seen: bytes) -> None:
        if seen == self._told:
            return
        self._told = seen
        self.rejected += 1
        self._events.log_event(
            "error",
            "config_rejected",
            generation=self.document.generation,
            problems=len(error.problems),
            error=str(error),
        )

    def _keep(self, document: Document) -> None:
        try:
            self._last_good.write(document)
        except OSError as error:
            self._events.log_event("warning", "config_not_kept", error=str(error))

    async def _pause(self) -> bool:
        """Until the next look; True when asked meanwhile."""
        try:
            async with asyncio.timeout(LOOK_S):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True

    def _digest(self) -> bytes:
        return _digest_of(self._sources.contents())

    def _read(self) -> tuple[Document | ConfigError, dict[str, bytes | None]]:
        """The document or its problems, and what they were read from."""
        main = self._sources.main
        found: Document | ConfigError
        for _ in range(_READS):
            self._sources.find()
            sources = self._sources.contents()
            try:
                found = read_document(main, self._environ)
            except OSError as error:
                reason = f"cannot be read: {error.strerror or error}"
                found = ConfigError([problem_at(Place(shown(main)), (), reason)])
            except ConfigError as error:
                found = error
            except Exception as error:
                # A text that no reader has thought of is refused like any other, and told once.
                reason = f"cannot be read: {type(error).__name__}: {error}"
                found = ConfigError([problem_at(Place(shown(main)), (), reason)])
            known = isinstance(found, ConfigError) or all(str(file) in sources for file in found.files)
            if known and self._sources.contents() == sources:
                return found, sources
        return ConfigError([problem_at(Place(shown(main)), (), "is being written all the time")]), sources


def read_document(path: FilePath, environ: Mapping[str, str]) -> Document:
    """The document in a file, with its secrets.

    Raises ConfigError with every problem, OSError when the file itself cannot be read.
    """
    document = load_document(path, environ)
    return resolve_secrets(document, [EnvSource(environ), FileSource(document.path.parent)])


def _insist_on_static(before: Document, after: Document) -> None:
    """Raises ConfigError naming every member of the static half that differs."""
    problems: list[Problem] = []
    for name in _STATIC:
        paths = _differing(getattr(before, name).model_dump(), getattr(after, name).model_dump(), (name,))
        problems += (
            problem_at(after.place(path), path, "needs a restart to change; nothing was reloaded")
            for path in paths
        )
    if problems:
        raise ConfigError(problems)


def _differing(before: Any, after: Any, path: Path) -> Iterator[Path]:  # Any: a dump holds many types
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in after:
            yield from _differing(before.get(name), after[name], (*path, name))
    else:
        yield path


def _leaves(node: Node, path: Path) -> Iterator[str]:
    if not isinstance(node, MapNode):
        yield render_path(path)
        return
    for name, (_, child) in node.entries.items():
        yield from _leaves(child, (*path, name))


def _matches(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))


def _identity(file: FilePath) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _contents(file: FilePath) -> bytes | None:
    try:
        return read(file)
    except OSError:
        return None


def _digest_of(sources: dict[str, bytes | None]) -> bytes:
    digest = hashlib.sha256()
    for path, data in sources.items():
        for part in (path.encode("utf-8", "surrogateescape"), b"?" if data is None else b"=" + data):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()
