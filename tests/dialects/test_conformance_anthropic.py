"""The messages dialect on recorded exchanges, where there are any."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from llmgw.core.chat import ChatRequest
from llmgw.core.errors import UnsupportedOperation
from llmgw.core.events import ChatEvent
from llmgw.dialects.anthropic import ANTHROPIC
from llmgw.dialects.anthropic_tap import AnthropicBodyTap, AnthropicStreamTap
from llmgw.dialects.base import AUTH, INVALID
from llmgw.dialects.endpoints import MESSAGES
from tests.dialects.recordings import (
    Case,
    body_of,
    cases,
    differences,
    gather,
    of_answer,
    skip_without,
)

SPLICED = "anthropic-messages-x2316b5b10"
"""Two messages in one stream, made by hand: it has no reference and is refused."""

PROVIDERS_OWN = re.compile(r"messages\[\d+\]\.content\[\d+\](\.content\[\d+\])?\.type")
"""What a request is refused for: blocks of tools that the provider runs."""


def messages(*, stream: bool) -> Iterator[tuple[Case, Case]]:
    """The exchanges in this shape, Claude on Bedrock among them."""
    for api in ("messages", "invoke"):
        for case, reference in cases(api):
            mine = api == "messages" or b'"type":"message"' in body_of(case).replace(b" ", b"")
            if mine and case["stream"] is stream and case["status"] == 200 and case["id"] != SPLICED:
                yield case, reference


def requests() -> Iterator[tuple[str, Case, dict[str, Any]]]:
    """The requests in this shape, with the api that they are of."""
    for api in ("messages", "invoke", "count_tokens"):
        for case, _ in cases(api):
            body = case["request_body"]
            if isinstance(body, dict) and "messages" in body and "claude" in str(case["model"]):
                yield api, case, body


def decoded(body: bytes, cuts: list[int]) -> list[ChatEvent]:
    decoder = ANTHROPIC.decoder()
    events: list[ChatEvent] = []
    for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        events.extend(decoder.feed(body[begin:end]))
    return events + decoder.close()


def test_whole_answers() -> None:
    skip_without()
    wrong = []
    count = 0
    for case, reference in messages(stream=False):
        count += 1
        answer = ANTHROPIC.parse_answer(body_of(case))
        again = ANTHROPIC.parse_answer(ANTHROPIC.render_answer(answer))
        tap = AnthropicBodyTap(body_of(case))
        assert tap.upstream_id == answer.id
        assert tap.usage == answer.usage
        wrong.extend(f"{case['id']} {line}" for line in differences(of_answer(answer), reference))
        wrong.extend(f"{case['id']} again: {line}" for line in differences(of_answer(again), reference))
    print(f"{count} whole answers")
    assert count
    assert not wrong, "\n".join(wrong)


def test_streams() -> None:
    """Whole, byte by byte, and cut at random; and once more after our own encoder wrote them."""
    skip_without()
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    wrong = []
    count = 0
    for case, reference in messages(stream=True):
        count += 1
        body = body_of(case)
        events = decoded(body, [])
        cuts = sorted(chance.sample(range(1, len(body)), min(20, len(body) - 1)))
        for other in (list(range(1, len(body))), cuts):
            assert shape(decoded(body, other)) == shape(events), case["id"]
        got = gather(events)
        assert got.finished, case["id"]
        encoder = ANTHROPIC.encoder(ChatRequest(model="m", messages=()), "public", True)
        again = gather(decoded(b"".join(map(encoder.feed, events)), []))
        assert again.model == "public"
        wrong.extend(f"{case['id']} {line}" for line in differences(got, reference))
        wrong.extend(f"{case['id']} again: {line}" for line in differences(again, reference))
        tap = AnthropicStreamTap(MESSAGES, False)
        assert b"".join(tap.feed(body[at : at + 97]) for at in range(0, len(body), 97)) == body
        assert tap.done
        assert not tap.failed
        assert tap.usage == got.usage
        assert got.text in tap.delivered_text()
    print(f"{count} streams")
    assert count
    assert not wrong, "\n".join(wrong)


def test_spliced_stream_is_refused() -> None:
    skip_without()
    for case, _ in cases("messages"):
        if case["id"] == SPLICED:
            with pytest.raises(ValueError, match="second message"):
                decoded(body_of(case), [])


def test_requests() -> None:
    """What is read and written again says the same, but for blocks that only the provider can have."""
    skip_without()
    wrong = []
    refused = []
    count = 0
    for api, case, body in requests():
        count += 1
        try:
            request = ANTHROPIC.parse_request(json.dumps(body).encode(), case["model"], False)
        except UnsupportedOperation as refusal:
            refused.append(f"{case['id']} {refusal.param}: {refusal.message}")
            continue
        if api == "count_tokens":
            rendered = ANTHROPIC.render_count_request(request)
        else:
            rendered = ANTHROPIC.render_request(request)
        again = plain(json.loads(rendered.body))
        want = plain({"model": case["model"]} | body)
        if again != want:
            wrong.append(f"{case['id']}: {again!r:.600} is not {want!r:.600}")
        if rendered.dropped:
            wrong.append(f"{case['id']} dropped {rendered.dropped}")
    print(f"{count} requests", *refused, sep="\n")
    assert count
    assert not wrong, "\n".join(wrong)
    assert not [line for line in refused if PROVIDERS_OWN.search(line) is None]


def test_counts() -> None:
    skip_without()
    count = 0
    for case, _ in cases("count_tokens"):
        if case["provider"] == "anthropic":
            count += 1
            tokens = ANTHROPIC.parse_count_answer(body_of(case))
            assert json.loads(ANTHROPIC.render_count_answer(tokens)) == json.loads(body_of(case))
    assert count


def test_failures() -> None:
    skip_without()
    count = 0
    for case, reference in cases("messages"):
        if case["status"] >= 400:
            count += 1
            failure = ANTHROPIC.parse_failure(case["status"], body_of(case))
            assert failure.message == reference["error"]["message"]
            assert failure.code == {400: INVALID, 401: AUTH}[case["status"]]
    assert count


def shape(events: list[ChatEvent]) -> list[str]:
    """Events without ids that are made up."""
    return [re.sub(r"toolu_[0-9a-f]{24}", "made", repr(event)) for event in events]


def plain(value: dict[str, Any]) -> dict[str, Any]:
    """A request with its short forms written out, and without what says nothing."""
    said = dict(value)
    said.pop("anthropic_version", None)
    if said.get("stream") is False:
        del said["stream"]
    if "output_format" in said:
        said["output_config"] = {"format": said.pop("output_format")}
    said["system"] = _blocks(said.get("system") or [])
    said["messages"] = [{**message, "content": _blocks(message["content"])} for message in said["messages"]]
    said["tools"] = [_without_nulls(tool) for tool in said.get("tools") or ()]
    return said


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [_block(block) for block in content]


def _block(block: dict[str, Any]) -> dict[str, Any]:
    said = _without_nulls(block)
    if said["type"] == "tool_result":
        said["content"] = _blocks(said.get("content", []))
        if said.get("is_error") is False:
            del said["is_error"]
    return said


def _without_nulls(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
