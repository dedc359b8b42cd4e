"""What a client sends, what the upstream must receive, what it answers, and what remains.

Both ends are real sockets; the journal is in memory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from llmgw.core.usage import ESTIMATED, REPORTED
from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat, request
from tests.fakes.upstream import (
    ScriptedUpstream,
    Step,
    chunk,
    cut,
    delay,
    end,
    event,
    hang,
    headers,
    json_reply,
    raw,
    reset,
    sse_head,
)

USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": USAGE,
    "field_of_next_year": {"x": 1},
}


def delta(text: str | None = None, finish: str | None = None) -> dict[str, object]:
    return {"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


LAST = {"id": "c", "choices": [], "usage": USAGE}


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    async with RunningGateway(upstream) as running:
        yield running
        await running.quiet()
        assert running.heard.inside == 0
        assert running.road.streams == {}
        opened = [entry for entry in running.journal.entries if type(entry).__name__ == "Opened"]
        assert len(opened) == len(running.records)


async def test_same_dialect_passes_the_clients_bytes(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """The upstream gets the body as it was written, the client the answer as it was written."""
    upstream.script(json_reply(COMPLETION))
    body = b'{ "model":"gpt-4o",  "messages":[{"role":"user","content":"h\\u00e9"}], "new_field": 1.0e2 }'

    answer = await gateway.ask(body)

    assert upstream.requests[0].body == body
    assert upstream.requests[0].target == "/v1/chat/completions"
    assert answer.status == 200
    assert answer.json == COMPLETION
    assert answer.headers["x-llmgw-provider"] == "up"
    assert answer.headers["x-llmgw-model"] == "gpt-4o"
    assert answer.headers["x-llmgw-attempts"] == "1"
    assert answer.headers["x-llmgw-cost"] == "0.000064000"
    assert answer.headers["content-type"] == "application/json"
    (record,) = await gateway.settled()
    assert (record.tenant, record.user, record.key_id, record.model) == ("acme", "alice", "main", "gpt-4o")
    assert (record.input_tokens, record.output_tokens, record.usage_source) == (12, 5, REPORTED)
    assert record.cost_nano_usd == 12 * 2000 + 5 * 8000
    assert (record.outcome, record.status, record.attempts) == ("ok", 200, 1)
    assert record.request_id == answer.headers["x-request-id"]


async def test_model_is_renamed_and_nothing_else(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.script(json_reply(COMPLETION))

    await gateway.ask(b'{"messages":[], "model" : "renamed", "z":[1, 2]}')

    assert upstream.requests[0].body == b'{"messages":[], "model" : "upstream/name", "z":[1, 2]}'


async def test_e07_no_credential_or_identity_of_the_client_goes_upstream(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """The upstream sees the operator's key and none of the client's headers."""
    upstream.script(json_reply(COMPLETION))
    sent = {
        "x-api-key": "sk-test",
        "cookie": "session=canary",
        "x-forwarded-for": "10.1.2.3",
        "openai-organization": "org-canary",
        "x-evil-host": "http://127.0.0.66",
    }

    await gateway.ask(chat(), headers=sent)

    seen = upstream.requests[0].headers
    assert seen["authorization"] == "Bearer sk-upstream-canary"
    assert set(seen) == {
        "host",
        "authorization",
        "content-type",
        "content-length",
        "accept-encoding",
        "user-agent",
    }
    assert "canary" not in " ".join(value for name, value in seen.items() if name != "authorization")


async def test_e01_no_field_of_a_request_chooses_a_destination(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """Whatever a body or header says of URLs, it is data."""
    upstream.default(json_reply(COMPLETION))
    evil = "http://127.0.0.66:1/v1"

    for more in (
        {"api_base": evil},
        {"base_url": evil},
        {"user_config": {"model_list": [{"litellm_params": {"api_base": evil}}]}},
        {"metadata": {"callback_url": evil}},
    ):
        answer = await gateway.ask(
            chat(**more), headers={"x-portkey-custom-host": evil, "host": "127.0.0.66"}
        )
        assert answer.status == 200

    assert len(upstream.requests) == 4
    assert all(json.loads(request.body)["model"] == "gpt-4o" for request in upstream.requests)


async def test_k11_stream_without_include_usage_is_asked_for_it_and_hides_it(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """Usage is known and the client sees a stream as if nobody had asked."""
    upstream.script(
        sse_head(), event(delta("Hel")), event(delta("lo", "stop")), event(LAST), event("[DONE]"), end()
    )

    answer = await gateway.ask(chat(stream=True))

    assert json.loads(upstream.requests[0].body)["stream_options"] == {"include_usage": True}
    assert b"usage" not in answer.body
    assert answer.body.endswith(b"data: [DONE]\n\n")
    (record,) = await gateway.settled()
    assert (record.input_tokens, record.output_tokens, record.usage_source) == (12, 5, REPORTED)
    assert record.streamed
    assert record.first_byte_us is not None


@pytest.mark.parametrize("options", [{"include_usage": False}, {"include_usage": None, "x": 1}, None])
async def test_g21_usage_is_known_whatever_the_client_asks(
    gateway: RunningGateway, upstream: ScriptedUpstream, options: object
) -> None:
    upstream.script(sse_head(), event(delta("a", "stop")), event(LAST), event("[DONE]"), end())

    answer = await gateway.ask(chat(stream=True, stream_options=options))

    sent = json.loads(upstream.requests[0].body)["stream_options"]
    assert sent["include_usage"] is True
    assert ("x" in sent) is (options is not None and "x" in options)
    assert b"prompt_tokens" not in answer.body
    (record,) = await gateway.settled()
    assert record.output_tokens == 5


async def test_k11_a_client_that_asks_gets_the_usage_event(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(sse_head(), event(delta("a", "stop")), event(LAST), event("[DONE]"), end())
    body = json.dumps(chat(stream=True, stream_options={"include_usage": True})).encode()

    answer = await gateway.ask(body)

    assert upstream.requests[0].body == body
    assert answer.body.count(b'"prompt_tokens": 12') == 1


async def test_g05_stream_without_usage_is_counted(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """A provider that says nothing is billed by tokenizer, and marked so."""
    upstream.script(sse_head(), event(delta("one two three", "stop")), event("[DONE]"), end())

    await gateway.ask(chat("four words are here", stream=True))

    (record,) = await gateway.settled()
    assert record.usage_source == ESTIMATED
    assert record.output_tokens == 3
    assert record.input_tokens == 11
    assert record.outcome == "ok"


async def test_g05_body_without_usage_is_counted(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.script(json_reply({**COMPLETION, "usage": None}))

    await gateway.ask(chat())

    (record,) = await gateway.settled()
    assert (record.usage_source, record.output_tokens) == (ESTIMATED, 1)


@pytest.mark.parametrize("events", [0, 1, 3])
@pytest.mark.parametrize("way", ["fin", "rst"])
async def test_g06_client_leaves_midway(
    gateway: RunningGateway, upstream: ScriptedUpstream, events: int, way: str
) -> None:
    """The upstream is cancelled within a second and what was delivered is billed."""
    upstream.script(sse_head(), *(event(delta("word ")) for _ in range(events)), hang())
    client = await gateway.open(chat(stream=True))
    if events:
        await client.read_head()
        for _ in range(events):
            await client.read_chunk()
    else:
        await upstream.received(1)

    await client.vanish(reset=way == "rst")

    assert await upstream.closed(within_s=1)
    (record,) = await gateway.settled(within_s=1.5)
    assert record.outcome == "client_gone"
    assert record.usage_source == ESTIMATED
    assert record.input_tokens > 0
    assert events <= record.output_tokens <= events + 1


async def test_k10_a_client_that_leaves_after_the_end_was_served(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """Closing right after `[DONE]` is the normal end of a stream."""
    upstream.script(sse_head(), event(delta("a", "stop")), event(LAST), event("[DONE]"), hang())
    client = await gateway.open(chat(stream=True))
    await client.read_head()
    while b"[DONE]" not in await client.read_chunk():
        pass

    await client.vanish()

    (record,) = await gateway.settled()
    assert (record.outcome, record.status, record.output_tokens) == ("ok", 200, 5)


async def test_g07_client_leaves_before_the_answer(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(hang())
    client = await gateway.open(chat())
    await upstream.received(1)

    await client.vanish()

    assert await upstream.closed(within_s=1)
    (record,) = await gateway.settled()
    assert (record.outcome, record.status) == ("client_gone", 499)


@pytest.mark.parametrize("ending", [cut, reset])
async def test_j04_a_stream_that_is_cut_ends_in_an_error(
    gateway: RunningGateway, upstream: ScriptedUpstream, ending: object
) -> None:
    """Never a fake end: an error in the client's dialect, no `[DONE]`, billed for what came."""
    upstream.script(sse_head(), event(delta("Hel")), ending())

    answer = await gateway.ask(chat(stream=True))

    events = answer.body.split(b"\n\n")[:-1]
    assert json.loads(events[0][6:]) == delta("Hel")
    assert json.loads(events[-1][6:])["error"]["code"] == "upstream_error"
    assert b"[DONE]" not in answer.body
    (record,) = await gateway.settled()
    assert (record.outcome, record.code) == ("upstream_truncated", "upstream_error")
    assert record.output_tokens == 1


