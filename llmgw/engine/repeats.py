"""How many requests may repeat a call at once, so that a sick upstream gets little more for it."""

from __future__ import annotations

from dataclasses import dataclass

_FLOOR = 3


@dataclass(slots=True)
class Repeats:
    """Of one process. active: requests that are being forwarded. repeating: those of them that repeat."""

    active: int = 0
    repeating: int = 0

    def admits(self, share: float) -> bool:
        """Whether one more may repeat, where `share` of the active ones may."""
        return self.repeating < max(_FLOOR, share * self.active)
