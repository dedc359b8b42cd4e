"""Which plans redact, and that the others have no trace of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmgw.config.load import document_from_text
from llmgw.engine.plan import Plan
from llmgw.policies.redact import Redact
from llmgw.ports.transport import Timeouts
from llmgw.runtime.redacting import Redacting

DOCUMENT = """
version: 1
providers: {demo: {kind: echo}}
redaction: {requests: [ip]}
models:
  plain: {targets: [{provider: demo, model: m}]}
  said: {targets: [{provider: demo, model: m}], redaction: {requests: [phone], responses: [iban]}}
routes:
  - {name: open, redaction: {requests: [], responses: []}}
  - {name: half, redaction: {responses: [email], on_error: pass}}
tenants:
  acme:
    redaction: {requests: [email]}
    models: {own: {targets: [{provider: demo, model: m}], redaction: {requests: [secrets]}}}
  other: {}
"""


def plan(model: str, route: str | None = None) -> Plan:
    return Plan(model, (), (), Timeouts(), route=route)


@pytest.mark.parametrize(
    ("tenant", "model", "route", "requests", "responses"),
    [
        ("other", "plain", None, ("ip",), ()),
        ("other", "said", None, ("phone",), ("iban",)),
        ("acme", "plain", None, ("email",), ()),
        ("acme", "said", None, ("email",), ("iban",)),
        ("acme", "own", None, ("secrets",), ()),
        ("acme", "own", "half", ("secrets",), ("email",)),
        ("acme", "own", "open", (), ()),
    ],
)
def test_who_has_the_last_word(
    tenant: str, model: str, route: str | None, requests: tuple[str, ...], responses: tuple[str, ...]
) -> None:
    """The route, then the tenant's own model, the tenant, the shared model, and what is said for all."""
    made = Redacting(document_from_text(DOCUMENT)).onto(plan(model, route), tenant)

    assert (made.redaction is not None) == bool(requests or responses)
    assert [type(policy) for policy in made.policies] == ([Redact] if requests else [])
    if made.redaction is not None:
        assert (made.redaction.requests, made.redaction.responses) == (requests, responses)
        assert made.redaction.blocks is (route != "half")


def test_a_route_takes_the_models_redaction_away() -> None:
    redacting = Redacting(document_from_text(DOCUMENT))

    along = redacting.onto(replace(redacting.onto(plan("own"), "acme"), route="open"), "acme")

    assert (along.policies, along.redaction) == ((), None)


def test_nothing_is_made_where_nothing_is_redacted() -> None:
    document = document_from_text("version: 1\nproviders: {demo: {kind: echo}}\n")
    before = plan("m")

    assert Redacting(document).onto(before, "default") is before
