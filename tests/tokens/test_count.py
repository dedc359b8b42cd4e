"""Counts agree with the published tokenizers, need no network, and survive hostile text."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgw.tokens.count import (
    IMAGE_TOKENS,
    IMAGE_TOKENS_LOW_DETAIL,
    PIECE_LENGTH,
    _encoding,
    _pieces,
    count_chat,
    count_text,
    encoding_for,
    read_ranks,
)


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("gpt-4.1-nano", "o200k_base"),
        ("gpt-4.5-preview", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("o1", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("text-embedding-ada-002", "cl100k_base"),
        ("ft:gpt-4o:acme", "o200k_base"),
        ("ft:gpt-3.5-turbo:acme::1", "cl100k_base"),
        ("openai/GPT-4", "cl100k_base"),
        ("claude-sonnet-4-5", "o200k_base"),
        ("", "o200k_base"),
    ],
)
def test_encoding_for(model: str, encoding: str) -> None:
    """OpenAI's models by name; everything else by the newest vocabulary."""
    assert encoding_for(model) == encoding


# Ids published with tiktoken (README and openai-cookbook, "How to count tokens with tiktoken").
@pytest.mark.parametrize(
    ("encoding", "text", "tokens"),
    [
        ("cl100k_base", "tiktoken is great!", [83, 1609, 5963, 374, 2294, 0]),
        ("o200k_base", "tiktoken is great!", [83, 8251, 2488, 382, 2212, 0]),
        ("cl100k_base", "antidisestablishmentarianism", [519, 85342, 34500, 479, 8997, 2191]),
        ("o200k_base", "antidisestablishmentarianism", [493, 129901, 376, 160388, 21203, 2367]),
        ("cl100k_base", "2 + 2 = 4", [17, 489, 220, 17, 284, 220, 19]),
        ("o200k_base", "2 + 2 = 4", [17, 659, 220, 17, 314, 220, 19]),
    ],
)
def test_published_token_ids(encoding: str, text: str, tokens: list[int]) -> None:
    """The encodings built here give the ids that OpenAI shows."""
    assert _encoding(encoding).encode_ordinary(text) == tokens


def test_special_tokens_are_text() -> None:
    """A caller who writes a special token is counted for its letters, and nothing breaks."""
    assert count_text("<|endoftext|>", "gpt-4o") > 1
    assert count_text("<|endoftext|>", "gpt-4") > 1


@pytest.mark.parametrize("text", ["", "\ud800 lone", "\x00", "\U0010ffff"])
def test_odd_text(text: str) -> None:
    """Empty text is nothing; lone surrogates and the ends of Unicode are something."""
    assert (count_text(text, "gpt-4o") > 0) is bool(text)


FIRST_COUNT = """
import sys
from llmgw.tokens import count, estimate, prices
assert "tiktoken" not in sys.modules and "genai_prices" not in sys.modules
def refuse(event, args):
    if event.startswith(("socket.", "urllib.")):
        raise SystemExit(f"the network was asked for: {event}")
sys.addaudithook(refuse)
import threading
assert count.count_text("hello world", "gpt-4o") == 2
assert count.count_text("hello world", "gpt-4") == 2
assert "tiktoken.load" not in sys.modules
table = prices.PriceTable({})
assert table.unit_prices("openai", "openai", None, "gpt-4o").input > 0
assert threading.active_count() == 1
"""


