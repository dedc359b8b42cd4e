from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from llmgw.config.cache import CacheOverride, CacheSettings, cache_terms
from llmgw.config.load import document_from_text

Refusals = Callable[..., list[str]]

ECHO = "version: 1\nproviders: {e: {kind: echo}}\n"


def test_nothing_is_kept_unless_the_file_says_so() -> None:
    assert document_from_text(ECHO).cache == CacheSettings()
    assert CacheSettings().mode == "off"


def test_the_narrowest_that_says_something_holds() -> None:
    shared = CacheSettings.model_validate({"mode": "exact", "ttl": "1h", "max_entry": "2MiB"})
    route = CacheOverride.model_validate({"ttl": "1m"})
    tenant = CacheOverride.model_validate({"mode": "off", "ttl": "2m", "scope": "user"})

    terms = cache_terms(shared, [route, tenant])

    assert (terms.mode, terms.ttl_s, terms.scope, terms.max_entry) == ("off", 60.0, "user", 2 * 1024 * 1024)


@pytest.mark.parametrize(("outer", "inner"), [*product(["off", "exact", None], ["off", "exact"])])
def test_off_can_be_said_again_further_in(outer: str | None, inner: str) -> None:
    """`off` is a word like any other: a tenant can switch off what is on, and the other way round."""
    overrides = [CacheOverride.model_validate({"mode": mode}) for mode in (inner, outer) if mode is not None]

    assert cache_terms(CacheSettings(), overrides).mode == inner


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (
            "cache: {mode: semantic}",
            "cache.mode: semantic is not available in this version; use exact, or off",
        ),
        ("cache: {mode: fuzzy}", "cache.mode: must be 'off' or 'exact'"),
        ("cache: {ttl: 0s}", 'cache.ttl: "0s" must be more than zero'),
        ("cache: {ttl: 60}", "cache.ttl: 60 needs a unit"),
        ("cache: {max_entry: 0B}", "cache.max_entry: must be at least 1B"),
        ("cache: {memory: 100B}", "cache.memory: must be between 1MiB and 4GiB"),
        ("cache: {memory: 1000GiB}", "cache.memory: must be between 1MiB and 4GiB"),
        ("cache: {scope: everybody}", "cache.scope: must be 'tenant', 'user' or 'key'"),
        ("cache: {tool_calls: off}", "cache.tool_calls: must be true or false"),
        ("cache: {mod: exact}", 'cache.mod: unknown key; did you mean "mode"?'),
        ("cache: exact", "cache: must be a mapping of names to values"),
        ("cache: {memory: 2MiB, max_entry: 3MiB}", "cache.max_entry: is more than memory"),
        (
            "models: {m: {targets: [{provider: e, model: m}], cache: {memory: 1MiB}}}",
            "models.m.cache.memory: is for all kept answers together",
        ),
        ("routes: [{name: r, cache: {mode: semantic}}]", "routes[0].cache.mode: semantic is not available"),
        ("tenants: {a: {cache: {mode: semantic}}}", "tenants.a.cache.mode: semantic is not available"),
        ("tenants: {a: {cache: {ttl: soon}}}", "tenants.a.cache.ttl: "),
    ],
)
def test_refused(text: str, refusal: str, refusals: Refusals) -> None:
    found = refusals(f"{ECHO}{text}\n")

    assert any(refusal in line for line in found), found
