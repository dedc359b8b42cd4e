"""Tokens of other issuers as clients bring them: real sockets on every side."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.gateway import RunningGateway
from tests.fakes.issuer import DISCOVERY, INTROSPECT, KEYS, FakeIssuer, public_jwk, running_issuer, signed
from tests.fakes.process import GatewayProcess, rows, within
from tests.fakes.raw_client import Answer, chat
from tests.fakes.upstream import ScriptedUpstream, json_reply

OK = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with running_issuer() as made:
        yield made


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply(OK))
        yield up


def running(
    upstream: ScriptedUpstream, issuer: FakeIssuer, extra: str = "", acme: str = "", **settings: object
) -> RunningGateway:
    """A gateway that takes the issuer's tokens."""
    auth = f"auth: {{jwt: [{issuer.settings(**settings)}]}}\n"
    return RunningGateway(upstream, extra=f"{auth}{extra}", acme=acme)


async def ask(gateway: RunningGateway, token: str, model: str = "echo", **how: Any) -> Answer:
    return await gateway.ask(chat(model=model), key=token, **how)


async def test_a_token_of_the_issuer_lets_its_holder_in(
    upstream: ScriptedUpstream, issuer: FakeIssuer
) -> None:
    """Found by discovery; the record says who and of which tenant, and no credential goes upstream."""
    async with running(upstream, issuer) as gateway:
        token = issuer.token()
        answers = [await ask(gateway, token, "gpt-4o") for _ in range(3)]
        record = (await gateway.settled(3))[-1]

        assert [answer.status for answer in answers] == [200, 200, 200]
        assert (record.tenant, record.user, record.key_id) == ("acme", "alice", "jwt:alice")
        assert issuer.requests == [DISCOVERY, KEYS]
        assert not any(token.encode() in one.head + one.body for one in upstream.requests)


async def test_api_keys_work_beside_tokens(upstream: ScriptedUpstream, issuer: FakeIssuer) -> None:
    async with running(upstream, issuer) as gateway:
        assert (await ask(gateway, "sk-test")).status == 200
        assert (await ask(gateway, "sk-nobody")).json["error"]["message"] == "the API key is not valid"


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/v1/chat/completions", chat(model="echo"), ("error", "message")),
        ("/v1/messages", {"model": "echo", "max_tokens": 5, "messages": []}, ("error", "message")),
    ],
)
async def test_a_refusal_has_the_callers_own_shape(
    upstream: ScriptedUpstream, issuer: FakeIssuer, path: str, body: object, where: tuple[str, str]
) -> None:
    """RFC 6750: what is wrong stands in `WWW-Authenticate` too, once."""
    async with running(upstream, issuer) as gateway:
        expired = await gateway.ask(body, path=path, key=issuer.token(exp=time.time() - 61))
        wrong = await gateway.ask(body, path=path, key=issuer.token(aud="another"))

        assert (expired.status, wrong.status) == (401, 401)
        assert expired.json[where[0]][where[1]] == "the token has expired"
        assert wrong.json[where[0]][where[1]] == "the token is not valid"
        challenge = 'Bearer error="invalid_token", error_description="the token has expired"'
        assert expired.headers["www-authenticate"] == challenge
        assert wrong.headers["x-llmgw-code"] == "invalid_credentials"
        assert [report.detail for report in gateway.reports] == [
            "the token is refused: it has expired",
            "the token is refused: it is for another audience",
        ]


async def test_c03_a_token_for_one_tenant_does_nothing_elsewhere(
    upstream: ScriptedUpstream, issuer: FakeIssuer
) -> None:
    """Neither at another's host nor by a header, and not for a tenant that is not there."""
    async with running(upstream, issuer, acme="hosts: [acme.example.com]") as gateway:
        rival = issuer.token(org="rival")
        elsewhere = await ask(gateway, rival, headers={"host": "acme.example.com"})
        at_home = await ask(gateway, rival, headers={"x-tenant": "acme"})
        nowhere = await ask(gateway, issuer.token(org="nobody"))
        unsaid = await ask(gateway, issuer.token(org=None))

        assert [one.status for one in (elsewhere, at_home, nowhere, unsaid)] == [403, 200, 403, 403]
        assert nowhere.json["error"]["code"] == "permission_denied"
        assert "no tenant 'nobody'" in nowhere.json["error"]["message"]
        assert "claim org" in unsaid.json["error"]["message"]
        assert {one.tenant for one in await gateway.settled()} == {"rival"}


