"""Each call has an id of its own, and each result finds its call."""

from __future__ import annotations

import pytest

from llmgw.dialects.call_ids import CallIds


def test_an_id_that_can_be_written_stays() -> None:
    ids = CallIds(64)

    assert ids.new("call_1-A") == "call_1-A"
    assert ids.answered("call_1-A") == "call_1-A"
    assert ids.answered("call_1-A") == "call_1-A"
    assert ids.answered("another") is None


@pytest.mark.parametrize(("call_id", "written"), [("a.b:c", "a_b_c"), ("", "call"), ("ä", "_")])
def test_characters_that_are_refused_are_replaced(call_id: str, written: str) -> None:
    assert CallIds().new(call_id) == written


def test_two_calls_with_one_id_are_answered_in_their_order() -> None:
    ids = CallIds()

    assert [ids.new("x"), ids.new("x")] == ["x", "x_2"]
    assert [ids.answered("x"), ids.answered("x"), ids.answered("x")] == ["x", "x_2", "x_2"]


def test_an_id_that_was_answered_may_be_used_again() -> None:
    ids = CallIds()
    ids.new("x")
    ids.answered("x")

    assert ids.new("x") == "x_2"
    assert ids.answered("x") == "x_2"


def test_what_is_written_keeps_its_bound() -> None:
    ids = CallIds(8)
    written = [ids.new("a" * 20) for _ in range(12)]

    assert len(set(written)) == 12
    assert max(map(len, written)) == 8
