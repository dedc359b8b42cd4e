"""Which route a request takes."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from llmgw.core.principal import Principal
from llmgw.engine.match import (
    PATH,
    PREFIX,
    Asked,
    Condition,
    Route,
    Routes,
    asked_of,
    claim_begins,
    claim_equals,
    claim_fits,
    claim_present,
    header_begins,
    header_equals,
    header_fits,
    header_present,
    host_is,
    host_name,
    label_is,
    model_is,
    path_is,
    tenant_is,
    user_is,
)
from tests.fakes.exchanges import exchange


def asked(
    *,
    path: str = "/v1/messages",
    prefix: str = "",
    host: str = "",
    fields: Mapping[bytes, bytes] | None = None,
    tenant: str = "acme",
    user: str | None = None,
    labels: tuple[tuple[str, str], ...] = (),
    model: str = "gpt-4o",
) -> Asked:
    return Asked(path, prefix, host, fields or {}, tenant, user, labels, model)


@pytest.mark.parametrize(
    ("glob", "path", "fits"),
    [
        ("/v1/**", "/v1/messages", True),
        ("/v1/**", "/v1/chat/completions", True),
        ("/v1/**", "/v1", True),
        ("/v1/**", "/v1x/messages", False),
        ("/v1/*", "/v1/messages", True),
        ("/v1/*", "/v1/chat/completions", False),
        ("/v1/*", "/v1/", True),
        ("/**", "/", True),
        ("/**/chat/*", "/a/b/chat/completions", True),
        ("/**/chat/*", "/chat/completions", True),
        ("/**/a*c", "/abc/x/abbc", True),
        ("/**/a*c", "/abc/x", False),
        ("/v1/**/x", "/v1/y", False),
        ("/a/**/b/**/c", "/a/b/b/x/c", True),
        ("/a/**/b/**/c", "/a/x/c/b", False),
        ("/v1/models/*:generateContent", "/v1/models/g:generateContent", True),
        ("/v1/m.dels", "/v1/models", False),
        ("/v1/[a-z]*", "/v1/models", False),
        ("/V1/*", "/v1/messages", False),
    ],
)
def test_paths(glob: str, path: str, fits: bool) -> None:
    assert path_is(glob).holds(asked(path=path)) is fits


def test_a_hostile_path_is_decided_soon() -> None:
    """Neither a glob that invites going back nor a path made for it takes long."""
    globs = [path_is("/**/a*" * 40 + "/b"), path_is("/" + "a*" * 500 + "b")]
    paths = ["/a" * 4000, "/" + "a" * 8000, "/x" * 4000]
    began = time.perf_counter()

    assert not any(glob.holds(asked(path=path)) for glob in globs for path in paths)
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("a.example.com", "a.example.com", True),
        ("a.example.com", "b.a.example.com", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", ".example.com", False),
        ("*.example.com", "badexample.com", False),
        ("{tenant}.example.com", "acme.example.com", True),
        ("{tenant}.example.com", "rival.example.com", False),
        ("{tenant}.example.com", "x.acme.example.com", False),
        ("{tenant}.example.com", "", False),
    ],
)
def test_hosts(pattern: str, host: str, fits: bool) -> None:
    assert host_is(pattern).holds(asked(host=host)) is fits


def test_a_tenants_name_in_capitals_is_the_same_host() -> None:
    assert host_is("{tenant}.example.com").holds(asked(host="acme.example.com", tenant="Acme"))


@pytest.mark.parametrize(
    ("field", "name"),
    [
        (b"A.Example.com:8443", "a.example.com"),
        (b"a.example.com.", "a.example.com"),
        (b"[::1]:80", "[::1]:80"),
        (b"", ""),
        (b"\xe9.com", "\xe9.com"),
    ],
)
def test_the_host_in_a_host_field(field: bytes, name: str) -> None:
    assert host_name(field) == name


@pytest.mark.parametrize(
    ("condition", "value", "fits"),
    [
        (header_equals("x", "a"), b"a", True),
        (header_equals("x", "a"), b"A", False),
        (header_equals("x", "a"), None, False),
        (header_equals("x", "ü"), "ü".encode(), True),
        (header_begins("x", "a"), b"ab", True),
        (header_begins("x", "a"), b"ba", False),
        (header_begins("x", "a"), None, False),
        (header_fits("x", "a+"), b"a" * 256, True),
        (header_fits("x", "a+"), b"a" * 257, False),
        (header_fits("x", "a"), b"ab", False),
        (header_fits("x", ".*"), None, False),
        (header_present("x", True), b"", True),
        (header_present("x", True), None, False),
        (header_present("x", False), None, True),
        (header_present("x", False), b"", False),
    ],
    ids=lambda value: value.text if isinstance(value, Condition) else repr(value)[:12],
)
def test_headers(condition: Condition, value: bytes | None, fits: bool) -> None:
    assert condition.holds(asked(fields={} if value is None else {b"x": value})) is fits


def test_who_asks_for_what() -> None:
    alice = asked(user="alice", labels=(("team", "red"),))

    assert user_is("alice").holds(alice)
    assert not user_is("bob").holds(alice)
    assert not user_is("alice").holds(asked())
    assert label_is("team", "red").holds(alice)
    assert not label_is("team", "blue").holds(alice)
    assert not label_is("team", "red").holds(asked())
    assert model_is("gpt-*").holds(alice)
    assert not model_is("gpt").holds(alice)
    assert tenant_is("acme").holds(alice)


ROUTES = [
    Route("rival", "", (tenant_is("rival"),)),
    Route("fast", "/fast", (path_is("/fast/**"),)),
    Route("mini", "", (model_is("gpt-*"), user_is("alice"))),
    Route("gpt", "", (model_is("gpt-*"),)),
    Route("never", "", (model_is("gpt-4*"),)),
]


def test_first_match_wins_and_the_others_are_told() -> None:
    routes = Routes(ROUTES)

    assert routes.first(asked()) == "gpt"
    assert routes.first(asked(user="alice")) == "mini"
    assert routes.first(asked(path="/fast/v1/messages", prefix="/fast")) == "fast"
    assert routes.first(asked(model="claude")) is None
    assert routes.first(asked(tenant="rival")) == "rival"
    assert routes.considered(asked()) == [
        ("rival", "not so: tenant is rival"),
        ("fast", "not so: path is /fast/**"),
        ("mini", "not so: user is alice"),
        ("gpt", None),
    ]


def test_a_request_with_a_prefix_is_for_the_routes_that_take_it_off() -> None:
    routes = Routes(ROUTES)
    other = asked(path="/slow/v1/messages", prefix="/slow")

    assert routes.first(other) is None
    assert routes.considered(other)[3] == ("gpt", "it takes no /slow off the path")


def test_what_is_told_is_what_is_done() -> None:
    """For every request, the route taken is the last that was considered, or none matched."""
    routes = Routes(ROUTES)
    for tenant in ("acme", "rival"):
        for user in (None, "alice"):
            for model in ("gpt-4o", "claude"):
                for prefix in ("", "/fast", "/slow"):
                    one = asked(
                        tenant=tenant, user=user, model=model, prefix=prefix, path=f"{prefix}/v1/messages"
                    )
                    name, lacks = routes.considered(one)[-1]
                    assert routes.first(one) == (name if lacks is None else None)


def test_only_what_is_short_is_kept() -> None:
    """Model names are the callers' words: many do not fill the memory, nor do long ones."""
    routes = Routes(ROUTES)
    for number in range(5000):
        routes.first(asked(model=f"gpt-{number}"))
    kept = len(routes._open)

    assert routes.first(asked(model="gpt-" + "4" * 1_000_000)) == "gpt"
    assert routes.first(asked(path="/v1/models/" + "g" * 8000)) == "gpt"
    assert kept <= 4096
    assert len(routes._open) == kept


