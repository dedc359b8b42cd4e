from __future__ import annotations

import pytest

from llmgw.core.errors import PermissionDenied
from llmgw.core.principal import Principal
from llmgw.policies.access import Access, allows
from tests.fakes.exchanges import exchange


@pytest.mark.parametrize(
    ("allow", "deny", "allowed"),
    [
        (None, (), True),
        ((), (), False),
        (("gpt-4o",), (), True),
        (("gpt-*",), (), True),
        (("gpt-*",), ("*-4o",), False),
        (None, ("gpt-4o",), False),
        (("GPT-4O",), (), False),
        (("gpt-4",), (), False),
    ],
)
def test_patterns(allow: tuple[str, ...] | None, deny: tuple[str, ...], allowed: bool) -> None:
    """Absent allows all, empty allows none, deny wins, case counts."""
    assert allows("gpt-4o", allow, deny) is allowed


def test_a_key_is_held_to_its_models() -> None:
    access = Access()
    ex = exchange(principal=Principal("acme", allow_models=("gpt-*",)))
    ex.model = "gpt-4o"
    assert access.admit(ex) is None

    ex.model = "claude"
    for _ in range(2):
        with pytest.raises(PermissionDenied, match="claude"):
            access.admit(ex)
