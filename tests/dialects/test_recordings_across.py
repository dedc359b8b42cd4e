"""Recorded answers as clients of every other dialect read them, where there are recordings.

An answer is read in its own dialect, written in another, and read there again. What comes out is
held to the recording's ground truth, but for what the other dialect has no words for; that is
listed in the tables here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from llmgw.core.chat import ChatRequest
from llmgw.core.errors import UpstreamBroken
from llmgw.core.events import ChatEvent
from llmgw.dialects import (
    anthropic,
    bedrock_converse,
    cohere,
    gemini,
    ollama,
    openai_chat,
    openai_responses,
)
from llmgw.dialects.base import Dialect
from llmgw.dialects.translation import TranslatedBody, TranslatedStream
from tests.dialects import (
    test_bedrock_converse,
    test_conformance_anthropic,
    test_conformance_cohere,
    test_conformance_gemini,
    test_conformance_ollama,
    test_conformance_openai_chat,
    test_conformance_openai_responses,
)
from tests.dialects.recordings import (
    Case,
    Gathered,
    body_of,
    cases,
    differences,
    gather,
    of_answer,
    skip_without,
)

DIALECTS: dict[str, Dialect] = {
    "openai_chat": openai_chat.DIALECT,
    "openai_responses": openai_responses.DIALECT,
    "anthropic": anthropic.ANTHROPIC,
    "gemini": gemini.DIALECT,
    "gemini array": gemini.ARRAY,
    "ollama": ollama.DIALECT,
    "cohere": cohere.DIALECT,
    "bedrock": bedrock_converse.DIALECT,
}
CLIENTS = [name for name in DIALECTS if name != "bedrock"]
UPSTREAMS = [name for name in DIALECTS if name != "gemini array"]
PAIRS = [(upstream, client) for upstream in UPSTREAMS for client in CLIENTS if upstream != client]

REQUEST = ChatRequest(model="m", messages=())

WITHOUT_REFUSALS = frozenset({"anthropic", "gemini", "gemini array", "ollama", "cohere"})
"""Have no part for a refusal in words: their clients read it as text."""

WITHOUT_MODELS = frozenset({"cohere"})
"""Do not say who answered."""

WITHOUT_SHARES = frozenset({"ollama"})
"""Count input and output, and not what of it was cached or spent on reasoning."""

ENDS: dict[str, dict[str, str]] = {"ollama": {"content_filter": "stop"}}
"""Why an answer ended, where a dialect has no word for it. (Ollama: `done_reason` is stop or length.)"""

UNFINISHED = frozenset({"queued", "in_progress"})
"""What only the responses API answers: work that goes on elsewhere. No request for it is translated."""


def recorded(upstream: str, *, stream: bool) -> Iterator[tuple[Case, Case]]:
    """Every exchange that went well, with the ground truth that its own dialect is held to."""
    if upstream == "anthropic":
        yield from test_conformance_anthropic.messages(stream=stream)
    elif upstream == "gemini":
        yield from test_conformance_gemini.streams() if stream else test_conformance_gemini.answers()
    elif upstream == "cohere":
        for case, reference in cases(test_conformance_cohere.API):
            if case["status"] == 200 and case["stream"] is stream:
                plan = test_conformance_cohere.plan_of(body_of(case), stream)
                yield case, test_conformance_cohere.expected(reference, plan)
    elif upstream == "bedrock":
        for case, reference in cases("converse-stream" if stream else "converse"):
            if case["status"] == 200:
                own = test_bedrock_converse.clients_own(case, reference)
                if not stream and not own["text"]:
                    own["text"] = test_bedrock_converse.cited(case)
                yield case, own
    elif upstream == "openai_chat":
        for case, reference in test_conformance_openai_chat.exchanges(stream=stream):
            yield case, test_conformance_openai_chat.expected(reference)[0]
    else:
        apis = (
            (test_conformance_ollama.API,) if upstream == "ollama" else test_conformance_openai_responses.APIS
        )
        for api in apis:
            for case, reference in cases(api):
                finish = reference.get("finish_reason_openai")
                if case["status"] == 200 and case["stream"] is stream and finish not in UNFINISHED:
                    yield case, reference


def read(dialect: Dialect, chunks: list[bytes]) -> list[ChatEvent]:
    decoder = dialect.decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.close()


def cut(body: bytes, rng: random.Random) -> list[bytes]:
    cuts = sorted(rng.sample(range(1, len(body)), min(len(body) // 80 + 1, 200, len(body) - 1)))
    return [body[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]


def wrong_for(client: str, case: Case, got: Gathered, own: Gathered, reference: Case) -> list[str]:
    """Every way in which a client reads something else than the provider said.

    own: what a client of the provider's dialect reads.
    """
    reference = dict(reference)
    if reference.get("partial_args"):
        # The reference does not put together arguments that came in pieces.
        calls = [{"name": name, "arguments": arguments} for _, name, arguments in own.calls]
        reference["tool_calls"] = calls
    if client in WITHOUT_REFUSALS:
        reference["text"] = (reference["text"] or "") + (reference.get("refusal") or "")
        reference["refusal"] = None
    if client in WITHOUT_SHARES and reference["usage"]:
        reference["usage"] = {**reference["usage"], "cached": 0, "reasoning": 0}
    finish = reference["finish_reason_openai"]
    reference["finish_reason_openai"] = ENDS.get(client, {}).get(finish, finish)
    wrong = differences(got, reference)
    if [call[0] for call in got.calls] != [call[0] for call in own.calls]:
        wrong.append(f"ids of calls: {got.calls} are not {own.calls}")
    if got.model != ("" if client in WITHOUT_MODELS else "public"):
        wrong.append(f"model: {got.model}")
    return [f"{case['id']} {line}" for line in wrong]


def crossed(upstream: str, client: str, chunks: list[bytes]) -> tuple[TranslatedStream, bytes]:
    """A stream that was carried across, and what the client got."""
    stream = TranslatedStream(DIALECTS[upstream], DIALECTS[client], REQUEST, "public", True)
    return stream, b"".join(map(stream.feed, chunks)) + stream.rest()


@pytest.mark.parametrize("way", ["whole", "random"])
@pytest.mark.parametrize(("upstream", "client"), PAIRS)
def test_streams(upstream: str, client: str, way: str) -> None:
    """However either side's bytes are cut."""
    skip_without()
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    wrong: list[str] = []
    count = 0
    for case, reference in recorded(upstream, stream=True):
        count += 1
        body = body_of(case)
        stream, written = crossed(upstream, client, [body] if way == "whole" else cut(body, rng))
        got = gather(read(DIALECTS[client], [written] if way == "whole" else cut(written, rng)))
        own = gather(read(DIALECTS[upstream], [body]))
        assert stream.done, case["id"]
        assert got.finished, case["id"]
        assert stream.usage == own.usage, case["id"]
        wrong += wrong_for(client, case, got, own, reference)

    assert not wrong, "\n".join(wrong)
    assert count > 0


