"""A figure: what was measured for both, how they compare, and what was asked for.

The value is the median over rounds of each round's own comparison, because the two halves of a
round share whatever else the machine was doing; the spread is the lowest and highest round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from rich.table import Table


class Compare(Enum):
    """How the subject's numbers are set against nginx's."""

    RATIO = "nginx / subject"
    DIFFERENCE = "subject - nginx"
    ALONE = "subject"


COMPARE: dict[Compare, Callable[[float, float], float]] = {
    Compare.RATIO: lambda reference, subject: reference / subject,
    Compare.DIFFERENCE: lambda reference, subject: subject - reference,
    Compare.ALONE: lambda _reference, subject: subject,
}


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure is asked to reach, and on which side."""

    at_least: float | None = None
    at_most: float | None = None

    def met_by(self, value: float) -> bool:
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result. reference and subject: the median of each; rounds: every comparison."""

    scenario: str
    what: str
    unit: str
    compare: Compare
    reference: float | None
    subject: float
    rounds: tuple[float, ...]
    bound: Bound | None = None

    @property
    def value(self) -> float:
        return statistics.median(self.rounds)

    @property
    def met(self) -> bool | None:
        """None when nothing is asked of it."""
        return None if self.bound is None else self.bound.met_by(self.value)


def compared(
    scenario: str,
    what: str,
    unit: str,
    compare: Compare,
    reference: Sequence[float],
    subject: Sequence[float],
    bound: Bound | None = None,
) -> Figure:
    """The figure of several rounds; `reference` is empty when nginx has no such number."""
    pairs = zip(reference or subject, subject, strict=True)
    return Figure(
        scenario,
        what,
        unit,
        compare,
        statistics.median(reference) if reference else None,
        statistics.median(subject),
        tuple(COMPARE[compare](*pair) for pair in pairs),
        bound,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))])


def plain(value: float) -> str:
    """Three figures, and never an exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def render_table(figures: Sequence[Figure], subject: str) -> Table:
    table = Table(title=f"{subject} against nginx proxy_pass")
    for heading in ("scenario", "figure", "nginx", subject, "compared", "spread", "asked", ""):
        table.add_column(heading, justify="left" if heading in ("scenario", "figure", "") else "right")
    for figure in figures:
        unit = f" {figure.unit}" if figure.unit else ""
        mark = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[figure.met]
        value = plain(figure.value) + {Compare.RATIO: "x"}.get(figure.compare, unit)
        alone = figure.compare is Compare.ALONE
        table.add_row(
            figure.scenario,
            figure.what,
            "" if figure.reference is None else plain(figure.reference) + unit,
            plain(figure.subject) + unit,
            "" if alone else value,
            f"{plain(min(figure.rounds))} .. {plain(max(figure.rounds))}" if len(figure.rounds) > 1 else "",
            "" if figure.bound is None else str(figure.bound),
            mark,
        )
    return table


def render_object(figure: Figure) -> dict[str, object]:
    """The figure as JSON."""
    return {
        "scenario": figure.scenario,
        "what": figure.what,
        "unit": figure.unit,
        "compare": figure.compare.value,
        "nginx": figure.reference,
        "subject": figure.subject,
        "value": figure.value,
        "rounds": list(figure.rounds),
        "asked": None if figure.bound is None else str(figure.bound),
        "met": figure.met,
    }
