"""What the road needs beside the request and its plan; one for each process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from llmgw.core.clock import Clock
from llmgw.dialects.taps import StreamedTap
from llmgw.engine.mirrors import Mirrors
from llmgw.engine.repeats import Repeats
from llmgw.ports.stores import Journal
from llmgw.ports.telemetry import Meter, RequestLog
from llmgw.tokens.prices import PriceTable


@dataclass(slots=True, eq=False)
class Road:
    """loop: its clock is the road's, in monotonic seconds.

    prices: what tokens cost, for a tenant.
    clock: the time of day that requests are admitted at.
    streams: what is being streamed now, and for which request, for the journal's progress entries.
        A hedged request may have two of them.
    repeats: how many requests are repeating a call.
    mirrors: copies of requests that go to targets on trial.
    """

    loop: asyncio.AbstractEventLoop
    journal: Journal
    meter: Meter
    log: RequestLog
    prices: Callable[[str], PriceTable]
    clock: Clock
    streams: dict[StreamedTap, str] = field(default_factory=dict)
    repeats: Repeats = field(default_factory=Repeats)
    mirrors: Mirrors = field(default_factory=Mirrors)
