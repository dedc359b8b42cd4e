"""Differences in meaning, and whom they concern."""

from __future__ import annotations

from typing import Any

from llmgw.config.diff import changes
from llmgw.config.load import document_from_text

BASE = """
version: 1
providers:
  a: {kind: echo}
  b: {kind: openai, api_key: "${env:B}"}
models:
  m: {targets: [{provider: a, model: x}]}
limits: {per_tenant: {requests: 100, window: 1m}}
tenants:
  acme: {users: {alice: {}}}
  bolt: {}
"""


def shown(text: str) -> dict[str, Any]:
    return document_from_text(text).model_dump(mode="json")


def found(text: str) -> dict[str, tuple[str, str]]:
    return {change.path: (change.kind, change.affects) for change in changes(shown(BASE), shown(text))}


def test_order_comments_and_defaults_are_no_difference() -> None:
    text = BASE.replace("  a: {kind: echo}\n", "").replace("models:", "  a: {kind: echo} # moved\nmodels:")

    assert found(text) == {}


def test_another_order_of_what_has_none_is_no_difference() -> None:
    text = BASE.replace("  bolt: {}", "  bolt: {allow_models: [m, n], hosts: [a.test, b.test]}")
    text += "limits: {per_user: [{requests: 5, window: 1m}, {requests: 9, window: 1h}]}\n"
    text = text.replace("limits: {per_tenant: {requests: 100, window: 1m}}\n", "")
    turned = text.replace("[m, n]", "[n, m]").replace("[a.test, b.test]", "[b.test, a.test]")
    one, two = "{requests: 5, window: 1m}", "{requests: 9, window: 1h}"
    turned = turned.replace(f"[{one}, {two}]", f"[{two}, {one}]")

    assert between(text, turned) == {}


def test_a_list_of_words_is_told_whole() -> None:
    """What stays in it, in another place, has not changed."""
    text = BASE.replace("  bolt: {}", "  bolt: {allow_models: [m, n]}")

    (change,) = changes(shown(text), shown(text.replace("[m, n]", "[n, o]")))

    assert (change.kind, change.path) == ("changed", "tenants.bolt.allow_models")
    assert (change.before, change.after) == (["m", "n"], ["n", "o"])


def test_a_route_of_one_tenant_concerns_those_whom_it_refuses() -> None:
    more = ROUTES.replace("routes:\n", "routes:\n  - {name: zero, tenant: acme, model: m}\n")

    assert between(ROUTES, more) == {"routes.zero": ("added", "route zero, every tenant")}


def test_added_and_removed_things_are_told_whole() -> None:
    text = BASE.replace("  bolt: {}", "  core: {}").replace("models:\n", "models:\n  n: {targets: [a/y]}\n")
    text = text.replace("[a/y]", "[{provider: a, model: y}]")

    assert found(text) == {
        "models.n": ("added", "model n, tenants acme, core"),
        "tenants.core": ("added", "tenant core"),
        "tenants.bolt": ("removed", "tenant bolt"),
    }


def test_a_target_is_known_by_what_it_calls() -> None:
    """So one that is put before another does not change that one."""
    text = BASE.replace(
        "[{provider: a, model: x}]", "[{provider: b, model: z}, {provider: a, model: x, weight: 2}]"
    )

    assert found(text) == {
        "models.m.targets.b/z": ("added", "model m, every tenant"),
        "models.m.targets.a/x.weight": ("changed", "model m, every tenant"),
    }


ROUTES = (
    BASE
    + """
routes:
  - {name: one, match: {user: alice}, model: m}
  - {name: two, match: {tenant: bolt}, targets: [{provider: a, model: y}]}
"""
)


def between(before: str, after: str) -> dict[str, tuple[str, str]]:
    return {change.path: (change.kind, change.affects) for change in changes(shown(before), shown(after))}


def test_routes_are_known_by_their_names() -> None:
    more = ROUTES.replace("routes:\n", "routes:\n  - {name: zero, match: {host: a.test}, model: m}\n")

    assert between(ROUTES, more) == {"routes.zero": ("added", "route zero, every tenant")}
    assert between(ROUTES, ROUTES.replace("{tenant: bolt}", "{tenant: acme}")) == {
        "routes.two.match.tenant": ("changed", "route two, every tenant")
    }


