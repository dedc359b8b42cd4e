"""Routes as clients meet them: real sockets at both ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.raw_client import chat
from tests.fakes.routes import refused, running, taken
from tests.fakes.upstream import ScriptedUpstream, delay, hang, json_reply

OK = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply(OK))
        yield up


def header(value: str, name: str = "x-team") -> dict[str, Any]:
    return {"headers": {name: value}}


FITS = [
    ("{}", {}),
    ("{path: /v1/chat/*}", {}),
    ("{path: /**}", {}),
    ("{headers: {x-team: research}}", header("research")),
    ("{headers: {X-Team: {equals: research}}}", header("research", "X-TEAM")),
    ("{headers: {x-team: {prefix: re}}}", header("research")),
    ("{headers: {x-team: {regex: 'eu-[0-9]+'}}}", header("eu-12")),
    ("{headers: {x-team: {present: true}}}", header("")),
    ("{headers: {x-team: {present: false}}}", {}),
    ("{headers: {x-team: a, x-stage: b}}", {"headers": {"x-team": "a", "x-stage": "b"}}),
    ("{host: llm.example.com}", header("LLM.example.com.:8443", "host")),
    ("{host: '*.example.com'}", header("a.b.example.com", "host")),
    ("{host: '{tenant}.example.com'}", header("acme.example.com", "host")),
    ("{host: '{tenant}.example.com'}", {"key": "sk-rival", **header("rival.example.com", "host")}),
    ("{user: alice}", {}),
    ("{tenant: rival}", {"key": "sk-rival"}),
    ("{key_labels: {team: red}}", {"key": "sk-red"}),
    ("{model: 'ec*'}", {}),
    ("{tenant: acme, user: alice, model: echo, path: /v1/chat/completions}", {}),
]
FITS_NOT = [
    ("{path: /v1/chat/*}", {"path": "/v1/responses", "body": {"model": "echo", "input": "hi"}}),
    ("{headers: {x-team: research}}", {}),
    ("{headers: {x-team: research}}", header("Research")),
    ("{headers: {x-team: {prefix: re}}}", header("sales")),
    ("{headers: {x-team: {regex: 'eu-[0-9]+'}}}", header("eu-12x")),
    ("{headers: {x-team: {regex: 'a*'}}}", {}),
    ("{headers: {x-team: {present: true}}}", {}),
    ("{headers: {x-team: {present: false}}}", header("")),
    ("{headers: {x-team: a, x-stage: b}}", header("a")),
    ("{host: llm.example.com}", header("a.llm.example.com", "host")),
    ("{host: '*.example.com'}", header("example.com", "host")),
    ("{host: '*.example.com'}", header("notexample.com", "host")),
    ("{host: '{tenant}.example.com'}", header("rival.example.com", "host")),
    ("{user: alice}", {"key": "sk-held"}),
    ("{tenant: acme}", {"key": "sk-rival"}),
    ("{key_labels: {team: red}}", {"key": "sk-blue"}),
    ("{key_labels: {team: red}}", {}),
    ("{model: 'ec*'}", {"model": "a"}),
    ("{tenant: acme, user: bob}", {}),
]


@pytest.mark.parametrize(("match", "how"), FITS, ids=lambda value: str(value))
async def test_a_request_takes_the_route_that_it_fits(
    upstream: ScriptedUpstream, match: str, how: dict[str, Any]
) -> None:
    async with running(upstream, f"{{name: r, match: {match}}}") as gateway:
        assert await taken(gateway, **how) == "r"


@pytest.mark.parametrize(("match", "how"), FITS_NOT, ids=lambda value: str(value))
async def test_a_request_that_fits_none_goes_by_its_models_name(
    upstream: ScriptedUpstream, match: str, how: dict[str, Any]
) -> None:
    async with running(upstream, f"{{name: r, match: {match}, model: b}}") as gateway:
        assert await taken(gateway, **how) is None
        assert (await gateway.settled())[-1].model != "b"


async def test_the_first_route_that_fits_is_taken(upstream: ScriptedUpstream) -> None:
    routes = ["{name: one, match: {user: bob}}", "{name: two, match: {user: alice}}", "{name: three}"]
    async with running(upstream, *routes) as gateway:
        assert await taken(gateway) == "two"
        assert await taken(gateway, key="sk-rival") == "three"


async def test_a_route_says_which_model_answers(upstream: ScriptedUpstream) -> None:
    """The answer's header and the record name it, and it goes up under the target's name."""
    async with running(upstream, "{name: r, model: b, match: {model: 'gpt-*'}}") as gateway:
        answer = await gateway.ask(chat(model="gpt-4o"))
        (record,) = await gateway.settled()

        assert answer.headers["x-llmgw-model"] == "b"
        assert upstream.requests[0].json["model"] == "b"
        assert (record.route, record.model, record.upstream_model) == ("r", "b", "b")


async def test_a_name_that_only_a_route_knows_is_shown_to_ollamas_clients(upstream: ScriptedUpstream) -> None:
    """They look at a model before they ask it."""
    async with running(upstream, "{name: r, model: b, match: {model: auto}}") as gateway:
        shown = await gateway.ask({"model": "auto"}, path="/api/show")

        assert (shown.status, shown.json["capabilities"]) == (200, ["completion", "tools"])


async def test_targets_of_its_own_answer_under_the_name_that_was_asked_for(
    upstream: ScriptedUpstream,
) -> None:
    """By its own strategy, and in the model's place even when that is not configured."""
    targets = "[{provider: up, model: x, weight: 0}, {provider: up, model: y}]"
    async with running(
        upstream, f"{{name: r, targets: {targets}, strategy: weighted, match: {{model: vip}}}}"
    ) as gateway:
        answer = await gateway.ask(chat(model="vip"))
        for _ in range(9):
            await gateway.ask(chat(model="vip"))
        records = await gateway.settled(10)

        assert (answer.headers["x-llmgw-model"], answer.headers["x-llmgw-provider"]) == ("vip", "up")
        assert {one.json["model"] for one in upstream.requests} == {"y"}
        assert {(one.route, one.model, one.upstream_model) for one in records} == {("r", "vip", "y")}


