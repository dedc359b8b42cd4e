"""Texts with what was found in them replaced, whole or as they come.

A text that comes in pieces is held back from where a match may yet begin, so never more than
`HOLD` characters: usually the last word. Promise: the pieces that are given join to what the
whole text gives, however it was cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib import import_module

from llmgw.redaction.kinds import KINDS
from llmgw.redaction.rule import KEPT, Rule

HOLD = 256
"""The most characters of a text that are held back."""
_BEFORE = 8
"""Characters before that a rule may look at."""
PLACEHOLDERS = {kind: f"[{kind.upper().removesuffix('S')}]" for kind in KINDS}
_NONE = (-1, -1)


@cache
def rules_of(kinds: tuple[str, ...]) -> tuple[Rule, ...]:
    """The rules of kinds, those first that count when several matches begin together.

    The detectors are imported when a kind is first asked for.
    """
    if not kinds:
        return ()
    rules: Mapping[str, tuple[Rule, ...]] = import_module("llmgw.redaction.detectors").RULES
    return tuple(rule for kind in reversed(KINDS) if kind in kinds for rule in rules[kind])


def redacted(text: str, rules: tuple[Rule, ...], counts: Counter[str]) -> str:
    """The text with a placeholder for each match, which `counts` counts by kind."""
    stream = TextStream(rules, counts)
    return stream.feed(text, last=True)


class TextStream:
    """One text that comes in pieces.

    counts: matches by kind. held: characters that are held back.
    """

    __slots__ = ("_before", "_held", "_runs", "counts", "rules")

    def __init__(self, rules: tuple[Rule, ...], counts: Counter[str]) -> None:
        self.rules = rules
        self.counts = counts
        self._before = ""
        self._held = ""
        self._runs: Rule | None = None

    @property
    def held(self) -> int:
        return len(self._held)

    def feed(self, piece: str, *, last: bool = False) -> str:
        """What may go on by now; with `last`, all of it."""
        text = self._before + self._held + piece
        at = len(self._before)
        if self._runs is not None:
            at = self._run(self._runs, text, at, last=last)
            if self._runs is not None:
                self._keep(text, at)
                return ""
        limit = len(text) if last else max(min(self._open(text, at), len(text)), len(text) - HOLD, at)
        out: list[str] = []
        ahead: dict[int, tuple[int, int] | None] = {}
        while (found := self._next(text, at, ahead)) is not None:
            start, decided, rule = found
            if start >= limit:
                break
            end = rule.run(text, decided)
            if not last and not rule.is_over(text, end) and rule.runs_on is not None:
                if start > len(text) - HOLD:
                    limit = min(limit, start)
                    break
                self._runs = rule
            out += (text[at:start], PLACEHOLDERS[rule.kind])
            self.counts[rule.kind] += 1
            at = end
            if self._runs is not None:
                at = self._run(rule, text, decided, last=False)
                self._keep(text, at)
                return "".join(out)
        if at < limit:
            out.append(text[at:limit])
            at = limit
        self._keep(text, at)
        return "".join(out)

    def _keep(self, text: str, at: int) -> None:
        self._held = text[at:]
        self._before = text[max(0, at - _BEFORE) : at]

    def _run(self, rule: Rule, text: str, at: int, *, last: bool) -> int:
        """Where what runs on ends, or from where on it still has to be looked at."""
        end = rule.run(text, at)
        if last or rule.is_over(text, end):
            self._runs = None
            return end
        if rule.unfinished is None:
            return end
        return max(at, min(end, len(text) - KEPT))

    def _open(self, text: str, at: int) -> int:
        """From where on a match may begin that `text` does not decide."""
        begin = max(at, len(text) - HOLD)
        first = len(text)
        for rule in self.rules:
            found = rule.tail.search(text, begin)
            if found is not None and found.start() < first:
                first = found.start()
        return first

    def _next(
        self, text: str, at: int, ahead: dict[int, tuple[int, int] | None]
    ) -> tuple[int, int, Rule] | None:
        """The first match from `at` on. ahead: what each rule finds next."""
        best: tuple[int, int, Rule] | None = None
        for index, rule in enumerate(self.rules):
            found = ahead.get(index, _NONE)
            if found is not None and found[0] < at:
                found = ahead[index] = rule.first(text, at)
            if found is not None and (best is None or found[0] < best[0]):
                best = (*found, rule)
        return best
