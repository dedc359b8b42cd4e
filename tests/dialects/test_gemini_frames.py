from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.dialects.gemini_frames import Frames
from llmgw.wire.sse import MAX_PENDING

DOCUMENTS = [
    {"text": 'a "quoted" \\ brace } {'},
    {"nested": {"deep": [{}, {"x": "]"}]}, "empty": ""},
    {"text": "Grüße 🙂"},
    {},
]
AS_ARRAY = json.dumps(DOCUMENTS, indent=2, ensure_ascii=False).encode()
AS_EVENTS = b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in DOCUMENTS)


def documents(data: bytes, cuts: list[int]) -> list[object]:
    frames = Frames()
    found: list[bytes] = []
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        found += frames.feed(data[begin:end])
    return [json.loads(one) for one in found + frames.close()]


@pytest.mark.parametrize(
    "data",
    [AS_ARRAY, AS_EVENTS, b"\xef\xbb\xbf \n" + AS_EVENTS, b"\r\n " + AS_ARRAY],
    ids=["array", "events", "marked events", "spaced array"],
)
def test_documents_do_not_depend_on_the_cuts(data: bytes) -> None:
    assert documents(data, []) == DOCUMENTS
    assert documents(data, list(range(1, len(data)))) == DOCUMENTS
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(50):
        assert documents(data, sorted(rng.sample(range(1, len(data)), 9))) == DOCUMENTS


@given(
    st.lists(st.dictionaries(st.text(), st.recursive(st.text(), st.lists, max_leaves=3)), max_size=4),
    st.data(),
)
def test_any_array_is_cut_into_its_objects(values: list[object], data: st.DataObject) -> None:
    body = json.dumps(values).encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(body) - 1)), max_size=6)))

    assert documents(body, cuts) == values


def test_comments_pings_and_foreign_terminators_carry_nothing() -> None:
    data = b": hello\n\nevent: ping\ndata: \n\nretry: 5\n\ndata: {}\n\ndata: [DONE]\n\n"

    assert documents(data, []) == [{}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_k01_line_ends_of_all_kinds_and_data_in_lines(end: str) -> None:
    lines = ['data:{"a":', "data: 1}", "", "event: x", "data: {}", "", 'data:{"b":2}', "", ""]
    data = end.join(lines).encode()

    assert documents(data, []) == [{"a": 1}, {}, {"b": 2}]


def test_bare_error_among_events_is_a_document() -> None:
    assert documents(b'data: {}\n\n{"error": {}}\n\n', []) == [{}, {"error": {}}]
    assert documents(b'data: {}\n\n{"error": {}}', []) == [{}, {"error": {}}]


def test_last_event_without_its_blank_line_counts_when_it_is_whole() -> None:
    assert documents(b'data: {"a":1}\n', []) == [{"a": 1}]
    assert documents(b'data: {"a":', []) == []


@pytest.mark.parametrize("begin", [b'[{"text":"', b'data: {"text":"'])
def test_document_beyond_the_cap_is_refused(begin: bytes) -> None:
    frames = Frames()
    frames.feed(begin)

    with pytest.raises(ValueError, match="longer than"):
        frames.feed(b"x" * MAX_PENDING)


def test_array_does_not_hold_what_it_has_told() -> None:
    frames = Frames()
    frames.feed(b"[")

    for _ in range(100):
        assert frames.feed(b'{"text":"' + b"x" * 50_000 + b'"}\n,') != []
