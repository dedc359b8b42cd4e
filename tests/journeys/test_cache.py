"""Answers that are given again: what a client sees, what an upstream sees, and what is recorded."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.kept import EXACT, STREAM, completion, said, words
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, Step, cut, end, event, json_reply, sse_head


async def test_g16_a_hit_costs_nothing_and_is_recorded() -> None:
    """0 tokens, no money, no hold left; counted by the rate limits, and its record says `cache`."""
    quotas = """
quotas:
  - {per: tenant, cost: 1 USD, window: month}
  - {per: tenant, tokens: 1M, window: month}
  - {per: tenant, requests: 100, window: month}
"""
    limits = EXACT.replace("limits: {", "limits: {per_model: {tokens: 1M, window: 1h}, ")
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=limits + quotas) as gateway:
        upstream.script(json_reply(completion()))
        first = await gateway.ask(chat())
        await gateway.settled()
        used = {unit: gateway.spent(unit) for unit in ("cost", "tokens", "requests")}

        second = await gateway.ask(chat())
        _, record = await gateway.settled(2)

        assert (words(first), words(second)) == ("miss", "hit")
        assert second.status == 200
        assert second.body == first.body
        assert len(upstream.requests) == 1
        assert record.outcome == "cache"
        assert (record.input_tokens, record.output_tokens, record.cost_nano_usd) == (0, 0, 0)
        assert (record.attempts, record.provider, record.upstream_model) == (0, "up", "gpt-4o")
        assert {unit: gateway.spent(unit) for unit in used} == used
        assert gateway.held == 0
        assert gateway.in_flight == 0
        assert gateway.used("per_user") == 2
        assert gateway.used("per_model") == 15
        assert gateway.reports[-1].outcome == "cache"


async def test_what_a_hit_says_of_itself() -> None:
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        upstream.script(json_reply(completion()))
        first = await gateway.ask(chat())

        second = await gateway.ask(chat(), headers={"x-request-id": "mine"})

        assert second.headers["age"] == "0"
        assert second.headers["x-llmgw-cost"] == "0.000000000"
        assert second.headers["x-llmgw-attempts"] == "0"
        assert second.headers["x-request-id"] == "mine"
        same = ("content-type", "x-llmgw-provider", "x-llmgw-model", "x-llmgw-config")
        assert [second.headers[name] for name in same] == [first.headers[name] for name in same]


async def test_i09_no_cache_in_front_may_keep_an_answer() -> None:
    """Whatever the answer, and whoever gave it."""
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        upstream.script(json_reply(completion()))
        upstream.default(*STREAM)
        answers = [
            await gateway.ask(chat()),
            await gateway.ask(chat()),
            await gateway.ask(chat(stream=True)),
            await gateway.ask(chat(stream=True)),
            await gateway.ask(chat(model="nobody's")),
            await gateway.ask(b"{"),
            await gateway.ask(None, path="/v1/models", method="GET"),
            await gateway.ask(chat(), key="sk-wrong"),
        ]

        assert [answer.status for answer in answers] == [200, 200, 200, 200, 404, 400, 200, 401]
        for answer in answers:
            assert answer.headers["cache-control"] == "private, no-store"
            assert answer.headers["vary"].lower() == "authorization"


async def test_a_stream_is_given_again_as_a_stream() -> None:
    """The same bytes; a request for a whole answer is another request."""
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        upstream.script(*STREAM)
        upstream.script(json_reply(completion()))
        first = await gateway.ask(chat(stream=True))
        second = await gateway.ask(chat(stream=True))
        whole = await gateway.ask(chat())

        assert (words(first), words(second), words(whole)) == ("miss", "hit", "miss")
        assert second.body == first.body
        assert second.body.endswith(b"data: [DONE]\n\n")
        assert second.headers["transfer-encoding"] == "chunked"
        assert len(upstream.requests) == 2


async def test_i01_another_tenants_same_request_is_a_miss() -> None:
    """Tenants in turns, many requests, streamed and not: nobody gets what another was told."""
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        mine: dict[tuple[str, str], bytes] = {}
        for turn in range(3):
            for number in range(40):
                for key in ("sk-test", "sk-rival"):
                    text = f"question {number}"
                    if turn == 0:
                        upstream.script(json_reply(completion(f"for {key} {number}")))
                    answer = await gateway.ask(chat(text), key=key)
                    assert words(answer) == ("miss" if turn == 0 else "hit")
                    assert mine.setdefault((key, text), answer.body) == answer.body
                    assert f"for {key} {number}".encode() in answer.body

        assert len(upstream.requests) == 80


async def test_the_order_of_members_makes_no_difference() -> None:
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        upstream.script(json_reply(completion()))
        one = chat(temperature=0.5, metadata={"a": "1", "b": "2"})
        other = dict(reversed(one.items())) | {"metadata": {"b": "2", "a": "1"}}

        answers = [await gateway.ask(one), await gateway.ask(other)]

        assert [words(answer) for answer in answers] == ["miss", "hit"]


@pytest.mark.parametrize(
    ("steps", "body"),
    [
        ([json_reply({"error": {"message": "broken"}}, 500)], chat()),
        ([json_reply({"error": {"message": "wrong"}}, 400)], chat()),
        ([json_reply({"error": {"message": "slow down"}}, 429)], chat()),
        ([json_reply(completion(finish=None))], chat()),
        ([json_reply(completion(finish="content_filter"))], chat()),
        ([json_reply(completion("", refusal="I will not."))], chat()),
        (
            [
                json_reply(
                    completion("", "tool_calls", tool_calls=[{"id": "c", "function": {"name": "f"}}]),
                )
            ],
            chat(),
        ),
        ([sse_head(), event(said("Hel")), cut()], chat(stream=True)),
        ([sse_head(), event(said("Hel")), end()], chat(stream=True)),
        ([sse_head(), event(said("Hel")), event({"error": {"message": "x"}}), end()], chat(stream=True)),
        ([sse_head(), event(said("x", "content_filter")), event("[DONE]"), end()], chat(stream=True)),
    ],
    ids=[
        "500", "400", "429", "no reason", "filter", "refusal", "tool call", "cut", "ended early",
        "error in the stream", "filtered stream",
    ],
)  # fmt: skip
async def test_i07_what_is_not_given_again(steps: list[Step], body: dict[str, object]) -> None:
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        for _ in range(2):
            upstream.script(*steps)
            assert await _asked(gateway, body) in (None, "miss")
        await gateway.quiet()

        assert len(upstream.requests) == 2
        assert {record.outcome for record in gateway.records} & {"cache"} == set()


async def _asked(gateway: RunningGateway, body: dict[str, object]) -> str | None:
    """What the answer's head says of the cache; the rest may be cut off."""
    client = await gateway.open(body)
    head = await client.read_head()
    try:
        while "transfer-encoding" in head.headers and await client.read_chunk():
            pass
    except EOFError:
        pass
    await gateway.quiet()
    await client.vanish()
    return words(head)


