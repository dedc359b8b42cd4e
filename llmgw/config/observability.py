"""`logging`, `observability` and `errors`: what is told, and in which shape."""

from __future__ import annotations

from typing import Literal

from llmgw.config.section import Flag, Section


class LoggingSettings(Section):
    """One JSON line per request; never a body, never a secret."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class ObservabilitySettings(Section):
    prometheus: Flag = True
    """Serve `/metrics` on the admin listener."""


class ErrorSettings(Section):
    format: Literal["dialect", "flat"] = "dialect"
    """`dialect`: errors have the shape of the caller's API. `flat`: the gateway's own, everywhere."""
