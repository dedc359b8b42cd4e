"""Targets that fail, and what their clients notice. Real sockets at both ends."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from llmgw.core.record import Opened
from tests.fakes.gateway import RunningGateway
from tests.fakes.process import free_port
from tests.fakes.raw_client import chat
from tests.fakes.upstream import (
    ScriptedUpstream,
    Step,
    cut,
    delay,
    event,
    hang,
    json_reply,
    raw,
    reset,
    sse_head,
)

USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}


def completion(text: str) -> Step:
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return json_reply({"id": "c", "object": "chat.completion", "choices": choices, "usage": USAGE})


def failure(status: int, code: str = "x", fields: dict[str, str] | None = None) -> Step:
    return json_reply({"error": {"message": f"no: {code}", "type": "t", "code": code}}, status, fields)


@pytest.fixture
async def first() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        yield up


@pytest.fixture
async def second() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        yield up


MODELS = """
pair: {targets: [{provider: up, model: a}, {provider: two, model: b}], retry: {base: 10ms}}
lone: {targets: [{provider: up, model: a}], retry: {base: 10ms}}
once: {targets: [{provider: up, model: a}], retry: {attempts: 1}}
brittle:
  targets: [{provider: up, model: brittle}]
  retry: {attempts: 1}
  breaker: {min_calls: 4, failure_ratio: 0.5, window: 10s, open_for: 300ms}
spread:
  strategy: weighted
  targets: [{provider: up, model: a, weight: 3}, {provider: two, model: b, weight: 1}]
busy:
  strategy: least_inflight
  targets: [{provider: up, model: a}, {provider: two, model: b}]
kept:
  strategy: weighted
  sticky: {header: x-session}
  targets: [{provider: up, model: a}, {provider: two, model: b}]
talk:
  strategy: weighted
  sticky: conversation
  targets: [{provider: up, model: a}, {provider: two, model: b}]
long: {targets: [{provider: up, model: a}], fallbacks: [{model: wide, on: [context_length]}]}
wide: {targets: [{provider: two, model: b}]}
plain: {targets: [{provider: up, model: a}], fallbacks: [{model: wide}], retry: {base: 10ms}}
abroad: {targets: [{provider: other, model: c}, {provider: two, model: b}], retry: {base: 10ms}}
away: {targets: [{provider: two, model: b}, {provider: other, model: c}], retry: {base: 10ms}}
timed: {targets: [{provider: up, model: a}], timeouts: {total: 300ms}}
"""


def others(first: ScriptedUpstream, second: ScriptedUpstream) -> str:
    """Providers beside `up`: another upstream, and the first one as it speaks Anthropic's dialect."""
    return (
        f'two: {{kind: openai_compatible, base_url: "{second.base_url}/v1", allow_private: true}}\n'
        f'other: {{kind: anthropic, base_url: "{first.base_url}", api_key: k, allow_private: true}}'
    )