async def test_tool_calls_are_kept_where_that_is_wanted() -> None:
    extra = EXACT.replace("mode: exact", "mode: exact, tool_calls: true")
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=extra) as gateway:
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        upstream.script(json_reply(completion("", "tool_calls", tool_calls=[call])))

        assert [words(await gateway.ask(chat())) for _ in range(2)] == ["miss", "hit"]


async def test_a_long_answer_is_not_kept() -> None:
    extra = EXACT.replace("mode: exact", "mode: exact, max_entry: 1KiB")
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=extra) as gateway:
        upstream.default(json_reply(completion("x" * 2000)))

        assert [words(await gateway.ask(chat())) for _ in range(2)] == ["miss", "miss"]


@pytest.mark.parametrize(
    ("control", "then"),
    [
        ("no-cache", ["bypass", "hit"]),
        ("no-store", ["bypass", "hit"]),
        ("max-age=0", ["bypass", "hit"]),
        ("Max-Age=1000", ["hit", "hit"]),
        ('max-age="1000"', ["hit", "hit"]),
        ("max-age=soon", ["bypass", "hit"]),
        ("private, NO-CACHE", ["bypass", "hit"]),
        ("max-stale=100000, min-fresh=1, only-if-cached", ["hit", "hit"]),
    ],
)
async def test_i04_a_caller_can_only_tighten(control: str, then: list[str]) -> None:
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        for number in range(3):
            upstream.script(json_reply(completion(f"answer {number}")))
        await gateway.ask(chat())

        told = await gateway.ask(chat(), headers={"cache-control": control})
        after = await gateway.ask(chat())

        assert [words(told), words(after)] == then
        if control == "no-store":
            assert b"answer 0" in after.body, "what was not to be kept was"
        elif then[0] == "bypass":
            assert b"answer 1" in after.body, "the newer answer was not kept"


