"""Some hundred malformed and hostile requests, answered alike under httptools and h11."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from llmgw.server.bounded import httptools_parser
from llmgw.server.h11_parser import H11Parser
from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import RawClient, chat
from tests.fakes.upstream import ScriptedUpstream, json_reply
from tests.server.corpus.bodies import BODIES
from tests.server.corpus.case import Case
from tests.server.corpus.connections import LEAVERS, PIPELINES
from tests.server.corpus.framing import CHUNKS, CODINGS, LENGTH_AND_CODING, LENGTHS, TRAILERS
from tests.server.corpus.heads import ENCODINGS, HOSTS, NAMES, SIZES, VALUES, WISHES
from tests.server.corpus.request_lines import LINE_ENDS, LONG_TARGETS, METHODS, PATHS, TARGETS, VERSIONS

CASES = [
    *LENGTH_AND_CODING,
    *LENGTHS,
    *CODINGS,
    *LINE_ENDS,
    *CHUNKS,
    *HOSTS,
    *TARGETS,
    *SIZES,
    *LONG_TARGETS,
    *PIPELINES,
    *METHODS,
    *VERSIONS,
    *WISHES,
    *NAMES,
    *PATHS,
    *VALUES,
    *BODIES,
    *ENCODINGS,
    *LEAVERS,
    *TRAILERS,
]
WITHIN_S = 20.0
NO_LIMITS = "limits: {global: off, per_tenant: off, per_user: off, per_ip: off, concurrency: off}\n"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        up.default(json_reply({"id": "x", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}))
        yield up


@pytest.fixture(params=[httptools_parser, H11Parser], ids=["httptools", "h11"])
async def gateway(
    upstream: ScriptedUpstream, request: pytest.FixtureRequest
) -> AsyncIterator[RunningGateway]:
    async with RunningGateway(upstream, make_parser=request.param, extra=NO_LIMITS) as running:
        yield running
        await running.quiet()
        assert running.heard.inside == 0


async def check(gateway: RunningGateway, upstream: ScriptedUpstream, cases: Sequence[Case]) -> None:
    """Each is answered as it says, sends nothing more upstream, and the next client is served."""
    wrong = {}
    for case in cases:
        before = len(upstream.requests)
        heard: list[object] = []
        try:
            async with asyncio.timeout(WITHIN_S):
                await talk(gateway, case, heard)
                good = await gateway.ask(chat("after"))
        except TimeoutError:
            wrong[case.name] = [*heard, "hangs"]
            continue
        sent = upstream.requests[before:]
        assert json.loads(sent[-1].body)["messages"][0]["content"] == "after"
        if (tuple(heard), good.status, len(sent) - 1) != (case.answers, 200, case.upstream):
            wrong[case.name] = [*heard, f"then {good.status}", f"{len(sent) - 1} upstream"]
        for request in sent:
            for name, value in request.headers.items():
                assert not set(name + value) & set("\r\n\x00"), case.name
    assert wrong == {}


async def talk(gateway: RunningGateway, case: Case, heard: list[object]) -> None:
    """Send a case and hear status and code of each answer."""
    client = await gateway.connect()
    try:
        for piece in case.pieces:
            client.writer.write(piece)
            if len(case.pieces) > 1:
                await asyncio.sleep(0)
        if case.leaves:
            client.writer.write_eof()
        for _ in case.answers:
            heard.append(await next_answer(client))
    except (ConnectionError, asyncio.IncompleteReadError):
        heard.append("cut")
    if case.closes and not await client.at_end():
        heard.append("goes on")
    await client.vanish()


async def next_answer(client: RawClient) -> tuple[int, str | None]:
    """Status and code. An error has the shape of its dialect, or the flat one."""
    answer = await client.read_answer()
    assert answer.headers["x-request-id"]
    assert answer.headers["date"]
    if answer.status < 400:
        return answer.status, None
    error = answer.json["error"]
    if isinstance(error, dict):
        assert set(error) >= {"message", "type", "param", "code"}
        return answer.status, error["code"]
    assert set(answer.json) >= {"error", "message", "code", "request_id"}
    return answer.status, answer.json["code"]


def test_the_corpus_is_large_and_every_case_has_a_name() -> None:
    names = [case.name for case in CASES]

    assert len(names) >= 600
    assert len(set(names)) == len(names)


async def test_a01_length_and_coding(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, LENGTH_AND_CODING)


async def test_a02_lengths(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, LENGTHS)


async def test_a03_codings(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, CODINGS)


async def test_a04_line_ends(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, LINE_ENDS)


async def test_a05_chunks(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, CHUNKS)


async def test_a06_hosts(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, HOSTS)


async def test_a07_targets(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, TARGETS)


async def test_a08_sizes(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, SIZES)


async def test_a09_long_targets(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, LONG_TARGETS)


async def test_a11_a12_pipelines(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, PIPELINES)


async def test_a13_methods(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, METHODS)


async def test_a13_versions(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, VERSIONS)


async def test_a13_wishes(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, WISHES)


async def test_a14_names(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, NAMES)


async def test_a14_paths(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, PATHS)


async def test_a14_values(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, VALUES)


async def test_a16_b05_bodies(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, BODIES)


async def test_b09_encodings(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, ENCODINGS)


async def test_leavers(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, LEAVERS)


async def test_trailers(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    await check(gateway, upstream, TRAILERS)