async def test_targets_of_its_own_have_no_stand_in(upstream: ScriptedUpstream) -> None:
    """What a route sends to chosen targets never falls back to where its model would have gone."""
    upstream.default(json_reply({"error": {"message": "no", "type": "t", "code": "x"}}, 500))
    models = "c: {targets: [{provider: up, model: c}], fallbacks: [{model: echo}], retry: {base: 1ms}}\n"
    async with running(
        upstream, "{name: r, match: {user: alice}, targets: [{provider: up, model: x}]}", models=models
    ) as gateway:
        failed = await gateway.ask(chat(model="c"))
        stood_in = await gateway.ask(chat(model="c"), key="sk-rival")

        assert failed.status >= 500
        assert stood_in.status == 200
        assert {one.json["model"] for one in upstream.requests} == {"x", "c"}


async def test_a_route_of_a_tenant_refuses_the_others(upstream: ScriptedUpstream) -> None:
    async with running(upstream, "{name: r, tenant: rival}") as gateway:
        assert await refused(gateway, key="sk-test") == (403, "permission_denied")
        assert await refused(gateway, key="sk-wrong") == (401, "invalid_credentials")
        assert await taken(gateway, key="sk-rival") == "r"
        assert len(gateway.records) == 1


async def test_c02_a_tenants_host_is_held_before_any_route(upstream: ScriptedUpstream) -> None:
    route = "{name: r, match: {host: acme.example.com}}"
    async with running(upstream, route, acme="hosts: [acme.example.com]") as gateway:
        assert await taken(gateway, **header("acme.example.com", "host")) == "r"
        assert (await refused(gateway, key="sk-rival", **header("acme.example.com", "host")))[0] == 403


NO_WAY_ROUND = [
    ("{name: r, model: b}", "sk-held", "echo"),
    ("{name: r, model: b}", "sk-held", "b"),
    ("{name: r, targets: [{provider: up, model: x}]}", "sk-held", "a"),
    ("{name: r}", "sk-held", "a"),
    ("{name: r, model: forbidden}", "sk-test", "echo"),
    ("{name: r, targets: [{provider: up, model: x}]}", "sk-test", "forbidden"),
    ("{name: r}", "sk-test", "forbidden"),
]


