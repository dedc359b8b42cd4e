"""What a route may say."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from llmgw.config.load import document_from_text
from llmgw.config.routes import MAX_VALUE, checked_pattern

ECHO = "version: 1\nproviders: {e: {kind: echo}}\nmodels: {m: {targets: [{provider: e, model: x}]}}\n"


SLOW = [
    "(a+)+",
    "(a*)*b",
    "(a|aa)*b",
    "(a|a?)+b",
    "(.*a){20}",
    r"(a)\1",
    "(a)?(?(1)b|c)",
    "a?" * 40,
    ".*.*.*x",
    "(?=(a+)+)b",
    "(a{1,9}){1,9}",
    "(a|b|ab)*c",
]
QUICK = [
    "eu-.*",
    "(red|blue)-[0-9]+",
    "[a-z]++-[a-z]++-[0-9]++",
    "(?>(?:a|b)c)d",
    "(?i:eu)-[a-z]{2,8}",
    "a{3}b{2}",
    "[ab]*a[ab]*c",
    ".*.*x",
    "a*a*a{100}b",
    "(?:a|b|c|d)*+e",
]


@pytest.mark.parametrize("pattern", SLOW)
def test_patterns_that_could_take_long(pattern: str) -> None:
    with pytest.raises(ValueError, match="could take long on a hostile value"):
        checked_pattern(pattern)


@pytest.mark.parametrize("pattern", ["(", "a{9999999999999}", "*", "(?P<x", "[a", "(" * 5000])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a regular expression"):
        checked_pattern(pattern)


HOSTILE = ["a" * MAX_VALUE, "ab" * (MAX_VALUE // 2), "eu-" + "a" * (MAX_VALUE - 3), "red-" + "1" * 251 + "x"]


@pytest.mark.parametrize("pattern", QUICK)
def test_patterns_that_decide_soon(pattern: str) -> None:
    """What is accepted is done with the longest hostile value in a moment."""
    matches = re.compile(checked_pattern(pattern).encode()).fullmatch
    began = time.perf_counter()
    for value in HOSTILE:
        matches(value.encode())

    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("route", "refusal"),
    [
        ("{name: r, model: n}", 'routes[0].model: no model named "n"'),
        (
            "{name: r, targets: [{provider: f, model: x}]}",
            'routes[0].targets[0].provider: no provider named "f"',
        ),
        ("{name: r, tenant: t}", 'routes[0].tenant: no tenant named "t"'),
        ("{name: r, strip_prefix: /fast}", "routes[0].strip_prefix: needs match.path to begin with it"),
        ("{name: r, match: {path: fast}}", "routes[0].match.path: must be a path"),
        ("{name: r, match: {path: '/fast**'}}", "routes[0].match.path: ** stands for whole segments"),
        ("{name: r, match: {path: /v1?x=1}}", "routes[0].match.path: must be a path"),
        ("{name: r, match: {host: 'a.*.com'}}", "routes[0].match.host: must be a host name"),
        ("{name: r, match: {host: 'a.com:80'}}", "routes[0].match.host: must be a host name"),
        ("{name: r, match: {host: '{user}.a.com'}}", "routes[0].match.host: must be a host name"),
        (
            "{name: r, match: {headers: {authorization: x}}}",
            "routes[0].match.headers: authorization holds a cred",
        ),
        (
            "{name: r, match: {headers: {x-api-key: x}}}",
            "routes[0].match.headers: x-api-key holds a credential",
        ),
        ("{name: r, match: {headers: {a: {}}}}", "routes[0].match.headers.a: needs one of equals, prefix"),
        (
            "{name: r, match: {headers: {a: {equals: b, prefix: b}}}}",
            "routes[0].match.headers.a: needs one of equals, prefix",
        ),
        (
            "{name: r, match: {headers: {a: {regex: (a+)+}}}}",
            "routes[0].match.headers.a.regex: could take long",
        ),
        ("{name: r, match: {tenant: t}}", 'routes[0].match.tenant: no tenant named "t"'),
        ("{name: r, match: {modle: m}}", 'routes[0].match.modle: unknown key; did you mean "model"?'),
        ("{name: r, model: m, targets: [{provider: e, model: x}]}", "routes[0].targets: has a model, so"),
        (
            "{name: r, model: m, strategy: weighted}",
            "routes[0].strategy: is for targets, and the route has none",
        ),
        (
            "{name: r, strategy: weighted, targets: [{provider: e, model: x, weight: 0}]}",
            "routes[0].targets: every target has weight 0",
        ),
        ("{name: r, targets: []}", "routes[0].targets"),
        ("{name: r, strip_prefix: fast}", "routes[0].strip_prefix: must be a path such as /fast"),
        ("{name: r, match: {path: /a/**}, strip_prefix: /a/..}", "routes[0].strip_prefix: must be a path"),
        ("{name: r, limits: {per_user: off}}", "routes[0].limits.per_user"),
        (
            "{name: r, limits: {per_route: {window: 1m}}}",
            "routes[0].limits.per_route: needs requests or tokens",
        ),
        ("{name: r, timeouts: {total: 0s}}", "routes[0].timeouts.total"),
        ("{name: 'a b'}", "routes[0].name"),
        ("{model: m}", "routes[0].name: is required"),
        ("{name: r, redaction: {logs: []}}", "routes[0].redaction.logs: is for all that is logged"),
        ("{name: r, match: {claim: {a..b: c}}}", "must be a claim's name, or names joined by dots"),
        ("{name: r, match: {claim: {a: {regex: '(a+)+'}}}}", "could take long on a hostile value"),
    ],
)
def test_refused(route: str, refusal: str, refusals: Callable[..., list[str]]) -> None:
    assert any(refusal in line for line in refusals(f"{ECHO}routes: [{route}]"))


def test_the_routes_of_a_tenant_are_not_there_yet(refusals: Callable[..., list[str]]) -> None:
    (line,) = refusals(f"{ECHO}tenants: {{acme: {{routes: [{{name: r}}]}}}}")

    assert line == "f.yaml:4 tenants.acme.routes: not available in this version"


def test_a_name_is_used_once(refusals: Callable[..., list[str]]) -> None:
    (line,) = refusals(f"{ECHO}routes:\n  - {{name: r, match: {{user: a}}}}\n  - {{name: r, model: m}}\n")

    assert line == "f.yaml:6 routes[1].name: name r is used twice; first at f.yaml:5"


def test_what_a_route_leads_to_is_what_everybody_whom_it_is_for_has(
    refusals: Callable[..., list[str]],
) -> None:
    """Where a tenant is named, its own models and providers count; else every tenant must have them."""
    tenants = (
        "tenants:\n  rival: {}\n"
        "  acme: {providers: {p: {kind: echo}}, models: {own: {targets: [{provider: p, model: x}]}}}\n"
    )
    for route in ("{name: r, tenant: acme, model: own}", "{name: r, match: {tenant: acme}, model: own}"):
        assert document_from_text(f"{ECHO}{tenants}routes: [{route}]").routes[0].model == "own"
    assert document_from_text(
        f"{ECHO}{tenants}routes: [{{name: r, tenant: acme, targets: [{{provider: p, model: x}}]}}]"
    )
    (model,) = refusals(f"{ECHO}{tenants}routes: [{{name: r, model: own}}]")
    (provider,) = refusals(f"{ECHO}{tenants}routes: [{{name: r, targets: [{{provider: p, model: x}}]}}]")

    assert model.endswith('routes[0].model: no shared model named "own", and tenant "rival" has none')
    assert provider.endswith('provider: no shared provider named "p", and tenant "rival" has none')


def test_names_are_read_alike_however_they_are_written() -> None:
    text = (
        "routes: [{name: r, match: {path: /fast/**, host: '{tenant}.Example.COM.', headers: {X-Team: a}},"
        " strip_prefix: /fast/}]"
    )
    (route,) = document_from_text(ECHO + text).routes

    assert route.strip_prefix == "/fast"
    assert route.match.host == "{tenant}.example.com"
    assert route.match.headers["x-team"].equals == "a"
