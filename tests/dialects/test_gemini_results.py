from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from llmgw.core.chat import Text
from llmgw.dialects.gemini_results import parse_response, render_response


@pytest.mark.parametrize(
    ("response", "text", "failed"),
    [
        ('{"output":"12 C"}', "12 C", False),
        ('{"error":"no"}', "no", True),
        ('{"error":{"code": 5}}', '{"code": 5}', True),
        ('{"degrees": 3}', '{"degrees": 3}', False),
        ('{"output":"a","more":1}', '{"output":"a","more":1}', False),
        ('{"output":{"a":1}}', '{"output":{"a":1}}', False),
    ],
)
def test_response_is_read_as_its_result(response: str, text: str, failed: bool) -> None:
    assert parse_response(Raw(response.encode())) == ((Text(text),), failed)


def test_response_without_anything_is_an_empty_result() -> None:
    assert parse_response(None) == ((), False)
    assert parse_response(Raw(b"{}")) == ((), False)
    assert render_response([], False) == {}
    assert render_response([], True) == {"error": ""}


@pytest.mark.parametrize("response", ["[1]", "5", '"text"'])
def test_response_that_is_no_object_is_refused(response: str) -> None:
    with pytest.raises(ValueError, match="object"):
        parse_response(Raw(response.encode()))


def test_several_texts_are_lines_of_one_result() -> None:
    assert render_response(["a", "b"], False) == {"output": "a\nb"}


@given(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.sampled_from(['{"a":1}', '{"output":"x"}', '{"error":"x"}', "{}", " {}", '{"error":{"b":2}}']),
    ),
    st.booleans(),
)
def test_result_comes_back_as_it_was(text: str, failed: bool) -> None:
    response = Raw(msgspec.json.encode(render_response([text], failed)))

    assert parse_response(response) == ((Text(text),), failed)
