from __future__ import annotations

import json

import pytest
from msgspec import Raw

from llmgw.dialects.gemini_partial import PartialArguments
from llmgw.dialects.gemini_wire import PartialArg


def piece(path: str, text: str | None = None, number: bytes = b"", flag: bool | None = None) -> PartialArg:
    return PartialArg(path, text, Raw(number), flag)


def test_pieces_are_put_where_their_paths_say() -> None:
    arguments = PartialArguments()
    for arg in (
        piece("$.recipe.steps[0]", "Cook"),
        piece("$.recipe.steps[0]", " it"),
        piece("$.recipe.steps[0]", ""),
        piece("$.recipe.steps[1].how", "hot"),
        piece("$.recipe.minutes", number=b"12.50"),
        piece("$.recipe.good", flag=True),
        piece("$.recipe.bad", flag=False),
        piece("$.recipe.why"),
        piece('$[\'a.b\']["c\\"d"]', "x"),
    ):
        arguments.take(arg)

    assert arguments.json() == (
        '{"recipe":{"steps":["Cook it",{"how":"hot"}],"minutes":12.50,"good":true,"bad":false,"why":null},'
        '"a.b":{"c\\"d":"x"}}'
    )
    assert json.loads(arguments.json())


def test_no_pieces_are_no_arguments() -> None:
    assert PartialArguments().json() == ""


@pytest.mark.parametrize(
    "path",
    ["", "a", "$", "$[0]", "$.a[", "$.a[5]", "$.a[9999999999]", "$..a", "$.text.deeper", "$" + ".a" * 65],
)
def test_path_that_leads_nowhere_is_refused(path: str) -> None:
    arguments = PartialArguments()
    arguments.take(piece("$.text", "x"))

    with pytest.raises(ValueError, match="path"):
        arguments.take(piece(path, "x"))
