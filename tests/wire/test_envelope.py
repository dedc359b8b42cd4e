from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgw.wire.envelope import Envelope, EnvelopeError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=6), JSON, max_size=6)
STYLES = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n ", "\t:\r\n ")])


@given(OBJECTS, STYLES, st.booleans())
def test_members_are_the_document(
    document: dict[str, object], style: tuple[str, str], ascii_only: bool
) -> None:
    """Every member is found, whatever the white space and escapes."""
    raw = json.dumps(document, separators=style, ensure_ascii=ascii_only).encode()

    envelope = Envelope(raw)

    assert {name: json.loads(bytes(value)) for name, value in envelope.members.items()} == document
    assert envelope.spliced({}) is raw


@given(
    OBJECTS,
    STYLES,
    st.booleans(),
    st.dictionaries(st.sampled_from(["model", "stream", "", "é"]), JSON, max_size=3),
)
def test_splice_changes_only_what_it_names(
    document: dict[str, object], style: tuple[str, str], ascii_only: bool, edits: dict[str, object]
) -> None:
    """A spliced body is the document with those members set, all else in its place."""
    raw = json.dumps(document, separators=style, ensure_ascii=ascii_only).encode()

    out = Envelope(raw).spliced({name: json.dumps(value).encode() for name, value in edits.items()})

    assert json.loads(out) == {**document, **edits}
    kept = [name for name in json.loads(out) if name in document]
    assert kept == list(document)


def test_untouched_members_keep_their_bytes() -> None:
    raw = b'{ "model" : "a", "x": 1.0e2 ,"new_field":{"z":[1,  2]}}'

    assert (
        Envelope(raw).spliced({"model": b'"upstream/b"'})
        == b'{ "model" : "upstream/b", "x": 1.0e2 ,"new_field":{"z":[1,  2]}}'
    )
    assert Envelope(b"{}").spliced({"a": b"1"}) == b'{"a":1}'
    assert Envelope(b'{"b":2} \n').spliced({"a": b"1"}) == b'{"b":2,"a":1} \n'


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","model":"a"}',
        b'{"model":"a","x":1,"model":"a"}',
        b'{"x":12,"model":"a","x":1}',
        b'{"x":1,"model":"a","x":12}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"mod\\u0065l":"a","model":"a"}',
        b'{ "a":1, "b":2, "a":1 }',
        b'{"a":{"b":1},"a":{"b":1}}',
        b'{"":1,"":1}',
    ],
)
def test_a16_repeated_member_is_refused(raw: bytes) -> None:
    with pytest.raises(EnvelopeError, match="twice"):
        Envelope(raw)


@given(OBJECTS.filter(bool), STYLES, st.data())
def test_a16_any_repeated_member_is_refused(
    document: dict[str, object], style: tuple[str, str], data: st.DataObject
) -> None:
    """However names, values and spaces are chosen, a second member of one name is seen."""
    items = list(document.items())
    name, _ = data.draw(st.sampled_from(items))
    again = (name, data.draw(JSON))
    items.insert(data.draw(st.integers(0, len(items))), again)
    raw = "{" + style[0].join(json.dumps(n) + style[1] + json.dumps(v) for n, v in items) + "}"

    with pytest.raises(EnvelopeError, match="twice"):
        Envelope(raw.encode())


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b"{", "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":[Infinity]}', "not valid JSON"),
        (b'{"a":1e999}', "finite"),
        (b'{"a":-1E+999}', "finite"),
        (b'{"a":1' + b"0" * 4300 + b"}", "usable number"),
        (b'{"a":"\\ud800"}', "not valid JSON"),
        (b'{"a":"\\udc00 and more text"}', "not valid JSON"),
        (b'{"a":"\xff\xfe"}', "UTF-8"),
        (b'{"\xff":1}', "UTF-8"),
        (b'\xef\xbb\xbf{"a":1}', "not valid JSON"),
        ('{"a":1}'.encode("utf-16"), "not valid JSON"),
        (b'{"a":"\x01"}', "not valid JSON"),
        (b'{"a":01}', "not valid JSON"),
        (b'{"a":1}x', "not valid JSON"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deep"),
        (b"[" * 100_000, "JSON object"),
        (json.dumps({str(n): n for n in range(100_000)}).encode(), "more than 1000 members"),
    ],
)
def test_a16_b05_what_cannot_be_passed_on_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(EnvelopeError, match=reason):
        Envelope(raw)


def test_typed_members() -> None:
    envelope = Envelope(b'{"model":"a\\u0062","stream":true,"n":2,"s":"yes","z":null,"o":{"k":[1]}}')

    assert envelope.text("model") == "ab"
    assert envelope.text("absent") is None
    assert envelope.flag("stream") is True
    assert envelope.flag("z") is False
    assert envelope.flag("absent") is False
    assert envelope.value("o") == {"k": [1]}
    with pytest.raises(EnvelopeError, match="'n' must be a string"):
        envelope.text("n")
    with pytest.raises(EnvelopeError, match="'s' must be a boolean"):
        envelope.flag("s")
