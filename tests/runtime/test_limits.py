"""Which counters a caller moves, and that no two tenants share one that is their own."""

from __future__ import annotations

from llmgw.config.load import document_from_text
from llmgw.core.principal import Principal
from llmgw.ports.alerts import NullAlerter
from llmgw.runtime.limits import Limits, allowances
from llmgw.stores.counters import MemoryCounters
from tests.fakes.clock import FakeClock

CONFIG = """
version: 1
providers: {demo: {kind: echo}}
limits:
  per_key: {requests: 5}
  per_model: [{tokens: 100, window: 1m}, {requests: 7, window: 1h}, {requests: 3, window: 1m}]
  per_route: {requests: 9}
quotas:
  - {per: tenant, requests: 10, window: day}
  - {per: user, cost: 1 USD, window: day, model: "gpt-*"}
  - {per: key, tokens: 10, window: month}
tenants:
  acme:
    limits: {per_model: {requests: 2, window: 1m}}
    models: {own: {targets: [{provider: demo, model: x}]}}
  acme-u: {}
  rival: {}
"""


def limits(text: str = CONFIG) -> Limits:
    clock = FakeClock().clock
    return Limits(document_from_text(text), MemoryCounters(clock.steady_ns), clock, NullAlerter())


def keys(
    principal: Principal, model: str | None = "m", owner: str | None = None, route: str | None = None
) -> list[str]:
    levels = limits().levels(principal, model, owner, route)
    return [claim.key for claim in (*levels.near, *levels.far)]


def test_names_are_unique_and_in_one_order() -> None:
    """The nearest first; a unit or a window is added where two would be alike."""
    levels = limits().levels(Principal("rival", "bob", "k1"), "m", None, "r")
    names = [claim.rule.name for claim in (*levels.near, *levels.far)]

    assert names == [
        "per-key",
        "per-user",
        "per-model-3600s",
        "per-model-60s",
        "per-model-tokens",
        "per-route",
        "per-tenant",
        "global",
    ]


def test_a_caller_without_a_user_counts_by_its_key_else_by_its_address() -> None:
    by_key = [key for key in keys(Principal("rival", None, "k1")) if key.startswith("per_user")]
    nobody = limits().levels(Principal("rival"), "m", None, None)

    assert by_key == ["per_user:requests:60000000000:sliding_window:6|rival/k:k1"]
    assert [rule.name for rule in nobody.by_caller] == ["per-user"]


def test_tenants_share_no_counter_of_their_own() -> None:
    """Not even when their names are made to look like parts of each other's."""
    one = set(keys(Principal("acme", "u/alice"), "own", "acme"))
    other = set(keys(Principal("acme-u", "alice"), "own", None))
    shared = one & other

    assert {key.partition(":")[0] for key in shared} == {"global"}


def test_a_model_is_counted_for_all_who_share_it() -> None:
    """But a tenant's own model, and a tenant's own limit, are the tenant's."""

    def of_model(tenant: str, owner: str | None = None) -> list[str]:
        return [key for key in keys(Principal(tenant, "u"), "m", owner) if key.startswith("per_model")]

    assert of_model("rival") == of_model("acme-u")
    assert of_model("rival", "rival") != of_model("rival")
    assert [key.rpartition("|")[2] for key in of_model("acme")] == ["tenant:acme/m"]


def test_a_changed_limit_keeps_its_counters() -> None:
    other = limits(CONFIG.replace("requests: 5}", "requests: 50}"))
    levels = other.levels(Principal("rival", "bob", "k1"), "m", None, None)

    assert keys(Principal("rival", "bob", "k1"))[0] == levels.near[0].key
    assert levels.near[0].rule.limit == 50


def test_quotas_of_a_caller_for_a_model() -> None:
    """Those whose pattern fits; each with the balance of whom it is for."""
    document = document_from_text(CONFIG)

    def of(model: str | None) -> list[str]:
        return [one.key for one in allowances(document, "rival", "bob", "k1", model)]

    assert of("claude") == [
        "quota|tenant|requests|day|UTC|*|rival",
        "quota|key|tokens|month|UTC|*|rival/k:k1",
    ]
    assert "quota|user|cost|day|UTC|gpt-*|rival/u:bob" in of("gpt-4o")
    assert len(of(None)) == 3
