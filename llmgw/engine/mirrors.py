"""What is known of the copies of requests that go to targets on trial; one for each process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from llmgw.core.errors import Unavailable
from llmgw.core.ids import request_ids
from llmgw.engine.strand import Strand


@dataclass(slots=True)
class Mirrors:
    """sent, failed: copies, and those of them that had no good end. skipped: for want of room,
    or since they refer to what is at their own target."""

    sent: int = 0
    failed: int = 0
    skipped: int = 0
    under_way: set[Strand] = field(default_factory=set)
    next_id: Callable[[], str] = field(default_factory=request_ids)

    def stop(self) -> None:
        """End every copy; each leaves its record."""
        for strand in list(self.under_way):
            strand.interrupt(Unavailable("the gateway is stopping", code="draining"))