def test_no_network_no_threads_lazy() -> None:
    """Importing loads neither package; the first count and price open no socket, start no thread."""
    ran = subprocess.run([sys.executable, "-c", FIRST_COUNT], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")


def test_vocabulary_is_verified() -> None:
    """A file that is not the published one is refused."""
    packed = gzip.compress(b"IQ== 0\nIg== 1\n")
    digest = "81a3a5ba01341ff4da0fd2ff2c7c4cd3d2cc7a9ed4a35ee3b18d5ab40f5ad4a5"

    with pytest.raises(ValueError, match=f"not {digest}"):
        read_ranks(packed, digest)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        read_ranks(b"not gzip", digest)


HOSTILE = {
    "spaces": " " * 1_000_000,
    "spaces then a word": " " * 1_000_000 + "x",
    "letters": "a" * 1_000_000,
    "capitals": "A" * 1_000_000,
    "lines": "\n" * 1_000_000,
    "tabs": "\t " * 500_000,
    "no-break spaces": "\u00a0" * 300_000 + "x",
    "punctuation": "=" * 1_000_000,
    "digits": "1" * 1_000_000,
    "combining": "\u0301" * 300_000,
    "zeros": "\0" * 500_000,
    "cuts refused": "x  " * 400_000,
}


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4"])
@pytest.mark.parametrize("name", HOSTILE)
def test_long_runs_are_counted(name: str, model: str) -> None:
    """Runs that make the pattern engine give up are counted, in bounded time."""
    began = time.perf_counter()

    assert count_text(HOSTILE[name], model) > 1000

    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4"])
def test_pieces_do_not_change_the_count(model: str, seed: int) -> None:
    """Text with any spaces between words counts the same in pieces as whole."""
    print(f"seed {seed}")
    dice = random.Random(seed)
    words = [
        "the",
        "Don't",
        "x=1;",
        "日本語",
        "\n",
        "\r\n\r\n",
        "  ",
        "1234567",
        "é",
        "\t",
        "...",
        "we'll",
        "😀",
    ]
    text = " ".join(dice.choice(words) for _ in range(90_000))
    assert len(text) > 3 * PIECE_LENGTH

    assert count_text(text, model) == len(_encoding(encoding_for(model)).encode_ordinary(text))


@settings(max_examples=25)
@given(st.text(" \n\tab", min_size=1, max_size=9), st.integers(1, 40_000))
def test_pieces_are_the_text(pattern: str, times: int) -> None:
    """Pieces join to the text and none is too long."""
    text = pattern * times
    pieces = list(_pieces(text))

    assert "".join(pieces) == text
    assert all(0 < len(piece) <= PIECE_LENGTH for piece in pieces)


def test_chat_matches_the_cookbook() -> None:
    """The cookbook's example, which the API itself counted: 129 for cl100k models, 124 for o200k."""
    messages: list[dict[str, object]] = [
        {
            "role": "system",
            "content": "You are a helpful, pattern-following assistant that "
            "translates corporate jargon into plain English.",
        },
        {
            "role": "system",
            "name": "example_user",
            "content": "New synergies will help drive top-line growth.",
        },
        {
            "role": "system",
            "name": "example_assistant",
            "content": "Things working well together will increase revenue.",
        },
        {
            "role": "system",
            "name": "example_user",
            "content": "Let's circle back when we have more bandwidth to touch base "
            "on opportunities for increased leverage.",
        },
        {
            "role": "system",
            "name": "example_assistant",
            "content": "Let's talk later when we're less busy about how to do better.",
        },
        {
            "role": "user",
            "content": "This late pivot means we don't have time "
            "to boil the ocean for the client deliverable.",
        },
    ]

    assert count_chat(messages, None, "gpt-4") == 129
    assert count_chat(messages, None, "gpt-4o") == 124


def test_chat_tools_match_the_cookbook() -> None:
    """The cookbook's weather function, which the API counted as 101 with o200k models."""
    tools: list[dict[str, object]] = [
        {
            "type": "function",
            "function": {
                "name": "get_current_weather",
                "description": "Get the current weather in a given location",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "location": {
                            "type": "string",
                            "description": "The city and state, e.g. San Francisco, CA",
                        },
                        "unit": {
                            "type": "string",
                            "description": "The unit of temperature to return",
                            "enum": ["celsius", "fahrenheit"],
                        },
                    },
                    "required": ["location"],
                },
            },
        }
    ]
    messages: list[dict[str, object]] = [
        {
            "role": "system",
            "content": "You are a helpful assistant that can answer to questions about the weather.",
        },
        {"role": "user", "content": "What's the weather like in San Francisco?"},
    ]

    assert count_chat(messages, tools, "gpt-4o") == 101


def test_chat_parts() -> None:
    """Text parts are counted, images by a fixed price, calls by name and arguments."""
    text = count_chat([{"role": "user", "content": [{"type": "text", "text": "hello"}]}], None, "gpt-4o")
    assert text == count_chat([{"role": "user", "content": "hello"}], None, "gpt-4o") == 3 + 3 + 1 + 1

    def image(**url: str) -> dict[str, object]:
        return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,", **url}}]}

    assert count_chat([image()], None, "gpt-4o") == 3 + 3 + 1 + IMAGE_TOKENS
    assert count_chat([image(detail="low")], None, "gpt-4o") == 3 + 3 + 1 + IMAGE_TOKENS_LOW_DETAIL
    call = {"id": "c", "type": "function", "function": {"name": "hello", "arguments": "hello"}}
    assert (
        count_chat([{"role": "user", "content": None, "tool_calls": [call]}], None, "gpt-4o")
        == 3 + 3 + 1 + 3 + 2
    )


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"role": 1, "content": 2, "name": 3},
        {"content": [1, None, {"text": 4}]},
        {"tool_calls": [{"function": 5}, 6]},
    ],
)
def test_chat_of_any_shape(message: dict[str, object]) -> None:
    """What is not of the documented shape counts little, and never fails."""
    odd = {"function": {"parameters": {"properties": {"a": 1, "b": {"type": ["string", "null"]}}}}}

    assert count_chat([message], [{}, odd], "gpt-4o") >= 6
