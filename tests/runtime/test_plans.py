from __future__ import annotations

from typing import Any, cast

import pytest

from llmgw.config.load import document_from_text
from llmgw.core.errors import ModelNotFound, PermissionDenied
from llmgw.core.facts import UNKNOWN
from llmgw.core.principal import Principal
from llmgw.engine.health import Healths
from llmgw.engine.plan import Plan
from llmgw.policies.upstream_state import KnownResponses, UpstreamState
from llmgw.ports.alerts import NullAlerter
from llmgw.runtime.build import PriceTables, Providers
from llmgw.runtime.limits import Limits
from llmgw.runtime.plans import Plans
from llmgw.stores.counters import MemoryCounters
from llmgw.stores.targets import MemoryTargets
from tests.fakes.clock import FakeClock
from tests.fakes.exchanges import exchange

CONFIG = """
version: 1
providers:
  openai: {kind: openai, api_key: sk-shared}
  demo: {kind: echo}
models:
  gpt-4o: {targets: [{provider: openai, model: gpt-4o-2024}], timeouts: {idle: 7s}}
  claude: {targets: [{provider: demo, model: claude}]}
  beta-preview: {targets: [{provider: demo, model: beta}]}
tenants:
  acme:
    allow_models: ["gpt-*", beta-preview]
    deny_models: ["*-preview"]
    providers: {openai: {kind: openai, api_key: sk-acme}}
    models:
      tuned: {targets: [{provider: openai, model: "ft:x"}]}
      claude: {targets: [{provider: demo, model: acme-claude}]}
  rival: {}
  none: {allow_models: []}
"""


def plans(text: str = CONFIG) -> Plans:
    document = document_from_text(text)
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


def match(found: Plans, tenant: str, model: str) -> Plan:
    ex = exchange(principal=Principal(tenant))
    ex.model = model
    return found.match(ex)


def credential(plan: Plan) -> str:
    from llmgw.dialects.endpoints import ENDPOINTS

    head = plan.lanes[0].head(ENDPOINTS["/v1/chat/completions"])
    assert head is not None
    return head.decode().partition("Bearer ")[2].partition("\r")[0]


def test_a_shared_model_goes_to_the_tenants_own_account_of_that_name() -> None:
    found = plans()

    assert credential(match(found, "acme", "gpt-4o")) == "sk-acme"
    assert credential(match(found, "rival", "gpt-4o")) == "sk-shared"


def test_only_models_behind_a_shared_credential_are_held_to_recorded_state() -> None:
    found = plans()

    def held(plan: Plan) -> bool:
        return any(isinstance(policy, UpstreamState) for policy in plan.policies)

    assert not held(match(found, "acme", "gpt-4o"))
    assert held(match(found, "rival", "gpt-4o"))


def test_the_tenants_own_model_is_found_before_the_shared_one() -> None:
    found = plans()

    assert match(found, "acme", "claude").lanes[0].target.model == "acme-claude"
    assert match(found, "rival", "claude").lanes[0].target.model == "claude"


@pytest.mark.parametrize(
    ("tenant", "model", "error"),
    [
        ("acme", "beta-preview", PermissionDenied),
        ("none", "gpt-4o", PermissionDenied),
        ("rival", "tuned", ModelNotFound),
        ("rival", "nope", ModelNotFound),
        ("gone", "gpt-4o", PermissionDenied),
    ],
)
def test_what_a_tenant_may_not_use(tenant: str, model: str, error: type[Exception]) -> None:
    """Denied wins over allowed, an empty list allows none, and another tenant's model is not there."""
    with pytest.raises(error):
        match(plans(), tenant, model)


def test_the_names_a_principal_may_use() -> None:
    found = plans()

    assert found.models(Principal("acme")) == ["claude", "gpt-4o", "tuned"]
    assert found.models(Principal("acme", allow_models=("gpt-*",))) == ["gpt-4o"]
    assert found.models(Principal("rival")) == ["beta-preview", "claude", "gpt-4o"]
    assert found.models(Principal("none")) == []
    assert found.models(Principal("gone")) == []


