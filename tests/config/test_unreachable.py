"""Routes that no request gets to."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmgw.config.load import document_from_text
from llmgw.config.routes import RouteSettings
from llmgw.config.unreachable import covers

ECHO = "version: 1\nproviders: {e: {kind: echo}}\nmodels: {m: {targets: [{provider: e, model: x}]}}\n"
ISSUER = "{issuer: 'https://a.example.com', audience: a, tenant: acme}"
TENANTS = f"tenants: {{acme: {{}}}}\nauth: {{jwt: [{ISSUER}]}}\n"


def warnings(*routes: str) -> list[str]:
    rows = "".join(f"  - {route}\n" for route in routes)
    document = document_from_text(f"{ECHO}{TENANTS}routes:\n{rows}", path=Path("f.yaml"))
    return [str(warning) for warning in document.warnings]


def test_a_route_behind_one_that_takes_all_of_its_requests() -> None:
    assert warnings("{name: all}", "{name: late, match: {model: m}}") == [
        'f.yaml:8 routes[1]: no request gets here: "all" at f.yaml:7 routes[0] takes every one before'
    ]


COVERED = [
    ("{}", "{}"),
    ("{model: m}", "{model: m}"),
    ("{model: 'gpt-*'}", "{model: gpt-4o}"),
    ("{model: 'gpt-*'}", "{model: 'gpt-4*', user: u}"),
    ("{model: '*'}", "{user: u}"),
    ("{model: 'gpt-[45]*'}", "{model: 'gpt-[45]*'}"),
    ("{model: 'gpt-*'}", "{model: 'gpt-[45]o'}"),
    ("{model: 'gpt-?'}", "{model: gpt-4}"),
    ("{tenant: acme}", "{tenant: acme, model: m}"),
    ("{path: /v1/**}", "{path: /v1/messages}"),
    ("{path: /v1/**}", "{path: '/v1/*/completions'}"),
    ("{path: '/v1/*'}", "{path: '/v1/m*'}"),
    ("{path: '/**'}", "{model: m}"),
    ("{path: '/v1/**/completions'}", "{path: /v1/**/chat/completions}"),
    ("{host: '*.example.com'}", "{host: A.example.com.}"),
    ("{host: '*.example.com'}", "{host: '*.a.example.com'}"),
    ("{host: '*.example.com'}", "{host: '{tenant}.example.com'}"),
    ("{headers: {x-a: {present: true}}}", "{headers: {x-a: b}}"),
    ("{headers: {x-a: {present: true}}}", "{headers: {x-a: {regex: b+}}}"),
    ("{headers: {X-A: {equals: b}}}", "{headers: {x-a: b}}"),
    ("{headers: {x-a: {prefix: b}}}", "{headers: {x-a: bc, x-d: e}}"),
    ("{headers: {x-a: {prefix: b}}}", "{headers: {x-a: {prefix: bc}}}"),
    ("{headers: {x-a: {regex: b+}}}", "{headers: {x-a: bb}}"),
    ("{key_labels: {a: b}}", "{key_labels: {a: b, c: d}}"),
    ("{claim: {a: {present: true}}}", "{claim: {a: b}}"),
    ("{claim: {a: {prefix: b}}}", "{claim: {a: bc, d: e}}"),
    ("{claim: {a: b}}", "{claim: {a: b}, user: u}"),
]
NOT_COVERED = [
    ("{claim: {a: b}}", "{headers: {a: b}}"),
    ("{claim: {a: b}}", "{claim: {a: c}}"),
    ("{claim: {a: b}}", "{}"),
    ("{model: m}", "{}"),
    ("{model: gpt-4o}", "{model: 'gpt-*'}"),
    ("{model: 'gpt-?'}", "{model: 'gpt-*'}"),
    ("{model: 'gpt-[*]'}", "{model: 'gpt-*'}"),
    ("{model: '*-*'}", "{model: 'gpt[0-9]o'}"),
    ("{model: '*x*'}", "{model: 'gpt[!x]'}"),
    ("{model: '*]*'}", "{model: 'gpt[]x]'}"),
    ("{tenant: acme}", "{model: m}"),
    ("{user: a}", "{user: b}"),
    ("{path: '/v1/*'}", "{path: /v1/**}"),
    ("{path: '/v1/*/x'}", "{path: /v1/**/x}"),
    ("{path: /v1/messages}", "{}"),
    ("{path: /v1/**/a/**}", "{path: /v1/**}"),
    ("{host: '*.example.com'}", "{host: example.com}"),
    ("{host: '{tenant}.example.com'}", "{host: '*.example.com'}"),
    ("{host: a.example.com}", "{}"),
    ("{headers: {x-a: {present: true}}}", "{headers: {x-a: {present: false}}}"),
    ("{headers: {x-a: {present: false}}}", "{}"),
    ("{headers: {x-a: {prefix: bc}}}", "{headers: {x-a: b}}"),
    ("{headers: {x-a: {prefix: b}}}", "{headers: {x-a: {regex: b+}}}"),
    ("{headers: {x-a: {regex: b+}}}", f"{{headers: {{x-a: {'b' * 300}}}}}"),
    ("{headers: {x-a: b}}", "{headers: {x-c: b}}"),
    ("{key_labels: {a: b, c: d}}", "{key_labels: {a: b}}"),
]


@pytest.mark.parametrize(("earlier", "later"), COVERED)
def test_what_is_covered(earlier: str, later: str) -> None:
    (warning,) = warnings(f"{{name: a, match: {earlier}}}", f"{{name: b, match: {later}}}")

    assert "routes[1]: no request gets here" in warning


@pytest.mark.parametrize(("earlier", "later"), NOT_COVERED)
def test_what_is_not(earlier: str, later: str) -> None:
    assert warnings(f"{{name: a, match: {earlier}}}", f"{{name: b, match: {later}}}") == []


def test_a_prefix_is_for_the_routes_that_take_it_off() -> None:
    """A route for everything is none for requests with a prefix, which another route has to take off."""
    fast = "match: {path: /fast/**}, strip_prefix: /fast"

    assert warnings("{name: all}", f"{{name: fast, {fast}}}") == []
    assert len(warnings(f"{{name: one, {fast}}}", f"{{name: two, {fast}, model: m}}")) == 1


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        ("{name: a, match: {path: /fast/**}}", "nothing is served below /fast; set strip_prefix"),
        (
            "{name: a, match: {path: /fast/chat/completions}, strip_prefix: /fast}",
            "nothing is served below /chat once strip_prefix is off",
        ),
    ],
)
def test_a_path_at_which_nothing_is_served(route: str, reason: str) -> None:
    (warning,) = warnings(route)

    assert warning == f"f.yaml:7 routes[0].match.path: no request gets here: {reason}"


@pytest.mark.parametrize(
    "path", ["/v1/**", "/v1beta/**", "/openai/deployments/**", "/api/chat", "/v2/embed", "/**", "/*/x"]
)
def test_a_path_at_which_something_is(path: str) -> None:
    assert warnings(f"{{name: a, match: {{path: '{path}'}}}}") == []


def test_long_globs_are_compared_soon() -> None:
    """Globs that invite going back, as long as they may be."""
    wide = RouteSettings.model_validate({"name": "a", "match": {"path": "/**/a" * 200 + "/b"}})
    narrow = RouteSettings.model_validate({"name": "b", "match": {"path": "/a" * 500}})

    assert not covers(wide, narrow)
