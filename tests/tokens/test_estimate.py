"""The cheap guess is within reach of the real count, and never nothing for something."""

from __future__ import annotations

import pytest

from llmgw.tokens.count import count_text
from llmgw.tokens.estimate import estimate_text, estimate_tokens


def test_rounded_up() -> None:
    """One byte is one token; no bytes are none."""
    assert [estimate_tokens(n, ascii=True) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]
    assert [estimate_tokens(n, ascii=False) for n in (0, 1, 3, 4)] == [0, 1, 1, 2]


def test_ascii_and_other_apart() -> None:
    """One accent does not make a whole English text dear."""
    assert estimate_text("a" * 400 + "é") == 101
    assert estimate_text("") == 0
    assert estimate_text("\ud800") == 1


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox jumps over the lazy dog, and nobody is surprised by it any more. " * 10,
        "def admit(self, claims):\n    return all(claim.cost <= self.left for claim in claims)\n" * 10,
        "Bonjour, je voudrais réserver une chambre pour deux nuits à l'hôtel près de la gare. " * 10,
        "请帮我写一封信给我的老师，告诉他我明天不能去上课。" * 10,
        "Привет, как у тебя дела сегодня? Надеюсь, всё хорошо." * 10,
    ],
)
def test_within_a_factor_of_two(text: str) -> None:
    """Prose in several scripts and code: the guess is between half and twice the count."""
    count = count_text(text, "gpt-4o")

    assert count / 2 <= estimate_text(text) <= count * 2
