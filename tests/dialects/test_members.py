from __future__ import annotations

import pytest

from llmgw.core.errors import InvalidRequest
from llmgw.dialects.members import count_of, flag_of, others, read_object, text_of, texts_of


def test_members_that_are_null_are_absent() -> None:
    assert read_object(b'{"a": null, "b": 1}') == {"b": 1}


@pytest.mark.parametrize("body", [b"[]", b"{", b'"a"', b"\xff", b"[" * 2000])
def test_what_is_no_object(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_object(body)


def test_members_by_their_kinds() -> None:
    members = {"text": "a", "flag": False, "count": 3, "texts": ["a", ""]}

    assert text_of(members, "text") == "a"
    assert flag_of(members, "flag") is False
    assert count_of(members, "count") == 3
    assert texts_of(members, "texts") == ("a", "")
    assert text_of(members, "x") is flag_of(members, "x") is count_of(members, "x") is None
    assert others(members, {"text", "flag"}) == ("count", "texts")


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (text_of, 1),
        (flag_of, 1),
        (count_of, 0),
        (count_of, True),
        (count_of, 1.5),
        (count_of, 10**10),
        (texts_of, []),
        (texts_of, "a"),
        (texts_of, ["a", 1]),
        (texts_of, None),
    ],
)
def test_other_kinds_are_refused_by_name(read: object, value: object) -> None:
    with pytest.raises(InvalidRequest, match="'x'") as refused:
        read({"x": value}, "x")  # type: ignore[operator]
    assert refused.value.param == "x"