async def test_i04_nothing_older_than_its_time_is_given() -> None:
    """A caller may want it fresher, and never gets it staler: `ttl` holds against any `max-age`."""
    extra = EXACT.replace("mode: exact", "mode: exact, ttl: 100ms")
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=extra) as gateway:
        upstream.default(json_reply(completion()))
        await gateway.ask(chat())
        await asyncio.sleep(0.15)

        late = await gateway.ask(chat(), headers={"cache-control": "max-age=100000"})

        assert words(late) == "miss"


async def test_i12_what_is_kept_is_given_to_nobody_who_may_not_ask() -> None:
    """A revoked key, a model that is denied, a limit that is reached: as if nothing were kept."""
    limits = """
limits: {per_user: {requests: 3, window: 1h, algorithm: fixed_window}}
cache: {mode: exact}
"""
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=limits) as gateway:
        upstream.script(json_reply(completion()))
        assert words(await gateway.ask(chat())) == "miss"
        assert words(await gateway.ask(chat())) == "hit"

        assert (await gateway.ask(chat(), key="sk-wrong")).status == 401
        assert (await gateway.ask(chat(), key="sk-old")).status == 401
        assert (await gateway.ask(chat(), key="sk-held")).status == 403
        assert (await gateway.ask(chat())).status == 200
        assert (await gateway.ask(chat())).status == 429
        assert len(upstream.requests) == 1


async def test_i12_a_spent_budget_is_refused_before_the_look() -> None:
    quota = "quotas: [{per: tenant, requests: 1, window: month}]\n"
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT + quota) as gateway:
        upstream.script(json_reply(completion()))
        await gateway.ask(chat())
        await gateway.settled()

        refused = await gateway.ask(chat())

        assert refused.status == 429
        assert refused.headers["x-llmgw-code"] == "insufficient_quota"


async def test_what_a_fallback_said_is_not_kept() -> None:
    """It is not what was asked for, and not everybody may have it."""
    models = (
        "with-fallback: {targets: [{provider: up, model: first}], fallbacks: [{model: renamed}],"
        " retry: {attempts: 2}}"
    )
    async with (
        ScriptedUpstream() as upstream,
        RunningGateway(upstream, extra=EXACT, models=models) as gateway,
    ):
        for _ in range(2):
            upstream.script(json_reply({"error": {"message": "x"}}, 503))
            upstream.script(json_reply(completion()))

        answers = [await gateway.ask(chat(model="with-fallback")) for _ in range(2)]

        assert [answer.status for answer in answers] == [200, 200]
        assert [words(answer) for answer in answers] == ["miss", "miss"]


async def test_without_a_cache_nothing_is_said_of_one() -> None:
    async with ScriptedUpstream() as upstream, RunningGateway(upstream) as gateway:
        upstream.default(json_reply(completion()))
        answers = [await gateway.ask(chat()) for _ in range(2)]

        assert [words(answer) for answer in answers] == [None, None]
        assert len(upstream.requests) == 2


