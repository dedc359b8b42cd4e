from __future__ import annotations

import json

import pytest
from msgspec import Raw, ValidationError
from msgspec.json import encode

from llmgw.core.chat import Thinking
from llmgw.dialects.openai_chat_thoughts import parse_thoughts, render_details


def raws(*entries: object) -> list[Raw]:
    return [Raw(json.dumps(entry).encode()) for entry in entries]


def text(text: str | None, index: int = 0, **more: object) -> dict[str, object]:
    return {"type": "reasoning.text", "text": text, "index": index, **more}


def test_text_alone() -> None:
    assert parse_thoughts("hm", None) == [Thinking("hm")]
    assert parse_thoughts("", None) == []


def test_entries_know_their_signatures() -> None:
    """Pieces of one entry, as gathered from a stream, are one thought."""
    details = raws(text("", signature=""), text("hm "), text("so"), text(None, signature="S"), text("and", 1))

    assert parse_thoughts("hm soand", details) == [Thinking("hm so", "S"), Thinking("and")]


def test_a_signature_without_text_is_for_the_text_beside_it() -> None:
    assert parse_thoughts("hm", raws(text(None, signature="S"))) == [Thinking("hm", "S")]


def test_what_entries_do_not_say_is_the_first_silent_one_s() -> None:
    """As our own streams have it: the first thought's text is only in the text member."""
    details = raws(text(None, 0, signature="S"), text("then", 1), text(None, 1, signature="T"))

    assert parse_thoughts("hm then", details) == [Thinking("hm ", "S"), Thinking("then", "T")]
    assert parse_thoughts("hm then", raws(text("then", 1))) == [Thinking("hm "), Thinking("then")]


def test_a_text_that_entries_contradict_holds() -> None:
    assert parse_thoughts("whole", raws(text("other", signature="S"))) == [Thinking("whole", "S")]


def test_summaries_and_encrypted_thoughts() -> None:
    whole = {
        "type": "reasoning.encrypted",
        "data": "E",
        "id": "rs_1",
        "format": "xai-responses-v1",
        "index": 0,
    }
    details = raws({"type": "reasoning.summary", "summary": "short", "index": 0}, whole)

    assert parse_thoughts("short", details) == [Thinking("short"), Thinking("", None, json.dumps(whole))]
    assert parse_thoughts("", raws({"type": "reasoning.encrypted", "data": "E"})) == [Thinking("", None, "E")]


def test_they_come_back_as_they_went() -> None:
    whole = '{"type":"reasoning.encrypted","data":"E","id":"rs_1"}'
    thoughts = [Thinking("hm", "S"), Thinking("", None, "R"), Thinking("", None, whole), Thinking("so")]

    written = json.loads(encode(render_details(thoughts)))

    assert parse_thoughts("", raws(*written))[:2] == thoughts[:2]
    assert json.loads(parse_thoughts("", raws(*written))[2].redacted or "") == json.loads(whole)
    assert parse_thoughts("", raws(*written))[3] == thoughts[3]
    assert json.loads(encode(render_details(thoughts, claude=True)))[0]["format"] == "anthropic-claude-v1"


@pytest.mark.parametrize(
    "redacted", ['{"type":"reasoning.encrypted"}],"model":"dear","x":[{}', '{"type":"x"}', "{", '{"a":1}x']
)
def test_encrypted_thoughts_cannot_write_into_the_request(redacted: str) -> None:
    """They have been with the client: only a whole entry is taken for one."""
    assert json.loads(encode(render_details([Thinking("", None, redacted)]))) == [
        {"type": "reasoning.encrypted", "data": redacted, "index": 0}
    ]


def test_an_entry_that_is_none() -> None:
    with pytest.raises(ValidationError):
        parse_thoughts("", raws({"type": 5}))