def test_what_is_asked_is_read_off_the_exchange() -> None:
    principal = Principal("acme", "alice", "k", None, (("team", "red"),))
    ex = exchange(principal=principal, fields={b"host": b"A.com:1"})

    assert asked_of(ex) == Asked(
        "/v1/chat/completions", "", "a.com", ex.fields, "acme", "alice", (("team", "red"),), "m"
    )

    ex.fields |= {PATH: b"/v1/models/g:generateContent", PREFIX: b"/fast"}
    assert (asked_of(ex).path, asked_of(ex).prefix) == ("/fast/v1/models/g:generateContent", "/fast")


CLAIMS = (("groups", ("users", "staff")), ("realm.org", ("acme",)), ("long", ("x" * 257,)), ("nothing", ()))


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (claim_equals("groups", "staff"), True),
        (claim_equals("groups", "staf"), False),
        (claim_equals("groups", "users,staff"), False),
        (claim_equals("gone", ""), False),
        (claim_begins("realm.org", "ac"), True),
        (claim_begins("realm.org", "b"), False),
        (claim_fits("groups", "s.+"), True),
        (claim_fits("groups", "s"), False),
        (claim_fits("long", "x+"), False),
        (claim_present("nothing", True), True),
        (claim_present("gone", True), False),
        (claim_present("gone", False), True),
        (claim_present("groups", False), False),
    ],
)
def test_of_a_claim_with_several_values_one_must_fit(condition: Condition, holds: bool) -> None:
    """A claim that is not there fits nothing."""
    who = Asked("/", "", "", {}, "acme", None, (), "m", CLAIMS)

    assert condition.holds(who) is holds
    assert not condition.settled


def test_a_request_is_asked_for_the_claims_of_its_principal() -> None:
    ex = exchange(principal=Principal("acme", claims=CLAIMS), fields={b"host": b"x"})

    assert asked_of(ex).claims == CLAIMS
