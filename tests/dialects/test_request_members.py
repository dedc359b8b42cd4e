"""Members of requests that nobody reads."""

from __future__ import annotations

import pytest
from msgspec import Raw, Struct, field

from llmgw.dialects.request_members import RequestMembers


class Inner(Struct):
    text: str | None = None
    wide: Raw = Raw()
    named: int = field(default=0, name="other")


class Message(Struct):
    role: str
    d: object = None
    content: str | list[Inner] | None = None
    one: str | Inner | None = None


MEMBERS = RequestMembers(
    {"messages": list[Message] | None, "inner": Inner}, passed=("status",), empty=("notes",)
)


def test_unknown_members_are_found_by_their_place() -> None:
    body = (
        b'{"messages":[{"role":"user","a":1,"b":null},{"role":"x","a":2,"c":[ ],"d":{"x":1},"content":'
        b'[{"text":"t","f":{"k": 1}},{"f":2,"wide":{"g":1},"other":1,"named":2}],"one":{"h":"i"}}],'
        b'"e":1,"inner":{"j":1}}'
    )

    assert MEMBERS.unknown(body) == {
        "messages[].a": "1",
        "messages[].c": "[ ]",
        "messages[].content[].f": '{"k": 1}',
        "messages[].content[].named": "2",
        "messages[].one.h": '"i"',
        "inner.j": "1",
    }


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"messages":null}',
        b'{"messages":[{"role":"x","d":[{}],"one":"y","content":"z"}],"e":1}',
        b'{"messages":[{"role":"x","a":null,"content":[{"status":"done","u":[]}]}]}',
        b'{"messages":[{"role":"x","status":"done","content":null}],"inner":{"wide":[{"a":1}]}}',
        b'{"messages":[{"role":"x","notes":[],"content":[{"notes":null}]}]}',
    ],
)
def test_there_may_be_none(body: bytes) -> None:
    assert MEMBERS.unknown(body) == {}


def test_what_is_mostly_empty_is_found_when_it_is_not() -> None:
    assert MEMBERS.unknown(b'{"messages":[{"role":"x","notes":[1]}]}') == {"messages[].notes": "[1]"}
