"""What a document's routes become: matchers, and plans along them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from llmgw.config.load import document_from_text
from llmgw.core.errors import ModelNotFound, PermissionDenied
from llmgw.core.principal import Principal
from llmgw.engine.health import Healths
from llmgw.engine.plan import Plan
from llmgw.policies.upstream_state import KnownResponses
from llmgw.ports.alerts import NullAlerter
from llmgw.runtime.build import PriceTables, Providers
from llmgw.runtime.limits import Limits
from llmgw.runtime.plans import Plans
from llmgw.runtime.routes import build_routes
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.targets import MemoryTargets
from tests.fakes.clock import FakeClock
from tests.fakes.exchanges import exchange

HEAD = """
version: 1
providers: {e: {kind: echo}}
models:
  m:
    targets: [{provider: e, model: one}]
    fallbacks: [{model: n}]
    mirror: {target: {provider: e, model: shadow}, share: 10%}
    sticky: user
    retry: {attempts: 7}
    timeouts: {connect: 3s, idle: 8s}
    on_loss: reject
  n: {targets: [{provider: e, model: two}]}
tenants:
  acme: {models: {n: {targets: [{provider: e, model: acme-two}]}}, deny_models: ["no-*"]}
  rival: {allow_models: [n, "free-*"]}
"""


def plans(*routes: str) -> Plans:
    document = document_from_text(HEAD + "routes:\n" + "".join(f"  - {route}\n" for route in routes))
    clock = FakeClock().clock
    return Plans(
        document,
        Providers(document).provider,
        cast("Any", "shared transport"),
        KnownResponses(),
        Limits(document, MemoryCounters(clock.steady_ns), clock, NullAlerter()),
        PriceTables(document),
        Healths(MemoryTargets()),
    )


def match(found: Plans, model: str = "m", tenant: str = "acme") -> Plan:
    ex = exchange(principal=Principal(tenant))
    ex.model = model
    return found.match(ex)


def test_no_routes_are_none() -> None:
    assert build_routes(document_from_text(HEAD)) is None


def test_every_condition_is_told_in_words() -> None:
    said = (
        "{path: /v1/**, host: a.com, tenant: acme, user: u, model: g-*, key_labels: {l: v},"
        " claim: {i: j, k: {prefix: d}, m: {regex: f+}, n: {present: true}, o: {present: false}},"
        " headers: {a: b, c: {prefix: d}, e: {regex: f+}, g: {present: true}, h: {present: false}}}"
    )
    routes = build_routes(document_from_text(f"{HEAD}routes: [{{name: r, match: {said}}}]"))
    assert routes is not None
    (route,) = routes._routes

    assert [condition.text for condition in route.conditions] == [
        "tenant is acme",
        "model is g-*",
        "path is /v1/**",
        "host is a.com",
        "user is u",
        "key label l is v",
        "claim i equals j",
        "claim k begins with d",
        "claim m fits f+",
        "claim n is there",
        "claim o is absent",
        "header a equals b",
        "header c begins with d",
        "header e fits f+",
        "header g is there",
        "header h is absent",
    ]


def test_a_route_without_a_destination_is_the_models_plan_under_its_name() -> None:
    found = plans("{name: r, timeouts: {idle: 1s}}")
    plan = match(found)

    assert (plan.route, plan.model, [lane.target.model for lane in plan.lanes]) == ("r", "m", ["one"])
    assert (plan.timeouts.connect_s, plan.timeouts.idle_s, plan.retry.attempts) == (3.0, 1.0, 7)
    assert [fallback.model for fallback in plan.fallbacks] == ["n"]
    assert plan.mirror is not None


def test_targets_of_a_route_have_their_models_settings_and_no_other_targets() -> None:
    """No fallback and no mirror: whoever chose where a request goes chose it all."""
    plan = match(plans("{name: r, targets: [{provider: e, model: x}], timeouts: {idle: 1s}}"))

    assert [lane.target.model for lane in plan.lanes] == ["x"]
    assert (plan.timeouts.connect_s, plan.timeouts.idle_s, plan.retry.attempts) == (3.0, 1.0, 7)
    assert plan.sticky is not None
    assert plan.refuses_loss
    assert (plan.fallbacks, plan.mirror) == ((), None)


def test_a_routes_model_is_the_tenants_own_where_it_has_one() -> None:
    found = plans("{name: r, model: n}")

    assert match(found, tenant="acme").lanes[0].target.model == "acme-two"
    assert match(found, tenant="rival").lanes[0].target.model == "two"


@pytest.mark.parametrize(
    ("route", "model", "tenant"),
    [
        ("{name: r, model: m}", "n", "rival"),
        ("{name: r}", "m", "rival"),
        ("{name: r, targets: [{provider: e, model: x}]}", "m", "rival"),
        ("{name: r, targets: [{provider: e, model: x}]}", "no-way", "acme"),
        ("{name: r, tenant: rival}", "m", "acme"),
        ("{name: r}", "m", "gone"),
        ("{name: r, targets: [{provider: e, model: x}]}", "m", "gone"),
    ],
)
def test_what_a_tenant_may_not_use_it_may_not_use_by_a_route(route: str, model: str, tenant: str) -> None:
    with pytest.raises(PermissionDenied):
        match(plans(route), model, tenant)


def test_a_made_up_name_is_served_by_the_routes_targets_and_a_long_one_by_nobody() -> None:
    found = plans("{name: r, targets: [{provider: e, model: x}]}")

    assert match(found, "free-" + "x" * 251, "rival").lanes[0].target.model == "x"
    with pytest.raises(ModelNotFound):
        match(found, "free-" + "x" * 252, "rival")


def test_a_plan_is_made_once_for_each_route() -> None:
    found = plans("{name: r, model: n, match: {model: a}}", "{name: s, model: n}")

    assert match(found, "a") is match(found, "a")
    assert match(found, "a") is not match(found, "b")
    for number in range(9000):
        match(found, f"made-up-{number}")
    assert len(found._routed) == 2
