from __future__ import annotations

from collections.abc import Iterator

from llmgw.config.load import document_from_text
from llmgw.runtime.balances import charge, ledger_balances, period_end_s, recorded_callers
from llmgw.runtime.standing import differences
from llmgw.stores.ledger import LedgerRow
from tests.fakes.clock import FakeClock

CONFIG = """
version: 1
providers: {demo: {kind: echo}}
quotas:
  - {per: tenant, requests: 10, window: day}
  - {per: tenant, cost: 1 USD, window: month, timezone: Europe/Paris}
  - {per: user, tokens: 10, window: day, model: "gpt-*"}
tenants: {acme: {}}
"""
ROWS = [
    LedgerRow("acme", "alice", "k1", "gpt-4o", 2, 10, 5, 300),
    LedgerRow("acme", "alice", "k2", "claude", 1, 7, 3, 40),
    LedgerRow("acme", None, "k3", "gpt-4o", 4, 1, 1, 0),
    LedgerRow("gone", "alice", "k9", "gpt-4o", 9, 9, 9, 9),
]


def test_balances_are_summed_as_requests_would_be_charged() -> None:
    """By period, pattern and subject; a tenant that is configured no more has none."""
    spans: list[tuple[int, int]] = []

    def sums(since_ns: int, until_ns: int) -> Iterator[LedgerRow]:
        spans.append((since_ns // 10**9, until_ns // 10**9))
        yield from ROWS

    clock = FakeClock("2026-11-24T12:00:00+00:00").clock
    found = ledger_balances(document_from_text(CONFIG), clock, sums)
    spent = {key.rpartition("|")[0]: amount for key, (amount, _) in found.items()}

    assert spent == {
        "quota|tenant|requests|day|UTC|*|acme": 7,
        "quota|tenant|cost|month|Europe/Paris|*|acme": 340,
        "quota|user|tokens|day|UTC|gpt-*|acme/u:alice": 15,
        "quota|user|tokens|day|UTC|gpt-*|acme/k:k3": 2,
    }
    assert spans == [(1795478400, 1795564800), (1793487600, 1796079600)]


def test_a_balances_name_tells_when_it_ends() -> None:
    assert period_end_s("quota|tenant|requests|day|UTC|*|acme|1795478400") == 1795564800


def test_what_a_dead_workers_hold_becomes() -> None:
    """The record's own figures, nothing where there is no record, and nothing for a place."""
    assert charge("quota|user|tokens|day|UTC|*|acme/u:alice|0", ROWS[0]) == 15
    assert charge("quota|user|output_tokens|day|UTC|*|acme/u:alice|0", ROWS[0]) == 5
    assert charge("quota|user|tokens|day|UTC|*|acme/u:alice|0", None) == 0
    assert charge("concurrency|", ROWS[0]) == 0


def test_callers_are_asked_for_since_the_earliest_period() -> None:
    asked: list[int] = []

    def callers(since_ns: int) -> list[tuple[str, str | None, str | None]]:
        asked.append(since_ns // 10**9)
        return [("acme", "alice", "k1")]

    clock = FakeClock("2026-11-24T12:00:00+00:00").clock

    assert recorded_callers(document_from_text(CONFIG), clock, callers) == [("acme", "alice", "k1")]
    assert asked == [1793487600]


def test_a_balance_that_moved_meanwhile_is_no_difference() -> None:
    """Requests end while the ledger is read; what lies between the two readings is right."""
    found = differences({"a": 1, "b": 5, "c": 0}, {"a": 2, "b": 4, "d": 1}, {"a": 3, "b": 5, "c": 0})

    assert [(row["balance"], row["difference"]) for row in found] == [("b", 1), ("d", -1)]
