"""Where a request would go, and why."""

from __future__ import annotations

from typing import Any

import pytest

from llmgw.admin.explain import Explainer
from llmgw.admin.question import Question
from llmgw.config.document import Document
from llmgw.config.load import document_from_text
from llmgw.core.principal import Principal
from llmgw.engine.breaker import Breaker, BreakerRules
from llmgw.ports.alerts import NullAlerter
from llmgw.runtime.build import declared_keys
from llmgw.runtime.limits import Limits
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.targets import MemoryTargets
from tests.fakes.clock import FakeClock

DIGEST = "sha256:" + "0" * 64
TEXT = """
version: 1
providers:
  one: {kind: openai, api_key: "${env:NOT_SET}"}
  two: {kind: openai_compatible, vendor: groq, api_key: "${env:NOT_SET_EITHER}"}
  demo: {kind: echo}
models:
  pair:
    targets: [{provider: one, model: gpt-4o}, {provider: two, model: llama-3.3-70b-versatile}]
    fallbacks: [{model: echo}, {model: secret}, {model: secret-too, on: [context_length]}]
    timeouts: {first_byte: 20s}
  drawn:
    strategy: weighted
    targets: [{provider: one, model: a, weight: 1}, {provider: two, model: b, weight: 3}]
  kept: {sticky: user, targets: [{provider: one, model: a}, {provider: two, model: b}]}
  echo: {targets: [{provider: demo, model: echo}]}
  secret: {targets: [{provider: demo, model: x}]}
  secret-too: {targets: [{provider: demo, model: x}]}
routes:
  - {name: research, match: {headers: {x-team: research}}, model: pair, timeouts: {total: 5m}}
  - name: fast
    match: {path: /fast/**}
    strip_prefix: /fast
    targets: [{provider: demo, model: quick}]
    limits: {per_route: {requests: 7, window: 1m}}
  - {name: theirs, match: {path: /their/**}, strip_prefix: /their, tenant: rival}
  - {name: alice, match: {user: alice}}
prices: {overrides: {one/gpt-4o: {input: 2 USD/M, output: 8 USD/M}, two/*: {input: 1 USD/M, output: 1 USD/M}}}
tenants:
  acme:
    hosts: [acme.example.com]
    deny_models: [secret]
    keys: [{id: held, hash: "DIGEST", allow_models: [pair, echo]}]
  rival: {quotas: [{cost: 1 USD, window: day}, {requests: 9, window: day, model: "echo*"}]}
""".replace("DIGEST", DIGEST)
NOW = 1000.0


@pytest.fixture
def document() -> Document:
    return document_from_text(TEXT)


def explain(document: Document, *, live: bool = True, **said: Any) -> dict[str, Any]:
    clock = FakeClock().clock
    counters = said.pop("counters", None) or MemoryCounters(clock.steady_ns)
    states = said.pop("states", None) or MemoryTargets()
    if said.get("key") is None:
        said.setdefault("tenant", "acme")
    known = {"counters": counters, "states": states} if live else {}
    explainer = Explainer(document, clock, **known)
    return explainer.explain(Question(**said), declared_keys(document), NOW)


def test_each_route_is_told_with_why_it_was_not_taken(document: Document) -> None:
    told = explain(document, user="alice", model="echo")

    assert told["routes"] == [
        {"route": "research", "taken": False, "why_not": "not so: header x-team equals research"},
        {"route": "fast", "taken": False, "why_not": "not so: path is /fast/**"},
        {"route": "theirs", "taken": False, "why_not": "not so: path is /their/**"},
        {"route": "alice", "taken": True, "why_not": None},
    ]
    assert (told["route"], told["model"], told["refused"]) == ("alice", "echo", None)


def test_without_a_match_the_models_name_decides(document: Document) -> None:
    told = explain(document, model="pair")

    assert (told["route"], told["model"]) == (None, "pair")
    assert not any(row["taken"] for row in told["routes"])