@pytest.mark.parametrize(("route", "key", "model"), NO_WAY_ROUND)
async def test_a_route_is_no_way_round_what_a_key_or_a_tenant_may_use(
    upstream: ScriptedUpstream, route: str, key: str, model: str
) -> None:
    """sk-held may use echo alone, and its tenant must not use `forbidden`: whatever the route says."""
    models = "forbidden: {targets: [{provider: up, model: forbidden}]}\n"
    async with running(upstream, route, models=models) as gateway:
        assert await refused(gateway, key=key, model=model) == (403, "permission_denied")
        assert not upstream.requests
        assert not gateway.records


async def test_a_key_may_use_what_its_route_leads_to(upstream: ScriptedUpstream) -> None:
    """The name that answers is what the key is held to, not the one that was asked for."""
    async with running(upstream, "{name: r, model: echo, match: {model: gpt-4o}}") as gateway:
        assert await taken(gateway, key="sk-held", model="gpt-4o") == "r"


NO_LIMITS = dict.fromkeys(("global", "per_tenant", "per_user", "per_ip", "concurrency"), "off")


def limits(**levels: str) -> str:
    return "limits: {" + ", ".join(f"{name}: {rule}" for name, rule in (NO_LIMITS | levels).items()) + "}\n"


async def test_a_refusal_by_the_routes_limit_takes_nothing_elsewhere(upstream: ScriptedUpstream) -> None:
    hour = "{requests: 100, window: 1h}"
    levels = {"global": hour, "per_tenant": hour, "per_user": hour, "per_model": hour}
    route = "{name: r, match: {headers: {x-team: re}}, limits: {per_route: {requests: 2, window: 1h}}}"
    extra = (
        limits(**levels, concurrency="{in_flight: 10}")
        + "quotas: [{per: user, requests: 100, window: day}]\n"
    )
    async with running(upstream, route, extra=extra) as gateway:
        answers = [await gateway.ask(chat(model="echo"), **header("re")) for _ in range(5)]
        elsewhere = await gateway.ask(chat(model="echo"))
        await gateway.settled(3)

        assert [answer.status for answer in answers] == [200, 200, 429, 429, 429]
        assert answers[0].headers["x-ratelimit-policy"].split(",").count("per-route") == 1
        assert "per-route" not in elsewhere.headers["x-ratelimit-policy"]
        for level in levels:
            assert gateway.used(level) == 3, level
        assert gateway.used("per_route") == 2
        assert gateway.spent("requests") == 3
        assert gateway.in_flight == gateway.held == 0


async def test_a_refusal_elsewhere_takes_nothing_of_the_routes_limit(upstream: ScriptedUpstream) -> None:
    route = "{name: r, limits: {per_route: {requests: 10, window: 1h}}}"
    async with running(upstream, route, extra=limits(per_user="{requests: 1, window: 1h}")) as gateway:
        statuses = [(await gateway.ask(chat(model="echo"))).status for _ in range(3)]

        assert statuses == [200, 429, 429]
        assert gateway.used("per_route") == 1


async def test_a_routes_limit_is_of_all_tenants_and_models_together(upstream: ScriptedUpstream) -> None:
    route = "{name: r, limits: {per_route: {requests: 3, window: 1h}}}"
    async with running(upstream, route, extra=limits()) as gateway:
        statuses = [
            (await gateway.ask(chat(model=model), key=key)).status
            for key, model in (("sk-test", "a"), ("sk-rival", "b"), ("sk-test", "echo"), ("sk-rival", "a"))
        ]

        assert statuses == [200, 200, 200, 429]