async def test_an_issuer_speaks_only_for_the_tenants_it_was_given(
    upstream: ScriptedUpstream, issuer: FakeIssuer
) -> None:
    async with running(upstream, issuer, tenants=["acme"]) as gateway:
        assert (await ask(gateway, issuer.token())).status == 200
        refused = await ask(gateway, issuer.token(org="rival"))
        assert (refused.status, refused.json["error"]["code"]) == (403, "permission_denied")


async def test_a_tenants_models_and_a_users_limits_hold_for_tokens(
    upstream: ScriptedUpstream, issuer: FakeIssuer
) -> None:
    """A new token is the same person: limits go on."""
    acme = "allow_models: [echo]\nusers: {alice: {limits: {per_user: {requests: 2, window: 1h}}}}"
    async with running(upstream, issuer, acme=acme) as gateway:
        assert (await ask(gateway, issuer.token(), "gpt-4o")).status == 403
        statuses = [(await ask(gateway, issuer.token(jti=str(turn)))).status for turn in range(3)]
        others = await ask(gateway, issuer.token(sub="bob"))

        assert statuses == [200, 200, 429]
        assert others.status == 200


async def test_scopes_and_models_of_a_token_hold(upstream: ScriptedUpstream, issuer: FakeIssuer) -> None:
    claims = {"tenant": "org", "allow_models": "ai.models"}
    async with running(upstream, issuer, claims=claims, required_scopes=["llm"]) as gateway:
        good = issuer.token(scope="openid llm", ai={"models": ["echo", "claude-*"]})
        assert (await ask(gateway, good)).status == 200
        assert (await ask(gateway, good, "gpt-4o")).status == 403
        assert (await ask(gateway, issuer.token(scope="llm"))).status == 403

        lacking = await ask(gateway, issuer.token(scope="openid"))
        assert lacking.status == 403
        assert lacking.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="llm"'


async def test_routes_look_at_claims(upstream: ScriptedUpstream, issuer: FakeIssuer) -> None:
    """Those of a key are none, whatever it sends."""
    routes = (
        "routes:\n"
        "  - {name: staff, match: {claim: {realm.groups: staff, email: {regex: '.+@acme[.]test'}}}}\n"
        "  - {name: batch, match: {claim: {tier: {prefix: batch-}}}}\n"
        "  - {name: tokens, match: {claim: {sub: {present: true}}}}\n"
    )

    async def taken(gateway: RunningGateway, token: str) -> str | None:
        before = len(gateway.records)
        assert (await ask(gateway, token, headers={"x-realm": "staff"})).status == 200
        return (await gateway.settled(before + 1))[-1].route

    async with running(upstream, issuer, routes) as gateway:
        staff = {"realm": {"groups": ["users", "staff"]}}
        assert await taken(gateway, issuer.token(email="a@acme.test", **staff)) == "staff"
        assert await taken(gateway, issuer.token(email="a@else.test", **staff)) == "tokens"
        assert await taken(gateway, issuer.token(tier="batch-night")) == "batch"
        assert await taken(gateway, "sk-test") is None


async def test_d16_forged_tokens_are_slowed_down_and_push_nobody_out(
    upstream: ScriptedUpstream, issuer: FakeIssuer
) -> None:
    extra = (
        f"auth: {{jwt: [{issuer.settings()}]}}\n"
        "limits: {per_ip: {requests: 20, window: 1m, exempt: [], apply_to: unauthenticated}}\n"
    )
    async with RunningGateway(upstream, extra=extra, clock=FakeClock().clock) as gateway:
        good = issuer.token()
        assert (await ask(gateway, good)).status == 200
        forged = [good[:-10] + f"{turn:010}" for turn in range(30)]
        statuses = [(await ask(gateway, one)).status for one in forged]

        assert statuses == [401] * 20 + [429] * 10
        assert (await ask(gateway, good)).status == 200