async def test_models_tenants_and_routes_say_otherwise() -> None:
    extra = """
limits: {per_user: {requests: 1k}}
cache: {mode: off}
routes:
  - {name: kept, match: {path: /kept/**}, strip_prefix: /kept, cache: {mode: exact}}
"""
    models = "kept-model: {targets: [{provider: up, model: gpt-4o}], cache: {mode: exact}}"
    async with (
        ScriptedUpstream() as upstream,
        RunningGateway(upstream, extra=extra, models=models, acme="cache: {ttl: 5m}") as gateway,
    ):
        upstream.default(json_reply(completion()))

        assert words(await gateway.ask(chat())) is None
        assert words(await gateway.ask(chat(model="kept-model"))) == "miss"
        assert words(await gateway.ask(chat(model="kept-model"))) == "hit"
        assert words(await gateway.ask(chat(), path="/kept/v1/chat/completions")) == "miss"
        assert words(await gateway.ask(chat(), path="/kept/v1/chat/completions")) == "hit"


async def test_a_tenant_that_switches_it_off_is_not_kept() -> None:
    async with (
        ScriptedUpstream() as upstream,
        RunningGateway(upstream, extra=EXACT, acme="cache: {mode: off}") as gateway,
    ):
        upstream.default(json_reply(completion()))

        assert [words(await gateway.ask(chat())) for _ in range(2)] == [None, None]
        assert [words(await gateway.ask(chat(), key="sk-rival")) for _ in range(2)] == ["miss", "hit"]


async def test_a_reload_keeps_what_it_does_not_concern() -> None:
    """Limits, prices and the life of entries: still found. Another target: not found, and back again."""
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        upstream.default(json_reply(completion()))
        assert words(await gateway.ask(chat())) == "miss"

        gateway.reload(EXACT.replace("mode: exact", "mode: exact, ttl: 2h"), prices="{}")
        assert words(await gateway.ask(chat())) == "hit"

        target = "targets: [{provider: up, model: gpt-4o}]"
        other = target.replace("gpt-4o", "gpt-4o-mini")
        gateway.reload(EXACT, replaced=(target, other))
        assert words(await gateway.ask(chat())) == "miss"

        gateway.reload(EXACT)
        assert words(await gateway.ask(chat())) == "hit"


async def test_embeddings_are_given_again() -> None:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    vectors = {"object": "list", "data": data, "model": "x", "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        upstream.script(json_reply({"error": {"message": "busy"}}))
        upstream.script(json_reply(vectors))
        body = {"model": "gpt-4o", "input": "x"}

        answers = [await gateway.ask(body, path="/v1/embeddings") for _ in range(3)]

        assert [words(answer) for answer in answers] == ["miss", "miss", "hit"]
        assert answers[2].json == vectors


async def test_a_body_in_another_dialect_is_kept_as_its_client_reads_it() -> None:
    """A target of OpenAI's dialect behind Anthropic's messages: the answer is kept translated."""
    body = {"model": "gpt-4o", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        upstream.script(json_reply(completion()))
        answers = [await gateway.ask(body, path="/v1/messages") for _ in range(2)]

        assert [words(answer) for answer in answers] == ["miss", "hit"]
        assert json.loads(answers[1].body)["content"] == [{"type": "text", "text": "Hello"}]
        assert answers[0].body == answers[1].body


async def test_a_hit_under_an_idempotency_key_is_replayed_for_it() -> None:
    """The two do not get into each other's way."""
    key = {"idempotency-key": "8e03978e-40d5-43e8-bc93-6894a57f9324"}
    async with ScriptedUpstream() as upstream, RunningGateway(upstream, extra=EXACT) as gateway:
        upstream.script(json_reply(completion()))
        first = await gateway.ask(chat())
        hit = await gateway.ask(chat(), headers=key)
        again = await gateway.ask(chat(), headers=key)

        assert {answer.status for answer in (first, hit, again)} == {200}
        assert first.body == hit.body == again.body
        assert words(hit) == "hit"
        assert len(upstream.requests) == 1