async def test_j21_a_clean_close_without_an_end_is_a_cut(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(sse_head(), event(delta("Hel")), end())

    answer = await gateway.ask(chat(stream=True))

    assert b'"upstream_error"' in answer.body
    assert b"[DONE]" not in answer.body
    (record,) = await gateway.settled()
    assert record.outcome == "upstream_truncated"


async def test_j03_a_stream_that_stalls_ends_in_an_error(upstream: ScriptedUpstream) -> None:
    upstream.script(sse_head(), event(delta("Hel")), hang())
    async with RunningGateway(upstream, timeouts="{idle: 200ms}") as gateway:
        answer = await gateway.ask(chat(stream=True))
        (record,) = await gateway.settled()

    assert b'"upstream_timeout"' in answer.body
    assert b"[DONE]" not in answer.body
    assert (record.outcome, record.output_tokens) == ("upstream_error", 1)
    assert await upstream.closed(within_s=1)


async def test_k03_comments_are_passed_on_but_are_no_progress(upstream: ScriptedUpstream) -> None:
    """A stalled upstream that keeps saying it is alive is cut off all the same."""

    def pings(count: int) -> list[Step]:
        return [step for _ in range(count) for step in (chunk(b": ping\n\n"), delay(0.1))]

    upstream.script(sse_head(), event(delta("a")), *pings(2), event(delta("b")), *pings(30), hang())
    async with RunningGateway(upstream, timeouts="{idle: 500ms}") as gateway:
        answer = await gateway.ask(chat(stream=True))
        await gateway.settled()

    assert 3 < answer.body.count(b": ping") < 12
    assert json.loads(answer.body.split(b"\n\n")[-2][6:])["error"]["code"] == "upstream_timeout"
    assert b"[DONE]" not in answer.body


async def test_j02_an_upstream_that_never_begins_is_504(upstream: ScriptedUpstream) -> None:
    upstream.script(hang())
    async with RunningGateway(upstream, timeouts="{first_byte: 200ms}") as gateway:
        answer = await gateway.ask(chat(stream=True))
        (record,) = await gateway.settled()

    assert answer.status == 504
    assert answer.json["error"]["code"] == "upstream_timeout"
    assert (record.outcome, record.status) == ("upstream_error", 504)


async def test_j01_an_upstream_that_refuses_connections_is_502() -> None:
    async with ScriptedUpstream() as gone:
        pass
    async with RunningGateway(gone) as gateway:
        answer = await gateway.ask(chat())
        await gateway.settled()

    assert answer.status == 502
    assert answer.json["error"]["code"] == "upstream_error"
    assert "127.0.0.1" not in answer.body.decode()
    (record,) = gateway.records
    assert (record.outcome, record.cost_nano_usd, record.output_tokens) == ("upstream_error", 0, 0)


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 429, 500, 503])
async def test_an_upstreams_refusal_comes_as_it_came(
    gateway: RunningGateway, upstream: ScriptedUpstream, status: int
) -> None:
    refusal = {"error": {"message": "because", "type": "x", "code": "y"}}
    upstream.script(json_reply(refusal, status))

    answer = await gateway.ask(chat())

    assert (answer.status, answer.json) == (status, refusal)
    (record,) = await gateway.settled()
    assert record.status == status
    assert record.outcome == ("refused" if status < 500 else "upstream_error")
    assert record.cost_nano_usd == 0


