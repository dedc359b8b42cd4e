"""Makes the road's routes of those in a document."""

from __future__ import annotations

from collections.abc import Iterator

from llmgw.config.document import Document
from llmgw.config.routes import HeaderMatch, MatchSettings
from llmgw.engine.match import (
    Condition,
    Route,
    Routes,
    claim_begins,
    claim_equals,
    claim_fits,
    claim_present,
    header_begins,
    header_equals,
    header_fits,
    header_present,
    host_is,
    label_is,
    model_is,
    path_is,
    tenant_is,
    user_is,
)


def build_routes(document: Document) -> Routes | None:
    """The routes in their order, None where there are none."""
    if not document.routes:
        return None
    return Routes(
        [Route(one.name, one.strip_prefix or "", tuple(_conditions(one.match))) for one in document.routes]
    )


def _conditions(match: MatchSettings) -> Iterator[Condition]:
    if match.tenant is not None:
        yield tenant_is(match.tenant)
    if match.model is not None:
        yield model_is(match.model)
    if match.path is not None:
        yield path_is(match.path)
    if match.host is not None:
        yield host_is(match.host)
    if match.user is not None:
        yield user_is(match.user)
    for label, value in match.key_labels.items():
        yield label_is(label, value)
    for name, claim in match.claim.items():
        yield _claim(name, claim)
    for name, header in match.headers.items():
        yield _header(name, header)


def _header(name: str, match: HeaderMatch) -> Condition:
    if match.equals is not None:
        return header_equals(name, match.equals)
    if match.prefix is not None:
        return header_begins(name, match.prefix)
    if match.regex is not None:
        return header_fits(name, match.regex)
    return header_present(name, match.present is True)


def _claim(name: str, match: HeaderMatch) -> Condition:
    if match.equals is not None:
        return claim_equals(name, match.equals)
    if match.prefix is not None:
        return claim_begins(name, match.prefix)
    if match.regex is not None:
        return claim_fits(name, match.regex)
    return claim_present(name, match.present is True)
