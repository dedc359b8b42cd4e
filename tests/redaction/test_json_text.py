"""JSON with its texts redacted keeps everything else."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgw.redaction.json_text import JsonStream, in_json, rewritten
from llmgw.redaction.kinds import KINDS
from llmgw.redaction.text import rules_of

RULES = rules_of(KINDS)
MAIL = "bob@example.com"


def of(text: str, **how: Any) -> str:
    return rewritten(text, RULES, Counter(), **how)


def test_all_else_keeps_its_bytes() -> None:
    text = (
        '{ "a" : [1.0, 1e5, 12345678901234567890123, -0, true, null, "\\u00e9\\/"],\n "b": "to %s!", "z":{}}'
    )

    assert of(text % MAIL) == text % "[EMAIL]"


def test_nothing_to_redact_is_the_same_object() -> None:
    text = '{"a": "nothing here"}'

    assert of(text) is text


@pytest.mark.parametrize(
    "escaped", ["bob\\u0040example.com", "b\\u006fb@example.com", "\\ud83d\\ude00 bob@example.com"]
)
def test_escapes_hide_nothing(escaped: str) -> None:
    assert json.loads(of(f'{{"a": "{escaped}"}}'))["a"].endswith("[EMAIL]")


@pytest.mark.parametrize(
    "value", ["bob\\u0040example.com", "4111\\u00a01111\\u00a01111\\u00a01111", "a\\nsk-%s" % ("a1" * 12)]
)
def test_escapes_of_a_text_that_is_json_hide_nothing(value: str) -> None:
    """As what a tool gave back often is."""
    document = json.dumps({"role": "tool", "content": f' {{"a": ["{value}", 1.50, "\\/"]}}'})

    got = json.loads(json.loads(of(document))["content"])["a"]

    assert got[0].endswith("]")
    assert got[1:] == [1.5, "/"]


def test_a_text_that_only_begins_like_json() -> None:
    assert of(json.dumps({"content": f"[1] ask {MAIL}"})) == '{"content": "[1] ask [EMAIL]"}'
    assert of(json.dumps({"content": "[" * 5000 + MAIL})) == '{"content": "%s[EMAIL]"}' % ("[" * 5000)


def test_names_and_identifiers_are_no_texts() -> None:
    """Anything that a value is found by again must come back as it was."""
    text = json.dumps({"id": MAIL, "model": MAIL, "x": {"call_id": MAIL, "signature": MAIL, "type": MAIL}})

    assert of(text) == text


def test_what_a_tool_is_called_with_may_hold_anything() -> None:
    """Under any name, as a name and as a number, and it stays JSON."""
    call = {
        "type": "tool_use",
        "id": "t1",
        "input": {"id": MAIL, MAIL: [4111111111111111, {"model": MAIL}], "n": 7},
    }

    told = json.loads(of(json.dumps({"content": [call]})))

    assert told["content"][0]["input"] == {
        "id": "[EMAIL]",
        "[EMAIL]": ["[CREDIT_CARD]", {"model": "[EMAIL]"}],
        "n": 7,
    }
    assert told["content"][0]["id"] == "t1"


def test_arguments_that_are_json_in_a_string() -> None:
    inner = json.dumps({"to": "b\u00f6b@example.com", "quote": f'say "{MAIL}"\n', "card": 4111111111111111})

    told = json.loads(
        json.loads(of(json.dumps({"function": {"name": "f", "arguments": inner}})))["function"]["arguments"]
    )

    assert told == {"to": "[EMAIL]", "quote": 'say "[EMAIL]"\n', "card": "[CREDIT_CARD]"}


def test_gemini_answers_of_functions() -> None:
    text = json.dumps({"functionResponse": {"name": "f", "response": {"id": MAIL}}})

    assert json.loads(of(text))["functionResponse"] == {"name": "f", "response": {"id": "[EMAIL]"}}


def test_base64_is_left_alone() -> None:
    data = "QUJD" * 400

    for text in (json.dumps({"data": data}), json.dumps({"url": f"data:image/png;base64,{data}"})):
        assert of(text) is text
    assert MAIL not in of(json.dumps({"source": {"type": "text", "data": f"plain {MAIL}"}}))


@pytest.mark.parametrize(
    ("thought", "proof"),
    [
        ({"type": "thinking", "thinking": MAIL, "signature": "c2ln"}, "signature"),
        ({"type": "thinking", "signature": "c2ln", "thinking": MAIL}, "signature"),
        ({"text": MAIL, "thought": True, "thoughtSignature": "c2ln"}, "thoughtSignature"),
        (
            {"type": "reasoning", "summary": [{"text": MAIL}], "encrypted_content": "c2ln"},
            "encrypted_content",
        ),
    ],
)
def test_a_thought_that_was_changed_proves_nothing(thought: dict[str, Any], proof: str) -> None:
    """Its provider would refuse it with the old signature; unchanged it keeps it."""
    same = json.loads(json.dumps(thought).replace(MAIL, "nothing"))

    assert json.loads(of(json.dumps([thought])))[0][proof] == ""
    assert json.loads(of(json.dumps([same]))) == [same]


def test_tokens_of_answers_are_left_out() -> None:
    """They spell out what was redacted."""
    spelt = {"content": [{"token": "bob", "bytes": [98, 111, 98]}]}

    told = json.loads(
        of(json.dumps({"logprobs": spelt, "x": [{"logprobs": [1]}], "context": [1, 2]}), answer=True)
    )

    assert told == {"logprobs": None, "x": [{"logprobs": []}], "context": []}
    assert json.loads(of(json.dumps({"logprobs": spelt}))) == {"logprobs": spelt}


def test_places_that_are_somebody_elses() -> None:
    text = json.dumps({"a": [{"b": MAIL}, {"b": MAIL}], "c": MAIL})

    told = json.loads(of(text, at={("a", 1, "b"): lambda said: said.upper()}))

    assert told == {"a": [{"b": "[EMAIL]"}, {"b": MAIL.upper()}], "c": "[EMAIL]"}


def test_a_lone_surrogate_survives() -> None:
    assert of('{"a": "\\ud800 bob@example.com"}') == '{"a": "\\ud800 [EMAIL]"}'


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.sampled_from(
        [MAIL, f'"{MAIL}"\n', "\\", "é😀", "4111111111111111", "call +49 151 12345678", "x" * 300]
    ),
    st.text(max_size=6),
    st.just(4111111111111111),
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(DOCUMENTS, st.lists(st.integers(1, 12), min_size=1, max_size=5), st.booleans())
def test_k06_json_that_comes_in_pieces(document: object, sizes: list[int], plain: bool) -> None:
    """It is what the whole gives, it is JSON, and it has no value that was to go."""
    text = json.dumps(document, ensure_ascii=plain)
    stream = JsonStream(RULES, Counter())
    out, at = [], 0
    while at < len(text):
        size = sizes[at % len(sizes)]
        out.append(stream.feed(text[at : at + size]))
        at += size
    told = "".join([*out, stream.feed("", last=True)])

    assert told == (in_json(text, RULES, Counter()) or told)
    json.loads(told)
    assert MAIL not in told
    assert "4111111111111111" not in told


def test_arguments_that_are_no_json() -> None:
    """Nothing is missed for it."""
    for text in (f"{{'to': '{MAIL}'}}", MAIL, f'{{"a": "{MAIL}', f'{{"a": "\\x{MAIL}"}}', f'"a" {MAIL} "b"'):
        assert MAIL not in (in_json(text, RULES, Counter()) or text)
