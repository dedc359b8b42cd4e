from __future__ import annotations

import asyncio
import os
import signal

import pytest

from llmgw.server.drain import Departure


@pytest.mark.parametrize(("number", "patient"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
async def test_signals(number: int, patient: bool) -> None:
    """The first asks, SIGTERM with patience; the second hurries and changes nothing else."""
    departure = Departure()
    with departure.on_signals(asyncio.get_running_loop()):
        os.kill(os.getpid(), number)
        await asyncio.wait_for(departure.asked.wait(), 5)
        assert (departure.patient, departure.hurry.is_set()) == (patient, False)

        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(departure.hurry.wait(), 5)

    assert departure.patient is patient