@pytest.fixture
async def gateway(first: ScriptedUpstream, second: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    async with RunningGateway(first, providers=others(first, second), models=MODELS) as running:
        yield running
        await running.quiet()
        assert running.heard.inside == 0
        assert (running.road.repeats.active, running.road.repeats.repeating) == (0, 0)
        opened = {entry.request_id for entry in running.journal.entries if type(entry).__name__ == "Opened"}
        assert len(opened) == len(running.records)


@pytest.mark.parametrize(
    "trouble",
    [
        [reset()],
        [cut()],
        [raw(b"not http\r\n\r\n")],
        [failure(500)],
        [failure(502)],
        [failure(503)],
        [failure(504)],
        [failure(520)],
        [failure(524)],
        [failure(529)],
        [failure(429)],
        [failure(401)],
        [failure(404, "model_not_found")],
    ],
    ids=["reset", "cut", "malformed", "500", "502", "503", "504", "520", "524", "529", "429", "401", "404"],
)
async def test_j06_the_next_target_answers_when_the_first_fails(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream, trouble: list[Step]
) -> None:
    """One record, of the target that answered; two attempts."""
    # A dropped connection is once tried again by the transport, when it was an old one.
    first.default(*trouble)
    second.script(completion("from two"))

    answer = await gateway.ask(chat(model="pair"))

    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == "from two"
    assert answer.headers["x-llmgw-provider"] == "two"
    assert answer.headers["x-llmgw-attempts"] == "2"
    (record,) = await gateway.settled()
    assert (record.provider, record.upstream_model, record.attempts) == ("two", "b", 2)
    assert (record.status, record.outcome, record.input_tokens, record.output_tokens) == (200, "ok", 12, 5)
    opened = [entry for entry in gateway.journal.entries if isinstance(entry, Opened)]
    assert [entry.provider for entry in opened] == ["up", "two"], "what a crash leaves is of the last"


async def test_j07_a_callers_own_mistake_is_told_at_once_and_counts_against_nobody(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    """Asked of one target only; a breaker that counted it would have opened."""
    first.default(failure(400, "invalid_value"))

    for _ in range(12):
        answer = await gateway.ask(chat(model="pair"))
        assert (answer.status, answer.json["error"]["code"]) == (400, "invalid_value")

    assert len(first.requests) == 12
    assert second.requests == []


async def test_j06_a_lone_target_is_asked_again_after_a_wait(
    gateway: RunningGateway, first: ScriptedUpstream
) -> None:
    first.script(failure(500))
    first.script(failure(503))
    first.script(completion("at last"))

    answer = await gateway.ask(chat(model="lone"))

    assert (answer.status, answer.headers["x-llmgw-attempts"]) == (200, "3")
    assert (await gateway.settled())[0].attempts == 3


async def test_the_last_failure_is_told_as_the_upstream_said_it(
    gateway: RunningGateway, first: ScriptedUpstream
) -> None:
    first.default(failure(503, "overloaded"))

    answer = await gateway.ask(chat(model="lone"))

    assert (answer.status, answer.json["error"]["code"]) == (503, "overloaded")
    assert len(first.requests) == 3
    assert (await gateway.settled())[0].outcome == "upstream_error"


async def test_j05_retry_after_is_honoured_before_the_same_target_is_asked(
    gateway: RunningGateway, first: ScriptedUpstream
) -> None:
    first.script(failure(429, "rate_limit_exceeded", {"retry-after-ms": "300"}))
    first.script(completion("again"))
    began = time.monotonic()

    answer = await gateway.ask(chat(model="lone"))

    assert answer.status == 200
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(
    ("fields", "longest_s"),
    [
        ({"retry-after": "1"}, 1.0),
        ({"retry-after": "600"}, 60.0),
        ({"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}, 60.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after-ms": "700", "retry-after": "9"}, 0.7),
    ],
)
async def test_j05_a_429_cools_its_target_for_its_own_time_and_counts_against_nobody(
    gateway: RunningGateway,
    first: ScriptedUpstream,
    second: ScriptedUpstream,
    fields: dict[str, str],
    longest_s: float,
) -> None:
    """The other target answers meanwhile; nobody is spared for more than a minute."""
    first.default(failure(429, "rate_limit_exceeded", fields))
    second.default(completion("two"))

    assert (await gateway.ask(chat(model="pair"))).status == 200

    health = gateway.health("up", "a")
    left = health.spared_for_s(gateway.road.loop.time())
    assert longest_s - 0.5 < left <= longest_s
    assert health.breaker is not None
    assert health.breaker.closed


async def test_j05_a_target_that_asked_to_be_spared_longer_than_we_wait_is_not_asked(
    gateway: RunningGateway, first: ScriptedUpstream
) -> None:
    """The upstream's 429 goes on with its own wait, and so does the next request's."""
    first.script(failure(429, "rate_limit_exceeded", {"retry-after": "40"}))

    told = await gateway.ask(chat(model="lone"))
    spared = await gateway.ask(chat(model="lone"))

    assert (told.status, told.headers["retry-after"]) == (429, "40")
    assert spared.status == 429
    assert 38 <= int(spared.headers["retry-after"]) <= 40
    assert len(first.requests) == 1


async def test_j04_a_stream_that_has_begun_is_never_asked_for_again(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    delta = {"id": "c", "choices": [{"index": 0, "delta": {"content": "He"}, "finish_reason": None}]}
    first.script(sse_head(), event(delta), delay(0.05), cut())

    answer = await gateway.ask(chat(model="pair", stream=True))

    assert b"He" in answer.body
    assert b"[DONE]" not in answer.body
    assert b'"error"' in answer.body
    assert second.requests == []
    assert (await gateway.settled())[0].outcome == "upstream_truncated"


async def test_j10_an_open_breaker_answers_at_once_then_lets_one_probe_through(
    gateway: RunningGateway, first: ScriptedUpstream
) -> None:
    first.default(failure(500))
    for _ in range(4):
        assert (await gateway.ask(chat(model="brittle"))).status == 500

    began = time.monotonic()
    refused = await gateway.ask(chat(model="brittle"))
    took_s = time.monotonic() - began

    assert (refused.status, refused.json["error"]["code"]) == (503, "upstream_unavailable")
    assert refused.headers["retry-after"] == "1"
    assert took_s < 0.1
    assert len(first.requests) == 4
    await asyncio.sleep(0.35)
    first.default(delay(0.1), completion("well again"))
    answers = await asyncio.gather(*(gateway.ask(chat(model="brittle")) for _ in range(5)))
    assert Counter(answer.status for answer in answers) == {200: 1, 503: 4}
    assert len(first.requests) == 5
    assert (await gateway.ask(chat(model="brittle"))).status == 200


async def test_j10_a_caller_who_leaves_during_the_probe_does_not_keep_it(
    gateway: RunningGateway, first: ScriptedUpstream
) -> None:
    first.default(failure(500))
    for _ in range(4):
        await gateway.ask(chat(model="brittle"))
    await asyncio.sleep(0.35)
    first.default(hang())
    client = await gateway.open(chat(model="brittle"))
    await asyncio.sleep(0.1)
    await client.vanish()
    await gateway.settled(5)
    first.default(completion("well again"))

    assert (await gateway.ask(chat(model="brittle"))).status == 200


async def test_j07_a_refused_credential_is_left_alone(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    """For all targets of the account."""
    first.default(failure(401))
    second.default(completion("two"))

    for _ in range(3):
        assert (await gateway.ask(chat(model="pair"))).status == 200
    lone = await gateway.ask(chat(model="lone"))

    assert len(first.requests) == 1
    assert lone.status == 503


async def test_a_refused_text_does_not_speak_against_the_credential(
    gateway: RunningGateway, first: ScriptedUpstream
) -> None:
    """OpenRouter says 403 of an input that it flagged: else one caller could shut everybody out."""
    flagged = {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["violence"]}}}
    first.script(json_reply(flagged, 403))
    first.default(completion("one"))

    refused = await gateway.ask(chat(model="lone"))
    other = await gateway.ask(chat(model="lone"))

    assert (refused.status, refused.json["error"]["message"]) == (403, "flagged")
    assert other.status == 200


async def test_weights_share_the_traffic(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    """3:1 of 90 is 67; six standard deviations are 25."""
    first.default(completion("x"))
    second.default(completion("x"))
    for _ in range(90):
        await gateway.ask(chat(model="spread"))

    assert 42 <= len(first.requests) <= 89


async def test_the_least_busy_target_is_asked(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    first.default(delay(0.2), completion("x"))
    second.default(delay(0.2), completion("x"))

    await asyncio.gather(*(gateway.ask(chat(model="busy")) for _ in range(10)))

    assert len(first.requests) == len(second.requests) == 5


async def test_a_session_stays_where_it_is(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    first.default(completion("x"))
    second.default(completion("x"))
    for session in range(12):
        providers = {
            (await gateway.ask(chat(model="kept"), headers={"x-session": str(session)})).headers[
                "x-llmgw-provider"
            ]
            for _ in range(3)
        }
        assert len(providers) == 1

    assert first.requests
    assert second.requests


async def test_a_conversation_stays_where_it_is_as_it_grows(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    first.default(completion("x"))
    second.default(completion("x"))
    for topic in range(8):
        turns: list[dict[str, str]] = [{"role": "system", "content": "s"}]
        seen = set()
        for turn in range(3):
            turns.append({"role": "user", "content": f"{topic}-{turn}"})
            answer = await gateway.ask({"model": "talk", "messages": turns})
            seen.add(answer.headers["x-llmgw-provider"])
            turns.append({"role": "assistant", "content": "ok"})
        assert len(seen) == 1


async def test_a_fallback_is_asked_for_its_reasons_only(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    second.default(completion("wide"))
    first.script(failure(400, "context_length_exceeded"))
    first.script(failure(400, "invalid_value"))

    too_long = await gateway.ask(chat(model="long"))
    wrong = await gateway.ask(chat(model="long"))

    assert (too_long.status, too_long.headers["x-llmgw-model"]) == (200, "wide")
    assert wrong.status == 400
    assert len(second.requests) == 1


async def test_a_fallback_comes_before_the_same_target_again(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    first.default(failure(500))
    second.default(completion("wide"))

    answer = await gateway.ask(chat(model="plain"))

    assert (answer.status, len(first.requests)) == (200, 1)


async def test_e11_j16_a_key_that_may_not_use_the_fallback_does_not(
    first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    from hashlib import sha256

    digest = sha256(b"sk-narrow").hexdigest()
    users = f'keys: [{{id: narrow, hash: "sha256:{digest}", allow_models: [plain]}}]'
    extra = f"  narrow:\n    {users}\n"
    first.default(failure(500))
    async with RunningGateway(first, providers=others(first, second), models=MODELS, extra=extra) as running:
        answer = await running.ask(chat(model="plain"), key="sk-narrow")

    assert answer.status == 500
    assert second.requests == []


async def test_j17_the_requests_deadline_is_above_all_attempts(
    gateway: RunningGateway, first: ScriptedUpstream
) -> None:
    first.default(hang())
    began = time.monotonic()

    ours = await gateway.ask(chat(model="timed"))
    took_s = time.monotonic() - began

    assert ours.status == 504
    assert 0.25 < took_s < 0.8
    assert len(first.requests) == 1


async def test_j17_a_caller_may_set_an_earlier_deadline(
    gateway: RunningGateway, first: ScriptedUpstream
) -> None:
    first.default(hang())
    began = time.monotonic()

    answer = await gateway.ask(chat(model="lone"), headers={"x-llmgw-timeout": "0.2"})

    assert answer.status == 504
    assert time.monotonic() - began < 0.7
    wrong = await gateway.ask(chat(model="lone"), headers={"x-llmgw-timeout": "soon"})
    assert (wrong.status, wrong.json["error"]["param"]) == (400, "x-llmgw-timeout")


async def test_j09_a_failing_upstream_gets_little_more_than_its_clients_send(
    gateway: RunningGateway, first: ScriptedUpstream
) -> None:
    """While the breaker is closed, at most three requests and a fifth of those under way repeat a call."""
    first.default(delay(0.2), failure(500))

    await asyncio.gather(*(gateway.ask(chat(model="lone")) for _ in range(60)))

    assert len(first.requests) <= 60 * 1.4


async def test_a_new_key_is_tried_though_the_old_one_was_refused(
    gateway: RunningGateway, first: ScriptedUpstream
) -> None:
    """A reload that changes a provider forgets what was held against it."""
    first.script(failure(401))
    assert (await gateway.ask(chat(model="once"))).status == 502
    first.default(completion("again"))
    assert (await gateway.ask(chat(model="once"))).status == 503

    gateway.reload("", replaced=("sk-upstream-canary", "sk-other"))

    assert (await gateway.ask(chat(model="once"))).status == 200


@pytest.mark.parametrize("status", [402, 429])
async def test_j08_an_account_without_credit_is_left_alone(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream, status: int
) -> None:
    """It is not asked again for what another answers, nor by the next requests; nothing counts against it."""
    first.default(failure(status, "insufficient_quota"))
    second.default(completion("two"))

    for _ in range(5):
        assert (await gateway.ask(chat(model="pair"))).status == 200

    assert len(first.requests) == 1
    breaker = gateway.health("up", "a").breaker
    assert breaker is not None
    assert breaker.closed


async def test_j15_j26_nobody_listens_anywhere(first: ScriptedUpstream) -> None:
    """Connections that are refused open a breaker as answers of 500 do; then the answer is at once."""
    one, two = free_port(), free_port()
    providers = "\n".join(
        f'{name}: {{kind: openai_compatible, base_url: "http://127.0.0.1:{port}/v1", allow_private: true}}'
        for name, port in (("one", one), ("two", two))
    )
    models = (
        "both: {targets: [{provider: one, model: a}, {provider: two, model: b}], "
        "retry: {attempts: 2, base: 1ms}, breaker: {min_calls: 4, window: 10s, open_for: 60s}}"
    )
    async with RunningGateway(first, providers=providers, models=models) as gateway:
        for _ in range(10):
            assert (await gateway.ask(chat(model="both"))).status in (502, 503)

        took_s = []
        for _ in range(20):
            began = time.perf_counter()
            refused = await gateway.ask(chat(model="both"))
            took_s.append(time.perf_counter() - began)
            assert (refused.status, refused.json["error"]["code"]) == (503, "upstream_unavailable")
            assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert sorted(took_s)[10] < 0.05


async def test_j24_each_target_gets_the_original_in_its_own_dialect(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    """Nothing of the translation for the target that failed is left in the next one's."""
    body = chat(
        model="abroad",
        seed=7,
        tools=[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
    )
    first.default(failure(500))
    second.default(completion("two"))

    answer = await gateway.ask(body)

    assert answer.json["choices"][0]["message"]["content"] == "two"
    assert "x-llmgw-dropped" not in answer.headers
    abroad, home = first.requests[-1], second.requests[-1]
    assert abroad.target == "/v1/messages"
    assert abroad.json["tools"][0]["name"] == "weather"
    assert home.json == {**body, "model": "b"}


async def test_j24_from_the_callers_dialect_to_another(
    gateway: RunningGateway, first: ScriptedUpstream, second: ScriptedUpstream
) -> None:
    second.default(failure(500))
    first.default(
        json_reply(
            {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "model": "c",
                "content": [{"type": "text", "text": "from abroad"}],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 1, "output_tokens": 2},
            }
        )
    )

    answer = await gateway.ask(chat(model="away", seed=7))

    assert answer.json["choices"][0]["message"]["content"] == "from abroad"
    assert answer.headers["x-llmgw-dropped"] == "seed"
    assert second.requests[-1].json["seed"] == 7
    assert "seed" not in first.requests[-1].json