def test_the_routes_model_timeouts_targets_and_price(document: Document) -> None:
    told = explain(document, model="whatever", headers={"x-team": "research"})

    assert (told["route"], told["model"], told["strategy"]) == ("research", "pair", "priority")
    assert told["timeouts"] == {"connect_s": 5.0, "first_byte_s": 20.0, "idle_s": 60.0, "total_s": 300.0}
    assert [(one["provider"], one["model"]) for one in told["targets"]] == [
        ("one", "gpt-4o"),
        ("two", "llama-3.3-70b-versatile"),
    ]
    assert [one["cost_nano_usd"] for one in told["targets"]] == [10_000_000, 2_000_000]
    assert told["targets"][0]["price"] == "override one/gpt-4o"
    assert told["estimate"] == {"input_tokens": 1000, "output_tokens": 1000, "cost_nano_usd": 10_000_000}
    assert told["order_known"]


def test_fallbacks_are_told_with_their_reasons_and_who_may_not_use_them(document: Document) -> None:
    told = explain(document, key="held", model="pair")

    assert [(one["model"], one["on"], one["skipped"]) for one in told["fallbacks"]] == [
        ("echo", ["error", "rate_limit"], None),
        ("secret", ["error", "rate_limit"], "this tenant may not use it"),
        ("secret-too", ["context_length"], "this key may not use it"),
    ]


def test_what_is_known_against_a_target(document: Document) -> None:
    """An open breaker, and a credential that is left alone: they come last, and the price is the other's."""
    states = MemoryTargets()
    states.of("|one|gpt-4o").open_until = NOW + 4
    told = explain(document, model="pair", states=states)

    assert [one["provider"] for one in told["targets"]] == ["two", "one"]
    assert [one["breaker"] for one in told["targets"]] == ["closed", "open"]
    assert told["targets"][1]["skipped"] == "its breaker is open: for 4.0 s more"
    assert told["estimate"]["cost_nano_usd"] == 2_000_000
    assert told["in_the_way"] == []

    states.of("|two").cooled_until = NOW + 30
    told = explain(document, model="pair", states=states)

    assert {one["provider"]: one["skipped"] for one in told["targets"]}["two"] == (
        "its credential was refused: left alone for 30.0 s more"
    )
    assert told["in_the_way"] == ["no target can be asked now"]


def test_a_probe_and_a_target_that_asked_to_be_spared(document: Document) -> None:
    states = MemoryTargets()
    states.of("|one|gpt-4o").open_until = NOW - 1
    assert explain(document, model="pair", states=states)["targets"][0]["breaker"] == "half_open"

    assert Breaker(BreakerRules(), states.of("|one|gpt-4o")).admits(NOW)
    states.of("|two|llama-3.3-70b-versatile").cooled_until = NOW + 2
    skipped = {
        one["provider"]: one["skipped"] for one in explain(document, model="pair", states=states)["targets"]
    }

    assert skipped == {
        "one": "its breaker is half open: one request probes it",
        "two": "it asked to be spared: for 2.0 s more",
    }


def test_asking_leaves_nothing_behind(document: Document) -> None:
    states = MemoryTargets()
    clock = FakeClock().clock
    counters = MemoryCounters(clock.steady_ns)
    told = explain(document, model="pair", states=states, counters=counters)

    assert told["targets"][0]["breaker"] == "closed"
    assert states.all() == []
    assert counters.counted() == 0


def test_an_order_that_chance_or_the_moment_makes_is_called_so(document: Document) -> None:
    drawn = explain(document, model="drawn")

    assert [(one["provider"], one["share"]) for one in drawn["targets"]] == [("two", 0.75), ("one", 0.25)]
    assert not drawn["order_known"]


def test_who_is_kept_at_a_target_is_told_which(document: Document) -> None:
    orders = [explain(document, model="kept", user=f"u{number}") for number in range(20)]

    assert all(told["sticky"] and told["order_known"] for told in orders)
    assert {told["targets"][0]["provider"] for told in orders} == {"one", "two"}
    assert not explain(document, model="kept")["order_known"]


def test_limits_are_those_of_the_route_with_what_is_left(document: Document) -> None:
    clock = FakeClock().clock
    counters = MemoryCounters(clock.steady_ns)
    limits = Limits(document, counters, clock, NullAlerter())
    levels = limits.levels(Principal("acme"), "m", None, "fast")
    for _ in range(3):
        counters.acquire(levels.near, "r")
    told = explain(document, model="m", path="/fast/v1/messages", counters=counters)
    (row,) = [row for row in told["limits"] if row["policy"] == "per-route"]

    assert (told["route"], told["targets"][0]["model"]) == ("fast", "quick")
    assert (row["limit"], row["used"], row["remaining"]) == (7, 3, 4)

    for _ in range(4):
        counters.acquire(levels.near, "r")
    (said,) = explain(document, model="m", path="/fast/v1/messages", counters=counters)["in_the_way"]
    assert said.startswith("nothing is left of per-route until ")


