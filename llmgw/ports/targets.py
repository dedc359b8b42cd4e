"""What is known of upstream targets and accounts, shared by the processes of a host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class TargetState(Protocol):
    """Of one target or account. Times are seconds of the host's monotonic clock.

    open_until: until when the breaker lets nobody through, 0 while it is closed.
    closed_at: when the breaker closed last, -inf when it never was open.
    cooled_until: until when it asked to be spared, or its credential is left alone.
    """

    open_until: float
    closed_at: float
    cooled_until: float

    @property
    def probing(self) -> bool:
        """Whether some process's probe is under way."""

    def claim_probe(self) -> bool:
        """Be the one that probes. False when another one is; who dies over it does not count."""

    def drop_probe(self) -> None:
        """The probe is over."""


class TargetStates(Protocol):
    """By name: whose provider it is, which, and which of its models, as in `acme|openai|gpt-4o`."""

    def of(self, name: str) -> TargetState:
        """The state under a name, the same at every call."""

    def all(self) -> Sequence[tuple[str, TargetState]]:
        """Every name that was asked for since the gateway started."""