def test_a_plan_is_made_once_and_has_its_models_timeouts() -> None:
    found = plans()
    plan = match(found, "rival", "gpt-4o")

    assert match(found, "rival", "gpt-4o") is plan
    assert plan.timeouts.idle_s == 7.0
    assert plan.lanes[0].target.model == "gpt-4o-2024"


def test_without_models_every_name_goes_to_the_only_provider() -> None:
    found = plans("version: 1\nproviders: {only: {kind: echo}}")

    assert match(found, "default", "whatever/they-call-it").lanes[0].target.model == "whatever/they-call-it"
    assert found.models(Principal("default")) == []


def test_another_spelling_of_a_denied_name_is_denied() -> None:
    """Gemini's API has its models below `models/`, and takes their names with that and without."""
    denied = "tenants: {acme: {deny_models: ['*-pro', x]}}"
    found = plans(f"version: 1\nproviders: {{only: {{kind: gemini, api_key: k}}}}\n{denied}")

    for model in ("gemini-pro", "models/gemini-pro", "x", "models/x"):
        with pytest.raises(PermissionDenied):
            match(found, "acme", model)
    assert match(found, "acme", "models/gemini-flash").lanes


@pytest.mark.parametrize("model", ["a b", " a", "a\n", "a\x00", "\u2028", "\x85", "a" * 257])
@pytest.mark.parametrize("routes", ["", "routes: [{name: r, targets: [{provider: only, model: x}]}]"])
def test_what_could_not_be_configured_is_no_models_name(model: str, routes: str) -> None:
    """Whoever is asked for whatever is written, by the only provider or by a route's targets."""
    found = plans(f"version: 1\nproviders: {{only: {{kind: echo}}}}\n{routes}")

    with pytest.raises(ModelNotFound):
        match(found, "default", model)


def test_names_that_callers_make_up_do_not_fill_the_memory() -> None:
    found = plans("version: 1\nproviders: {only: {kind: echo}}")

    for number in range(20_000):
        match(found, "default", f"model-{number}")

    assert len(found._plans) <= 8192


@pytest.mark.parametrize("model", ["auto", "gpt-preview", "beta-preview"])
def test_nothing_is_known_of_a_name_that_only_a_route_lets_through(model: str) -> None:
    """Clients may ask for what they are told of it, wherever the route then leads."""
    routes = "routes: [{name: r, match: {tenant: acme}, model: gpt-4o}]\n"

    assert plans(CONFIG + routes).facts(Principal("acme"), model) == UNKNOWN


@pytest.mark.parametrize(
    ("tenant", "model", "refused"), [("rival", "g", True), ("acme", "g", False), ("rival", "gpt-4o", False)]
)
def test_links_to_geminis_files_are_looked_at_where_gemini_is_shared(
    tenant: str, model: str, refused: bool
) -> None:
    text = CONFIG.replace("  demo: {kind", "  gem: {kind: gemini, api_key: k}\n  demo: {kind")
    text = text.replace("models:\n", "models:\n  g: {targets: [{provider: gem, model: x}]}\n", 1)
    text = text.replace('allow_models: ["gpt-*"', 'allow_models: ["g*"').replace(
        "providers: {openai: {kind: openai, api_key: sk-acme}",
        "providers: {gem: {kind: gemini, api_key: k}, openai: {kind: openai, api_key: k}",
    )
    link = "https://generativelanguage.googleapis.com/v1beta/files/abc"
    content = [{"type": "image_url", "image_url": {"url": link}}]
    ex = exchange({"messages": [{"role": "user", "content": content}]}, principal=Principal(tenant))
    ex.model = model
    states = [one for one in plans(text).match(ex).policies if isinstance(one, UpstreamState)]

    assert [one.lets(ex) for one in states] == ([not refused] if tenant == "rival" else [])