def test_quotas_are_those_that_count_the_model(document: Document) -> None:
    told = explain(document, tenant="rival", model="pair", user="bob")
    echo = explain(document, tenant="rival", model="echo", user="bob")

    assert [row["unit"] for row in told["quotas"]] == ["cost_nano_usd"]
    assert [row["unit"] for row in echo["quotas"]] == ["cost_nano_usd", "requests"]


def test_a_budget_over_a_target_without_a_price_is_told(document: Document) -> None:
    """It refuses, as it may cost anything; a fallback's target counts too."""
    said = "a budget applies and the price of demo/echo is not known; set it under prices.overrides"

    assert explain(document, tenant="rival", model="echo")["in_the_way"] == [said]
    assert said in explain(document, tenant="rival", model="pair")["in_the_way"]
    assert explain(document, tenant="acme", model="echo")["in_the_way"] == []


@pytest.mark.parametrize(
    ("said", "status", "message"),
    [
        ({"model": "nope"}, 404, "no model named 'nope'"),
        ({"model": "secret"}, 403, "this tenant may not use model 'secret'"),
        ({"model": "drawn", "key": "held"}, 403, "this key may not use model 'drawn'"),
        ({"model": "m", "path": "/their/v1/messages"}, 403, "this route belongs to another tenant"),
        ({"model": "m", "path": "/nothing"}, 404, "there is nothing at this path"),
        ({"model": "m", "tenant": "rival", "host": "acme.example.com"}, 403, "this host belongs to another"),
    ],
)
def test_refusals_are_those_of_the_gateway(
    document: Document, said: dict[str, Any], status: int, message: str
) -> None:
    told = explain(document, **said)

    assert told["refused"]["status"] == status
    assert message in told["refused"]["message"]
    assert "targets" not in told


def test_without_a_gateway_nothing_is_made_up(document: Document) -> None:
    """What only a running gateway knows is absent; secrets need not be there."""
    told = explain(document, live=False, tenant="rival", model="pair")

    assert not told["live"]
    assert (
        {one["breaker"] for one in told["targets"]} == {one["skipped"] for one in told["targets"]} == {None}
    )
    for row in (*told["limits"], *told["quotas"]):
        assert row["limit"] > 0
        assert row["used"] is row["remaining"] is row["resets_at"] is None


def test_a_document_without_routes_and_models() -> None:
    told = explain(
        document_from_text("version: 1\nproviders: {e: {kind: echo}}"), tenant=None, model="any/name"
    )

    assert (told["routes"], told["route"], told["tenant"]) == ([], None, "default")
    assert told["targets"][0]["model"] == "any/name"


def test_what_an_idempotency_key_means_is_told() -> None:
    document = document_from_text(TEXT.replace("name: alice,", "name: alice, idempotency: {mode: off},"))

    told = explain(document, model="echo")
    assert told["idempotency"] == {
        "mode": "optional",
        "format": "uuid4",
        "ttl_s": 86_400.0,
        "wait_s": 0.0,
        "max_body_bytes": 1024 * 1024,
    }
    assert explain(document, model="echo", user="alice")["idempotency"] == {"mode": "off"}


def test_what_is_redacted_is_told() -> None:
    """As the route, or whoever is wider, says; nothing where nothing is."""
    redacting = TEXT.replace("timeouts: {total: 5m}", "redaction: {responses: [ip]}")
    document = document_from_text(f"{redacting}redaction: {{requests: [email], on_error: pass}}\n")

    assert explain(document, model="echo")["redaction"] == {
        "requests": ["email"],
        "responses": [],
        "on_error": "pass",
    }
    assert explain(document, model="x", headers={"x-team": "research"})["redaction"]["responses"] == ["ip"]
    assert explain(document_from_text(TEXT), model="echo")["redaction"] is None
