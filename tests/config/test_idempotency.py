from __future__ import annotations

from collections.abc import Callable

import pytest

from llmgw.config.document import Document
from llmgw.config.idempotency import IdempotencyTerms, idempotency_terms
from llmgw.config.load import document_from_text

ECHO = "version: 1\nproviders: {demo: {kind: echo}}\n"


def terms(document: Document, tenant: str = "default", route: str | None = None) -> IdempotencyTerms:
    along = next((one.idempotency for one in document.routes if one.name == route), None)
    said = [one for one in (along, document.tenants[tenant].idempotency) if one is not None]
    return idempotency_terms(document.idempotency, said)


def test_what_holds_when_the_file_says_nothing() -> None:
    found = terms(document_from_text(ECHO))

    assert found == IdempotencyTerms("optional", "uuid4", 86_400.0, 0.0, 1024 * 1024)


def test_a_route_holds_over_its_tenant_and_that_over_all() -> None:
    document = document_from_text(
        ECHO + "idempotency: {mode: required, ttl: 2h, wait: 1s, format: opaque, max_body: 2MiB}\n"
        "tenants: {acme: {idempotency: {mode: optional, ttl: 3h}}}\n"
        "routes: [{name: r, idempotency: {mode: off, wait: 5s}}]\n"
    )

    assert terms(document, "acme", "r") == IdempotencyTerms("off", "opaque", 10_800.0, 5.0, 2 * 1024**2)
    assert terms(document, "acme") == IdempotencyTerms("optional", "opaque", 10_800.0, 1.0, 2 * 1024**2)


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ("{mode: always}", "idempotency.mode"),
        ("{format: uuid}", "idempotency.format"),
        ("{ttl: 1s}", "idempotency.ttl: 1s is not between 1m and 31d"),
        ("{ttl: 32d}", "idempotency.ttl: 32d is not between 1m and 31d"),
        ("{wait: 3m}", "idempotency.wait: 3m is more than 2m"),
        ("{max_body: 65MiB}", "idempotency.max_body: must be between 1B and 64MiB"),
        ("{max_body: 0B}", "idempotency.max_body: must be between 1B and 64MiB"),
        ("{admin: required}", "idempotency.admin: not available in this version"),
        ("{key: x}", "idempotency.key"),
    ],
)
def test_refused(said: str, refusal: str, refusals: Callable[..., list[str]]) -> None:
    assert any(refusal in line for line in refusals(f"{ECHO}idempotency: {said}"))
