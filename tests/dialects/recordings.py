"""Recorded exchanges with providers, and what a client should end up with.

They are not part of the project. The folder, in the format that its own README tells, is named
by `LLMGW_RECORDINGS`, or is `../shared/data/recordings` beside the checkout.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from llmgw.core.chat import ChatAnswer, Refusal, Text, Thinking, ToolCall
from llmgw.core.events import (
    REFUSED,
    TEXT,
    THINKING,
    TOOL_CALL,
    ChatEvent,
    ChoiceEnded,
    Counted,
    Delta,
    Failed,
    Finished,
    PartEnded,
    PartStarted,
    Started,
)
from llmgw.core.usage import Usage

VARIABLE = "LLMGW_RECORDINGS"

Case = dict[str, Any]

STOPS = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}
"""Our words for why an answer ended, in OpenAI's."""


def folder() -> Path | None:
    """Where the recordings are, if they are."""
    named = os.environ.get(VARIABLE)
    path = Path(named) if named else Path(__file__).parents[3] / "shared" / "data" / "recordings"
    return path if (path / "reference.jsonl").is_file() else None


def skip_without() -> None:
    """Skip the test, saying why, when there are no recordings."""
    if folder() is None:
        pytest.skip(f"no recordings: {VARIABLE} does not name their folder, and none is beside the checkout")


@cache
def _load(path: Path) -> dict[str, list[tuple[Case, Case]]]:
    references = {}
    for line in (path / "reference.jsonl").read_text().splitlines():
        reference = json.loads(line)
        references[reference["id"]] = reference
    found: dict[str, list[tuple[Case, Case]]] = {}
    for file in sorted((path / "cases").glob("*.jsonl")):
        for line in file.read_text().splitlines():
            case = json.loads(line)
            found.setdefault(case["api"], []).append((case, references.get(case["id"], {})))
    return found


def cases(api: str) -> Iterator[tuple[Case, Case]]:
    """Every exchange of an api, such as `responses`, with its reference ({} without one)."""
    path = folder()
    if path is not None:
        yield from _load(path).get(api, [])


def body_of(case: Case) -> bytes:
    """The bytes of the response."""
    body = case["response_body"] or ""
    return base64.b64decode(body) if case["response_body_encoding"] == "base64" else body.encode()


@dataclass
class Gathered:
    """What a client ends up with. calls: id, name and arguments of each."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    stop: str | None = None
    usage: Usage | None = None
    finished: bool = False
    failed: Failed | None = None
    model: str = ""


def gather(events: Iterable[ChatEvent], choice: int = 0) -> Gathered:
    """A stream as its reader sees it. Fails when the events are not in order."""
    got = Gathered()
    kinds: dict[int, PartStarted] = {}
    texts: dict[int, list[str]] = {}
    open_parts: set[int] = set()
    for event in events:
        assert not got.finished, "nothing follows the end"
        if isinstance(event, Started):
            got.model = event.model
        elif isinstance(event, Counted):
            got.usage = event.usage
        elif isinstance(event, Finished):
            assert not open_parts
            got.finished = True
        elif isinstance(event, Failed):
            got.failed = event
        elif event.choice != choice:
            continue
        elif isinstance(event, PartStarted):
            assert event.part == len(kinds), "parts are numbered as they begin"
            beside = {kinds[number].kind for number in open_parts}
            assert not beside or beside | {event.kind} == {TOOL_CALL}, "only calls are open together"
            kinds[event.part] = event
            texts[event.part] = []
            open_parts.add(event.part)
        elif isinstance(event, Delta):
            assert event.part in open_parts
            texts[event.part].append(event.text)
        elif isinstance(event, PartEnded):
            open_parts.remove(event.part)
        elif isinstance(event, ChoiceEnded):
            got.stop = event.stop
    for number, started in kinds.items():
        _add(got, started.kind, "".join(texts[number]), started.call_id or "", started.name or "")
    return got


def of_answer(answer: ChatAnswer, choice: int = 0) -> Gathered:
    """A whole answer in the same form."""
    one = answer.choices[choice]
    got = Gathered(stop=one.stop, usage=answer.usage, finished=True, model=answer.model)
    for part in one.parts:
        if isinstance(part, ToolCall):
            _add(got, TOOL_CALL, part.arguments, part.id, part.name)
        elif isinstance(part, Text):
            _add(got, TEXT, part.text, "", "")
        elif isinstance(part, Thinking):
            _add(got, THINKING, part.text, "", "")
        elif isinstance(part, Refusal):
            _add(got, REFUSED, part.text, "", "")
    return got


def _add(got: Gathered, kind: str, text: str, call_id: str, name: str) -> None:
    if kind == TEXT:
        got.text += text
    elif kind == THINKING:
        got.reasoning += text
    elif kind == REFUSED:
        got.refusal += text
    else:
        got.calls.append((call_id, name, text))


def differences(got: Gathered, reference: Case) -> list[str]:
    """Every way in which `got` is not what the reference says."""
    wrong = []

    def expect(what: str, have: object, want: object) -> None:
        if have != want:
            wrong.append(f"{what}: {have!r:.300} is not {want!r:.300}")

    expect("text", got.text, reference["text"] or "")
    expect("reasoning", got.reasoning, reference["reasoning"] or "")
    expect("refusal", got.refusal, reference.get("refusal") or "")
    expect(
        "calls",
        [(name, json.loads(arguments or "{}")) for _, name, arguments in got.calls],
        [(call["name"], _arguments(call)) for call in reference["tool_calls"]],
    )
    finish = reference["finish_reason_openai"]
    if finish is not None:
        expect("finish reason", STOPS.get(got.stop or ""), finish)
    usage = reference["usage"]
    if usage is None or usage["input_total"] is None or usage["output_total"] is None:
        return wrong
    have = got.usage
    if have is None:
        return [*wrong, "usage: none"]
    expect("input", have.input_tokens, usage["input_total"])
    expect("output", have.output_tokens, usage["output_total"])
    expect("cached", have.cached_tokens, usage["cached"] or 0)
    expect("reasoning tokens", have.reasoning_tokens, usage["reasoning"] or 0)
    return wrong


def _arguments(call: Case) -> object:
    if call.get("arguments_json") is not None:
        return call["arguments_json"]
    return json.loads(call["arguments"] or "{}")