async def test_d10_a_key_that_was_rotated_in_costs_no_request(
    upstream: ScriptedUpstream, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first token with it makes the issuer asked, and waits for the answer."""
    monkeypatch.setattr("llmgw.auth.issuer_keys.REST_S", 0.0)
    async with running(upstream, issuer) as gateway:
        assert (await ask(gateway, issuer.token())).status == 200
        issuer.keys = [public_jwk("two")]
        new = [await ask(gateway, issuer.token("two")) for _ in range(3)]
        old = await ask(gateway, issuer.token("one"))

        assert [answer.status for answer in (*new, old)] == [200, 200, 200, 401]


async def test_d10_without_the_issuer_tokens_are_told_to_wait_until_it_is_there(
    upstream: ScriptedUpstream, issuer: FakeIssuer
) -> None:
    """503 and never 401: nobody knows whether the token is good. API keys go on."""
    issuer.reply[DISCOVERY] = (500, {}, b"")
    async with running(upstream, issuer) as gateway:
        token = issuer.token()
        away = await ask(gateway, token)
        assert (away.status, away.json["error"]["code"]) == (503, "issuer_unavailable")
        assert away.headers["retry-after"] == "2"
        assert (await ask(gateway, "sk-test")).status == 200

        del issuer.reply[DISCOVERY]
        async with asyncio.timeout(10):
            while (await ask(gateway, token)).status != 200:
                await asyncio.sleep(0.1)


async def test_d06_nothing_in_a_tokens_header_is_followed(
    upstream: ScriptedUpstream, issuer: FakeIssuer
) -> None:
    async with running(upstream, issuer) as gateway:
        assert (await ask(gateway, issuer.token())).status == 200
        evil = public_jwk("evil")
        said = {"iss": issuer.url, "aud": "llmgw", "sub": "a", "org": "acme", "exp": time.time() + 60}
        for header in (
            {"jku": f"{issuer.url}/evil"},
            {"x5u": f"{issuer.url}/evil"},
            {"jwk": evil},
            {"x5c": ["MIIB"]},
            {"crit": ["x"], "x": 1},
        ):
            assert (await ask(gateway, signed(said, "evil", kid="one", **header))).status == 401

        assert issuer.requests == [DISCOVERY, KEYS]


CONFIG = """
version: 1
providers: {{demo: {{kind: echo}}}}
models: {{echo: {{targets: [{{provider: demo, model: echo}}]}}}}
auth:
  jwt: [{issuer}]
tenants: {{acme: {{}}, rival: {{}}}}
"""


def test_the_official_sdk_with_a_token_as_its_key(issuer: FakeIssuer, tmp_path: Path) -> None:
    """`llmgw serve` as a process: the token is the API key, and neither file nor log ever has it."""
    (tmp_path / "llmgw.yaml").write_text(CONFIG.format(issuer=issuer.settings()))
    token = issuer.token(sub="alice@acme.test")
    with GatewayProcess(tmp_path) as gateway:
        client = openai.OpenAI(base_url=gateway.url, api_key=token, max_retries=0)
        said = client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "hello"}])
        stream = client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        assert [model.id for model in client.models.list()] == ["echo"]
        with pytest.raises(openai.AuthenticationError, match="the token has expired"):
            openai.OpenAI(base_url=gateway.url, api_key=issuer.token(exp=1), max_retries=0).models.list()
        with pytest.raises(openai.PermissionDeniedError, match="no tenant 'gone'"):
            openai.OpenAI(base_url=gateway.url, api_key=issuer.token(org="gone"), max_retries=0).models.list()

        assert said.choices[0].message.content == streamed == "hello"
        assert within(10, lambda: len(rows("usage", "report", "--by", "user", cwd=tmp_path)) == 1)
        (row,) = rows("usage", "report", "--by", "tenant,user,key", cwd=tmp_path)
        assert (row["tenant"], row["user"], row["key"]) == ("acme", "alice@acme.test", "jwt:alice@acme.test")
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert token.encode() not in written
    assert token.split(".")[2].encode() not in written


def test_l04_an_issuer_that_is_away_stops_no_start(issuer: FakeIssuer, tmp_path: Path) -> None:
    """It is told once in the log, and again when it answers."""
    issuer.reply[KEYS] = (200, {}, b"<html>")
    (tmp_path / "llmgw.yaml").write_text(CONFIG.format(issuer=issuer.settings()))
    with GatewayProcess(tmp_path) as gateway:
        client = openai.OpenAI(base_url=gateway.url, api_key=issuer.token(), max_retries=0)
        with pytest.raises(openai.InternalServerError, match="cannot be checked"):
            client.models.list()
        assert within(5, lambda: len(gateway.events("issuer_keys")) == 1)
        assert gateway.events("issuer_keys")[0]["issuer"] == issuer.url

        del issuer.reply[KEYS]
        patient = openai.OpenAI(base_url=gateway.url, api_key=issuer.token(), max_retries=8)
        assert [model.id for model in patient.models.list()] == ["echo"]
        assert within(5, lambda: len(gateway.events("issuer_answers_again")) == 1)


async def test_opaque_tokens_beside_keys_and_jwts(upstream: ScriptedUpstream, issuer: FakeIssuer) -> None:
    """Each goes to who knows it: an API key is never shown to the service."""
    service = {
        "url": f"{issuer.url}{INTROSPECT}",
        "client_id": "gw",
        "client_secret": "s",
        "allow_private": True,
        "claims": {"tenant": "org"},
    }
    auth = f"auth: {{jwt: [{issuer.settings()}], introspection: {json.dumps(service)}}}\n"
    issuer.opaque["opaque-1"] = {"active": True, "sub": "bob", "org": "rival"}
    async with RunningGateway(upstream, extra=auth) as gateway:
        statuses = [
            (await ask(gateway, key)).status
            for key in ("opaque-1", "opaque-1", "opaque-2", issuer.token(), "sk-test")
        ]
        unknown = await ask(gateway, f"llmgw_{'a' * 16}_{'b' * 43}")

        assert statuses == [200, 200, 401, 200, 200]
        assert unknown.json["error"]["message"] == "the API key is not valid"
        assert [form["token"][0] for form, _ in issuer.forms] == ["opaque-1", "opaque-2"]
        assert [one.key_id for one in await gateway.settled(4)] == [
            "token:bob",
            "token:bob",
            "jwt:alice",
            "main",
        ]

        issuer.reply[INTROSPECT] = (503, {}, b"")
        assert (await ask(gateway, "opaque-3")).status == 503
        assert (await ask(gateway, "opaque-1")).status == 200


async def test_a_reload_holds_for_tokens_that_were_good_before(
    upstream: ScriptedUpstream, issuer: FakeIssuer
) -> None:
    """Another audience, and a tenant that is gone: at once, and nobody is asked for keys again."""
    async with running(upstream, issuer) as gateway:
        token, rival = issuer.token(), issuer.token(org="rival")
        assert [(await ask(gateway, one)).status for one in (token, rival)] == [200, 200]

        gateway.reload(f"auth: {{jwt: [{issuer.settings(tenants=['acme'])}]}}\n")
        assert [(await ask(gateway, one)).status for one in (token, rival)] == [200, 403]
        gateway.reload(f"auth: {{jwt: [{issuer.settings(audience='other')}]}}\n")
        assert (await ask(gateway, token)).status == 401
        gateway.reload("")
        assert (await ask(gateway, token)).json["error"]["message"] == "the API key is not valid"
        assert issuer.requests == [DISCOVERY, KEYS]
