"""What a detector of one form is: bounded patterns, so that texts are searched in linear time."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MAX_LENGTH = 224
"""Characters that decide whether something is a match, what follows it included."""
KEPT = 64
"""Characters of what runs on that its end may begin in."""
_ESCAPES = r"(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4})"


def begin(first: str, not_after: str) -> str:
    """A pattern of where one of `first` stands, and none of `not_after` before it: characters of a set.

    The end of an escape counts as none: texts often are JSON themselves, or have some in them.
    """
    return f"(?=[{first}])(?:(?<![{not_after}])|{_ESCAPES})"


@dataclass(frozen=True, slots=True)
class Rule:
    """One form of a kind.

    pattern: at most `MAX_LENGTH` characters. What it looks at before itself is 6 characters at most.
    tail: what at the end of a text may yet become a match, or a longer one.
    end: where a candidate really ends, None when it is not one; absent, every candidate is one.
    runs_on: what belongs to a match as well, however long it is.
    unfinished: what at the end of a text may yet belong to what runs on.
    anchor: what every match has in it, quickly found, at most `reach` characters after its start.
    """

    kind: str
    pattern: re.Pattern[str]
    tail: re.Pattern[str]
    end: Callable[[re.Match[str]], int | None] | None = None
    runs_on: re.Pattern[str] | None = None
    unfinished: re.Pattern[str] | None = None
    anchor: re.Pattern[str] | None = None
    reach: int = 0

    def first(self, text: str, at: int) -> tuple[int, int] | None:
        """The first match from `at` on: its start, and the end of what decides it."""
        search, anchor = self.pattern.search, self.anchor
        while True:
            if anchor is not None:
                anchored = anchor.search(text, at)
                if anchored is None:
                    return None
                at = max(at, anchored.start() - self.reach)
            found = search(text, at)
            if found is None:
                return None
            end = found.end() if self.end is None else self.end(found)
            if end is not None:
                return found.start(), end
            at = found.start() + 1

    def run(self, text: str, at: int) -> int:
        """Where a match that is decided at `at` ends."""
        if self.runs_on is None:
            return at
        found = self.runs_on.match(text, at)
        return at if found is None else found.end()

    def is_over(self, text: str, end: int) -> bool:
        """Whether a match ends at `end` whatever comes after `text`."""
        if end >= len(text):
            return False
        return self.unfinished is None or self.unfinished.match(text, end) is None
