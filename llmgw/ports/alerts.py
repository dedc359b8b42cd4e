"""Budget alerts: who hears of a crossed threshold, and what remembers that it was told."""

from __future__ import annotations

from typing import Protocol

from llmgw.core.alert import Alert


class Alerter(Protocol):
    """Tells people that a budget crossed a threshold."""

    def crossed(self, alert: Alert) -> None:
        """Queue it. Returns at once, never raises; called on the event loop, as often as one likes."""


class NullAlerter:
    """Tells nobody."""

    def crossed(self, alert: Alert) -> None:
        """Queue it."""


class AlertStore(Protocol):
    """Which thresholds were told, over all processes that share the database."""

    async def first_telling(self, balance: str, threshold_ppm: int, at_s: int) -> bool:
        """Note that a threshold of a balance is told. True exactly once for each pair.

        at_s: UTC seconds since the epoch; what is older by 400 days may be forgotten.
        Raises Unavailable when the store does not answer.
        """
