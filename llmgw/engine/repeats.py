"""How many requests may repeat a call at once, so that a sick upstream gets little more for it."""

from __future__ import annotations

from dataclasses import dataclass

FLOOR = 3
"""Of one host: so many may repeat however little is under way."""


@dataclass(slots=True)
class Repeats:
    """Of one process. active: requests that are being forwarded. repeating: those of them that repeat.

    floor: this process's part of `FLOOR`.
    """

    active: int = 0
    repeating: int = 0
    floor: int = FLOOR

    def admits(self, share: float) -> bool:
        """Whether one more may repeat, where `share` of the active ones may."""
        return self.repeating < max(self.floor, share * self.active)