@pytest.mark.parametrize(("upstream", "client"), PAIRS)
def test_a_stream_that_is_cut_does_not_look_finished(upstream: str, client: str) -> None:
    """What arrived is told as it was said, and then that it broke."""
    skip_without()
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    for case, reference in recorded(upstream, stream=True):
        body = body_of(case)
        stream, written = crossed(upstream, client, [body[: rng.randrange(len(body))]])
        if stream.done:
            continue
        written += stream.fail(UpstreamBroken("cut"))
        got = gather(read(DIALECTS[client], [written]))

        assert not got.finished, case["id"]
        assert got.failed is not None, case["id"]
        said = (reference["text"] or "") + (reference.get("refusal") or "")
        assert said.startswith(got.text + got.refusal), case["id"]


@pytest.mark.parametrize(("upstream", "client"), PAIRS)
def test_whole_answers(upstream: str, client: str) -> None:
    skip_without()
    wrong: list[str] = []
    count = 0
    for case, reference in recorded(upstream, stream=False):
        count += 1
        body = body_of(case)
        crossed = TranslatedBody(body, DIALECTS[upstream], DIALECTS[client], "public")
        got = of_answer(DIALECTS[client].parse_answer(crossed.body))
        own = of_answer(DIALECTS[upstream].parse_answer(body))
        assert crossed.usage == own.usage, case["id"]
        wrong += wrong_for(client, case, got, own, reference)

    assert not wrong, "\n".join(wrong)
    assert count > 0


def test_every_choice_crosses_where_there_is_room() -> None:
    """Gemini's candidates are choices; the other dialects have one answer."""
    skip_without()
    wrong: list[str] = []
    for case, reference in test_conformance_openai_chat.exchanges(stream=True):
        _, written = crossed("openai_chat", "gemini", [body_of(case)])
        events = read(DIALECTS["gemini"], [written])
        own = read(DIALECTS["openai_chat"], [body_of(case)])
        for index, wanted in enumerate(test_conformance_openai_chat.expected(reference)):
            got = gather(events, index)
            wrong += wrong_for("gemini", case, got, gather(own, index), wanted)

    assert not wrong, "\n".join(wrong)
