"""Parts of items one by one; whole conversations are in the tests of the input."""

from __future__ import annotations

import pytest

from llmgw.core.chat import File, Image, Part, Refusal, Text
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.openai_responses_items import Content, parse_content, render_content, split_data_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("data:image/png;base64,AAAA", ("image/png", "AAAA")),
        ("data:text/plain;charset=utf-8;base64,AAAA", ("text/plain", "AAAA")),
        ("data:,plain", None),
        ("https://example.com/", None),
    ],
)
def test_data_urls(url: str, expected: tuple[str, str] | None) -> None:
    assert split_data_url(url) == expected


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (Content("text", text="a"), Text("a")),
        (Content("output_text", text=""), Text("")),
        (Content("refusal", refusal="no"), Refusal("no")),
        (Content("input_image", image_url="data:,x"), Image(url="data:,x")),
        (Content("input_file", file_data="JVBE", filename="a.pdf"), File(None, "JVBE", name="a.pdf")),
    ],
)
def test_content_is_read(content: Content, part: Part) -> None:
    assert parse_content(content, "input[0]") == part


def test_content_without_anything_in_it_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        parse_content(Content("input_file"), "input[0]")


def test_content_kept_by_the_provider_is_refused() -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        parse_content(Content("input_file", file_id="file_1"), "input[2].content[1]")

    assert caught.value.param == "input[2].content[1].file_id"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Image(data="AAAA"), {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}),
        (File(data="AAAA"), {"type": "input_file", "filename": "document.pdf", "file_data": "AAAA"}),
        (
            File(url="https://e.com/a", name="a"),
            {"type": "input_file", "file_url": "https://e.com/a", "filename": "a"},
        ),
        (Text("a", ""), {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}),
        (Refusal("no"), None),
    ],
)
def test_parts_are_written(part: Part, expected: object) -> None:
    assert render_content(part, marked=True) == expected