def test_routes_in_another_order_are_told_as_such() -> None:
    """The first that matches wins."""
    first, second = [line + "\n" for line in ROUTES.splitlines() if line.startswith("  - ")]
    swapped = ROUTES.replace(first + second, second + first)

    (change,) = changes(shown(ROUTES), shown(swapped))

    assert (change.kind, change.path) == ("moved", "routes")
    assert (change.before, change.after) == (["one", "two"], ["two", "one"])
    assert change.affects == "everybody"


def test_a_provider_concerns_those_who_come_to_it_by_a_model_or_a_route() -> None:
    assert between(ROUTES, ROUTES.replace("a: {kind: echo}", "a: {kind: echo, first_token: 5ms}")) == {
        "providers.a.first_token": ("changed", "model m, route two, every tenant")
    }
    assert between(ROUTES, ROUTES.replace("env:B", "env:C")) == {
        "providers.b.api_key": ("changed", "nobody: no model or route of a tenant calls b")
    }
    alone = BASE.replace("bolt: {}", "bolt: {deny_models: ['*']}")
    assert between(alone, alone.replace("a: {kind: echo}", "a: {kind: echo, first_token: 5ms}")) == {
        "providers.a.first_token": ("changed", "model m, tenant acme")
    }


def test_a_provider_concerns_nobody_who_has_one_of_that_name() -> None:
    """Neither by a model nor by a route."""
    text = BASE.replace("bolt: {}", "bolt: {providers: {a: {kind: echo}}}")
    text += "routes: [{name: one, targets: [{provider: a, model: z}]}]\n"

    changed = between(text, text.replace("  a: {kind: echo}\n", "  a: {kind: echo, first_token: 5ms}\n"))

    assert changed == {"providers.a.first_token": ("changed", "model m, route one, tenant acme")}


def test_a_shared_limit_leaves_those_alone_who_have_their_own() -> None:
    text = BASE.replace("bolt: {}", "bolt: {}\n  core: {limits: {per_tenant: {requests: 5}}}")

    changed = between(text, text.replace("requests: 100", "requests: 200"))

    (who,) = {affects for _, affects in changed.values()}
    assert who == "every tenant but core with its own"


def test_quotas_are_known_by_what_they_count() -> None:
    text = BASE + "quotas:\n  - {per: tenant, tokens: 5, window: day}\n"
    more = text.replace("quotas:\n", "quotas:\n  - {per: user, requests: 9, window: day}\n")

    assert between(text, more) == {"quotas.user-requests-day": ("added", "every user that it is for")}
    assert list(between(text, text.replace("tokens: 5", "tokens: 6"))) == ["quotas.tenant-tokens-day.tokens"]


def test_what_needs_a_restart_and_what_concerns_no_request() -> None:
    assert between(BASE, BASE + "server: {lame_duck: 9s}\nlogging: {level: debug}\n") == {
        "server.lame_duck": (
            "changed",
            "nobody until a restart: a reload that changes this is refused whole",
        ),
        "logging.level": ("changed", "no request, but what is logged"),
    }


def test_a_limit_that_is_for_everybody() -> None:
    changed = between(BASE, BASE.replace("per_tenant: {", "global: {"))

    assert {path.split(".")[1]: who for path, (_, who) in changed.items()}["global"] == "everybody"


def test_a_limit_of_one_user() -> None:
    changed = found(BASE.replace("alice: {}", "alice: {limits: {per_user: {requests: 5, window: 1m}}}"))

    assert {who for _, who in changed.values()} == {"tenant acme, user alice"}


def test_another_reference_to_a_secret_but_never_a_secret() -> None:
    (change,) = changes(shown(BASE), shown(BASE.replace("env:B", "env:C")))

    assert (change.path, change.before, change.after) == ("providers.b.api_key", "${env:B}", "${env:C}")
    assert "sk-live" not in str(changes(shown(BASE), shown(BASE.replace("${env:B}", "sk-live"))))


def test_keys_are_known_by_their_id() -> None:
    digest = "sha256:" + "0" * 64

    def keys(*ids: str) -> dict[str, Any]:
        return {"tenants": {"t": {"keys": [{"id": one, "hash": digest} for one in ids]}}}

    (change,) = changes(keys("one", "two"), keys("three", "two", "one"))

    assert (change.kind, change.path) == ("added", "tenants.t.keys.three")
    assert change.affects == "tenant t, key three"
