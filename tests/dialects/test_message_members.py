"""Members of messages that nobody reads."""

from __future__ import annotations

import pytest

from llmgw.dialects.message_members import MessageMembers

MEMBERS = MessageMembers(("role", "d"))


def test_unknown_members_are_found_by_name() -> None:
    body = b'{"messages":[{"role":"user","a":1,"b":null},{"a":2,"c":[ ],"d":"x"}],"e":1}'

    assert MEMBERS.unknown(body) == {"messages[].a": "1", "messages[].c": "[ ]"}


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"messages":null}', b'{"messages":[{"role":7,"d":[{}]}],"e":1}', b'{"messages":[{"a":null}]}'],
)
def test_there_may_be_none(body: bytes) -> None:
    assert MEMBERS.unknown(body) == {}
