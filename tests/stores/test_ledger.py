from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmgw.core.errors import Unavailable
from llmgw.stores.frames import frame
from llmgw.stores.ledger import Ledger, LedgerRow
from llmgw.stores.sink import Sink, open_sink
from llmgw.stores.sums import HOUR_NS
from tests.contracts.records import AT_NS, opened, settled


@pytest.fixture
def sink(any_url: str) -> Iterator[Sink]:
    made = open_sink(any_url, durable=False)
    yield made
    made.close()


@pytest.fixture
def ledger(any_url: str, tmp_path: Path) -> Ledger:
    return Ledger(any_url, tmp_path / "journal")


def test_sums_are_by_caller_and_model(ledger: Ledger, sink: Sink) -> None:
    sink.load(
        [
            settled(1),
            settled(2, cost_nano_usd=None),
            settled(3, user=None, key_id=None),
            settled(4, model="other"),
            settled(5, at_ns=AT_NS - HOUR_NS),
        ]
    )

    rows = {(row.user, row.model): row for row in ledger.sums(AT_NS, AT_NS + HOUR_NS)}

    assert rows["alice", "gpt-4o"] == LedgerRow(
        "acme", "alice", "abcdefghijklmnop", "gpt-4o", 2, 500, 200, 97_500
    )
    assert rows[None, "gpt-4o"] == LedgerRow("acme", None, None, "gpt-4o", 1, 250, 100, 97_500)
    assert rows["alice", "other"].requests == 1
    assert len(rows) == 3


def test_some_requests_and_everybody(ledger: Ledger, sink: Sink) -> None:
    sink.load([settled(1), settled(2, tenant="b", user=None, key_id=None, cost_nano_usd=None)])

    assert ledger.records(["req_000000000002", "req_nobody"]) == {
        "req_000000000002": LedgerRow("b", None, None, "gpt-4o", 1, 250, 100, 0)
    }
    assert ledger.records([]) == {}
    assert len(ledger.records([f"req_{number:012}" for number in range(1_200)])) == 2
    assert set(ledger.callers(AT_NS)) == {("acme", "alice", "abcdefghijklmnop"), ("b", None, None)}
    assert ledger.callers(AT_NS + HOUR_NS) == []


def test_g12_what_a_dead_process_left_is_recovered(ledger: Ledger, tmp_path: Path) -> None:
    """A settled request and one that was under way, before anybody is admitted."""
    (tmp_path / "journal").mkdir()
    left = frame(settled(1)) + frame(opened(2))
    (tmp_path / "journal" / "journal-1-aa-000001.log").write_bytes(left)

    ledger.recover()

    assert sum(row.requests for row in ledger.sums(AT_NS, AT_NS + 10)) == 2
    assert ledger.records(["req_000000000002"])


async def test_a_server_that_is_away_is_unavailable(tmp_path: Path) -> None:
    ledger = Ledger("postgresql://a:b@127.0.0.1:1/x", tmp_path / "journal")

    with pytest.raises(Unavailable) as caught:
        await asyncio.get_running_loop().run_in_executor(None, ledger.records, ["x"])
    assert "127.0.0.1" in str(caught.value.detail)


@pytest.mark.parametrize("outcome", ["replay", "cache"])
def test_g16_what_was_answered_before_is_charged_nothing(ledger: Ledger, sink: Sink, outcome: str) -> None:
    free = {"outcome": outcome, "input_tokens": 0, "output_tokens": 0, "cost_nano_usd": 0}
    sink.load([settled(1), settled(2, **free), settled(3, outcome="client_gone")])

    found = [row for row in ledger.sums(AT_NS, AT_NS + HOUR_NS) if row.requests]

    assert sum(row.requests for row in found) == 2
    assert sum(row.input_tokens for row in found) == 500