@pytest.mark.parametrize("status", [401, 403])
async def test_n02_a_refused_credential_is_ours_to_mend_and_not_shown(
    gateway: RunningGateway, upstream: ScriptedUpstream, status: int
) -> None:
    """The provider's message may quote the gateway's own key."""
    upstream.script(json_reply({"error": {"message": "Incorrect API key: sk-upstream-canary"}}, status))

    answer = await gateway.ask(chat())

    assert answer.status == 502
    assert b"canary" not in answer.body
    (record,) = await gateway.settled()
    assert record.outcome == "upstream_error"


async def test_e04_a_redirect_is_not_followed(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.script(headers(302, {"location": "http://127.0.0.66/"}, length=0))

    answer = await gateway.ask(chat())

    assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_malformed")
    assert "location" not in answer.headers
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "steps",
    [
        [headers(200, {"content-type": "text/html"}, length=6), raw(b"<html>")],
        [headers(200, {"content-type": "application/json"}, length=7), raw(b'{"id": ')],
        [headers(200, {"content-type": "application/json"}, length=2), raw(b"\xff\xfe")],
        [raw(b"not http at all\r\n\r\n")],
        [raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: x\r\n\r\n")],
    ],
)
async def test_j13_garbage_is_502(
    gateway: RunningGateway, upstream: ScriptedUpstream, steps: list[object]
) -> None:
    upstream.script(*steps, cut())

    answer = await gateway.ask(chat())

    assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_malformed")
    (record,) = await gateway.settled()
    assert record.outcome == "upstream_error"


async def test_j04_a_body_shorter_than_it_says_is_502(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(headers(200, {"content-type": "application/json"}, length=500), raw(b'{"id":"x"}'), cut())

    answer = await gateway.ask(chat())

    assert answer.status == 502


async def test_j13_characters_split_over_chunks_arrive_whole(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    one = f"data: {json.dumps(delta('h€llo 🎉', 'stop'), ensure_ascii=False)}\n\ndata: [DONE]\n\n".encode()
    upstream.script(sse_head(), *(chunk(one[i : i + 1]) for i in range(len(one))), end())

    answer = await gateway.ask(chat(stream=True))

    assert answer.body == one


async def test_j12_an_event_over_the_cap_is_an_error(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(sse_head(), chunk(b"data: "), *(chunk(b"x" * 65536) for _ in range(20)), hang())

    answer = await gateway.ask(chat(stream=True))

    assert b'"upstream_malformed"' in answer.body
    assert await upstream.closed(within_s=1)


async def test_j23_an_error_event_of_the_upstreams_is_passed_on_and_recorded(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(sse_head(), event(delta("a")), event({"error": {"message": "overloaded"}}), end())

    answer = await gateway.ask(chat(stream=True))

    assert answer.body.count(b'"error"') == 1
    (record,) = await gateway.settled()
    assert record.outcome == "upstream_error"


async def test_k04_the_log_tells_the_outcome_and_not_just_200(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(sse_head(), event(delta("a")), cut())

    await gateway.ask(chat(stream=True))
    await gateway.settled()

    (report,) = gateway.reports
    assert (report.status, report.outcome, report.code) == (200, "upstream_truncated", "upstream_error")


async def test_k02_a_slow_client_slows_the_upstream(upstream: ScriptedUpstream) -> None:
    """What nobody reads is not read: the gateway holds little and the upstream waits."""
    big = [event(delta("x" * 64_000)) for _ in range(600)]
    upstream.script(sse_head(), *big, event(LAST), event("[DONE]"), end())
    async with RunningGateway(upstream, timeouts="{total: 60s}") as gateway:
        connection = await gateway.connect(receive_buffer=65536)
        connection.reader._transport.pause_reading()
        await connection.send(request(chat(stream=True)))
        await upstream.received(1)
        sent = -1
        while sent != (sent := upstream.connections[0].sent):
            await asyncio.sleep(0.2)

        assert 0 < sent < 24_000_000
        connection.reader._transport.resume_reading()
        answer = await connection.read_answer()
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert len(answer.body) > 38_000_000
        await gateway.settled()


async def test_a_journal_that_cannot_be_written_stops_the_request(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    """G11: what cannot be recorded is not dispatched."""
    gateway.journal.failing = OSError("disk full")

    answer = await gateway.ask(chat())

    assert (answer.status, answer.json["error"]["code"]) == (503, "store_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert upstream.requests == []
