"""Figures about the gateway alone: what was found, and what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from tests.bench.figures import Bound, plain


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the result. detail: what it was made of."""

    scenario: str
    what: str
    value: float
    unit: str = ""
    bound: Bound | None = None
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """None when nothing is asked of it."""
        return None if self.bound is None else self.bound.met_by(self.value)


def render_findings(findings: Sequence[Finding]) -> Table:
    table = Table()
    for heading in ("scenario", "figure", "found", "asked", "", "detail"):
        table.add_column(heading, justify="right" if heading in ("found", "asked") else "left")
    for one in findings:
        mark = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}[one.met]
        asked = "" if one.bound is None else str(one.bound)
        found = plain(one.value) + (f" {one.unit}" if one.unit else "")
        table.add_row(one.scenario, one.what, found, asked, mark, one.detail)
    return table