async def test_every_route_has_the_limit_per_route_for_itself(upstream: ScriptedUpstream) -> None:
    """And a route's own word comes before it."""
    routes = [
        "{name: one, match: {user: alice}}",
        "{name: two, match: {tenant: rival}}",
        "{name: free, limits: {per_route: off}}",
    ]
    extra = limits(per_route="{requests: 1, window: 1h}")
    async with running(upstream, *routes, extra=extra) as gateway:
        keys = ("sk-test", "sk-test", "sk-rival", "sk-rival", "sk-red", "sk-red")
        statuses = [(await gateway.ask(chat(model="echo"), key=key)).status for key in keys]

        assert statuses == [200, 429, 200, 429, 200, 200]


async def test_a_route_waits_as_long_as_it_says(upstream: ScriptedUpstream) -> None:
    """What it does not say is as its model says, its own targets included."""
    upstream.default(hang())
    models = "slow: {targets: [{provider: up, model: s}], retry: {attempts: 1}, timeouts: {total: 300ms}}\n"
    routes = [
        "{name: short, match: {headers: {x-team: re}}, timeouts: {total: 200ms}}",
        "{name: own, match: {model: slow}, targets: [{provider: up, model: t}], timeouts: {idle: 7s}}",
    ]
    async with running(upstream, *routes, models=models) as gateway:
        loop = asyncio.get_running_loop()
        began = loop.time()
        short = await gateway.ask(chat(model="a"), **header("re"))
        own = await gateway.ask(chat(model="slow"))

        assert (short.status, own.status) == (504, 504)
        assert loop.time() - began < 4


async def test_a_stream_by_a_route(upstream: ScriptedUpstream) -> None:
    async with running(upstream, "{name: r, model: echo}") as gateway:
        answer = await gateway.ask(chat(model="gpt-4o", stream=True))
        (record,) = await gateway.settled()

        assert answer.headers["x-llmgw-model"] == "echo"
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert (record.route, record.streamed) == ("r", True)


async def test_a_hostile_value_is_decided_soon(upstream: ScriptedUpstream) -> None:
    """A pattern at the edge of what is accepted, and the longest value that it is tried on."""
    route = "{name: r, match: {headers: {x-team: {regex: '[ab]*a[ab]*c'}}}}"
    async with running(upstream, route) as gateway:
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await taken(gateway, **header("a" * 256)) is None
        assert await taken(gateway, **header("a" * 4096)) is None

        assert loop.time() - began < 2


async def test_b13_names_that_callers_make_up_are_not_kept(upstream: ScriptedUpstream) -> None:
    """A name of a megabyte is matched and refused, and nothing of it stays in memory."""
    routes = ["{name: x, match: {model: 'x*'}}", "{name: r, targets: [{provider: demo, model: echo}]}"]
    async with running(upstream, *routes) as gateway:
        long = await gateway.ask(json.dumps(chat(model="y" * 500_000)).encode())
        longer = await gateway.ask(json.dumps(chat(model="x" * 500_000)).encode())

        assert (long.status, longer.status) == (404, 404)
        assert "y" * 129 not in long.body.decode()
        assert await taken(gateway, model="y" * 256) == "r"
        plans = gateway.gateway.generation.match.__self__  # type: ignore[attr-defined]
        assert not any(len(model) > 256 for *_, model in plans._routes._open)
        assert not any(len(model) > 256 for _, model, _ in plans._routed)


async def test_a_reload_changes_routes_for_the_next_request(upstream: ScriptedUpstream) -> None:
    async with running(upstream, "{name: r, model: b, match: {user: alice}}") as gateway:
        assert await taken(gateway, model="a") == "r"
        gateway.reload("routes: [{name: other, model: echo}]\n")
        assert await taken(gateway, model="a") == "other"
        gateway.reload("")
        assert await taken(gateway, model="a") is None


async def test_l05_a_route_is_removed_with_a_request_under_way(upstream: ScriptedUpstream) -> None:
    """It ends as it began, on its route's model; the next one finds no route."""
    upstream.script(delay(0.3), json_reply(OK))
    async with running(upstream, "{name: r, model: b}") as gateway:
        client = await gateway.open(chat(model="a"))
        assert await upstream.received(1)
        gateway.reload("")
        answer = await client.read_answer()
        (record,) = await gateway.settled()

        assert (answer.status, record.route, record.model) == (200, "r", "b")
        assert await taken(gateway, model="a") is None
