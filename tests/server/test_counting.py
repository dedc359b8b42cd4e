from __future__ import annotations

from pathlib import Path

from llmgw.config.load import document_from_text
from llmgw.core.clock import system_clock
from llmgw.server.counting import Counting
from llmgw.stores.counters import MemoryCounters
from llmgw.telemetry.events import NullEvents
from llmgw.telemetry.metrics import PrometheusMeter

TEXT = """version: 1
storage: {url: "sqlite:///alerts.db"}
providers: {e: {kind: echo}}
quotas: [{per: tenant, requests: 5, window: day, alert_at: [80%]}]
"""


async def test_alerts_go_to_the_webhook_of_the_generation_in_effect(tmp_path: Path) -> None:
    """A document that is only prepared changes nothing."""
    clock = system_clock()
    counting = Counting(clock, MemoryCounters(clock.steady_ns))

    def document(webhook: str) -> None:
        found = document_from_text(TEXT + webhook, path=tmp_path / "llmgw.yaml")
        counting.watch(found, NullEvents(), PrometheusMeter())
        assert counting.alerts is not None
        told.append(counting.alerts.webhook)
        counting.tell(found)
        told.append(counting.alerts.webhook)

    told: list[str | None] = []
    document("alerts: {webhook: https://a.test/one}\n")
    document("alerts: {webhook: https://a.test/two}\n")
    document("")
    await counting.close()

    one, two = "https://a.test/one", "https://a.test/two"
    assert told == [one, one, one, two, two, None]
