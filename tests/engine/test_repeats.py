"""How many may repeat."""

from __future__ import annotations

from llmgw.engine.repeats import Repeats


def test_three_may_always_and_beyond_that_a_share_of_the_active() -> None:
    assert Repeats(active=1, repeating=2).admits(0.2)
    assert not Repeats(active=10, repeating=3).admits(0.2)
    assert Repeats(active=100, repeating=19).admits(0.2)
    assert not Repeats(active=100, repeating=20).admits(0.2)


def test_a_process_of_several_has_its_part() -> None:
    assert Repeats(active=1, floor=1).admits(0.2)
    assert not Repeats(active=1, repeating=1, floor=1).admits(0.2)
