"""What is wrong with a configuration, said so that it can be mended.

A problem reads `file:line path: reason; did you mean "..."?`. All problems of a configuration
are reported at once. No message repeats the value of a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

Step = str | int
"""A member's name, or an index."""

Path = tuple[Step, ...]
"""Where in the document, from its root: `("routes", 2, "model")`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written: a file as it was named, and a line from 1 (0: no line)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. path: `models.gpt-4o.targets[0].provider`, empty for the whole file."""

    file: str
    line: int
    path: str
    reason: str
    suggestion: str | None = None

    def __str__(self) -> str:
        where = f"{Place(self.file, self.line)} {self.path}".rstrip()
        hint = f'; did you mean "{self.suggestion}"?' if self.suggestion else ""
        return f"{where}: {self.reason}{hint}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` says why, in the order of the text."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = tuple(
            sorted(set(problems), key=lambda p: (p.file, p.line, p.path))
        )
        super().__init__("\n".join(str(problem) for problem in self.problems))


def problem_at(place: Place, path: Path, reason: str, suggestion: str | None = None) -> Problem:
    """A problem at a place."""
    return Problem(place.file, place.line, render_path(path), reason, suggestion)


def render_path(path: Path) -> str:
    """`("routes", 2, "model")` as `routes[2].model`; a name with a dot or space is quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
            continue
        plain = step and not any(mark in step for mark in " .[]\"'\n")
        name = step if plain else '"' + step.encode("unicode_escape").decode("ascii") + '"'
        text += f".{name}" if text else name
    return text


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, None if none is near."""
    names = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(name.lower(), list(names), n=1, cutoff=0.6)
    return names[found[0]] if found else None
