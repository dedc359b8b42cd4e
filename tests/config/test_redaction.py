"""`redaction`: what is taken out, for everybody and for some."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmgw.config.diff import changes
from llmgw.config.load import document_from_text
from llmgw.config.redaction import RedactionOverride, RedactionSettings, redaction_terms
from llmgw.redaction.kinds import KINDS

HEAD = "version: 1\nproviders: {demo: {kind: echo}}\n"


def test_the_smallest_file_hides_every_kind_in_logs_and_nothing_else() -> None:
    redaction = document_from_text(HEAD).redaction

    assert redaction.logs == KINDS
    assert (redaction.requests, redaction.responses, redaction.on_error) == ((), (), "block")


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (
            "redaction: {requests: [emails]}",
            'requests[0]: no kind of data named "emails"',
        ),
        ("redaction: {requests: [emails]}", 'did you mean "email"?'),
        ("redaction: {request: [email]}", 'did you mean "requests"?'),
        ("redaction: {on_error: allow}", "redaction.on_error"),
        ("redaction: {requests: email}", "redaction.requests"),
        ("tenants: {a: {redaction: {logs: [email]}}}", "belongs under the top-level redaction"),
        ("models: {m: {targets: [{provider: demo, model: m}], redaction: {responses: [x]}}}", "responses[0]"),
        ("routes: [{name: r, redaction: {requests: [x]}}]", "routes[0].redaction.requests[0]"),
    ],
)
def test_refused(text: str, refusal: str, refusals: Callable[..., list[str]]) -> None:
    assert any(refusal in line for line in refusals(f"{HEAD}{text}\n"))


def test_the_narrowest_word_holds_and_the_rest_is_inherited() -> None:
    shared = RedactionSettings(requests=("email",), responses=("secrets",), on_error="pass")
    route, tenant = RedactionOverride(requests=()), RedactionOverride(requests=("ip",), on_error="block")

    terms = redaction_terms(shared, (route, tenant))

    assert (terms.requests, terms.responses, terms.on_error) == ((), ("secrets",), "block")


def test_a_difference_says_whom_it_concerns() -> None:
    before = document_from_text(HEAD)
    after = document_from_text(f"{HEAD}redaction: {{requests: [email], logs: []}}\n")

    told = {
        change.path: change.affects
        for change in changes(before.model_dump(mode="json"), after.model_dump(mode="json"))
        if "redaction" in change.path
    }

    assert told["redaction.requests"] == "everybody"
    assert told["redaction.logs"] == "no request, but what is logged"
