"""`retention`: how long what is kept about requests stays."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from llmgw.config.quantities import OptionalDuration
from llmgw.config.section import Mistake, Section

_DAY_S = 86_400


def _a_day_at_least(seconds: float | None) -> float | None:
    if seconds is not None and seconds < _DAY_S:
        raise Mistake("must be 1d or more: usage is kept by the day")
    return seconds


class RetentionSettings(Section):
    """Whatever is older is removed, by the UTC day, and is in no report any more."""

    usage: Annotated[OptionalDuration, AfterValidator(_a_day_at_least)] = None
    """Usage records; `off` keeps them. Those that a quota's window goes on in are kept in any case."""
