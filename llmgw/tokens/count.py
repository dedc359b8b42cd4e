"""Tokens counted with OpenAI's vocabularies, where a provider does not say.

Pure CPU, 50 microseconds for a kilobyte: never on the event loop, callers use a thread.

The vocabularies are files of this package, checked against their published SHA-256, so nothing is
ever downloaded: tiktoken's own loader is not used. The names, patterns and special tokens are
those of `tiktoken_ext/openai_public.py`. tiktoken itself is imported by the first count; each
vocabulary stays in memory once used (o200k about 50 MB, cl100k about 20 MB).

tiktoken's pattern engine gives up, by a panic, on long runs without a word boundary, so text goes
in pieces. A piece ends before a space that follows something else than white space, which no token
crosses; where there is none in its last 4 Ki characters it is cut anyway, and a token or two more
are counted.

Chat overheads: OpenAI cookbook, "How to count tokens with tiktoken".
"""

from __future__ import annotations

import binascii
import gzip
import hashlib
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import tiktoken

PIECE_LENGTH = 64 * 1024
"""The longest text, in characters, that is given to the tokenizer at once."""

IMAGE_TOKENS = 765
"""What an image is taken for: OpenAI's price of 1024x1024 in high detail (85 + 4 * 170)."""
IMAGE_TOKENS_LOW_DETAIL = 85

# How far from the end of a piece a place to cut is looked for.
_SEARCHED = 4096

_PER_MESSAGE = 3
_PER_NAME = 1
_PRIMING = 3
_PER_FUNCTION = 7
_AFTER_FUNCTIONS = 12
_PER_PROPERTIES = 3
_PER_PROPERTY = 3
_PER_ENUM = -3
_PER_CHOICE = 3

_cut = re.compile(r"(?<=\S)(?= [^\s])")


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    sha256: str
    pattern: str
    special_tokens: Mapping[str, int]


_VOCABULARIES = {
    "o200k_base": _Vocabulary(
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern="|".join(
            [
                r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
                r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
                r"""\p{N}{1,3}""",
                r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
                r"""\s*[\r\n]+""",
                r"""\s+(?!\S)""",
                r"""\s+""",
            ]
        ),
        special_tokens={"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    ),
    "cl100k_base": _Vocabulary(
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern=(
            r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"""
            r"""|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
        ),
        special_tokens={
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
}

# First match decides; every other model, of whatever maker, is counted with the newest vocabulary.
_ENCODINGS = (
    ("gpt-4o", "o200k_base"),
    ("gpt-4.", "o200k_base"),
    ("gpt-4", "cl100k_base"),
    ("gpt-3.5", "cl100k_base"),
    ("gpt-35", "cl100k_base"),
    ("text-embedding", "cl100k_base"),
    ("davinci-002", "cl100k_base"),
    ("babbage-002", "cl100k_base"),
)
_NEWEST = "o200k_base"

_loaded: dict[str, tiktoken.Encoding] = {}
_loading = threading.Lock()


def encoding_for(model: str) -> str:
    """The name of the vocabulary for a model: `gpt-4`, `ft:gpt-4:acme` or `openai/gpt-4`."""
    name = model.lower().rpartition("/")[2].removeprefix("ft:")
    return next((encoding for prefix, encoding in _ENCODINGS if name.startswith(prefix)), _NEWEST)


def count_text(text: str, model: str) -> int:
    """Tokens of `text`. What looks like a special token is counted as the text it is."""
    encode = _encoding(encoding_for(model)).encode_ordinary
    return sum(len(encode(piece)) for piece in _pieces(text))


def count_chat(
    messages: Sequence[Mapping[str, object]], tools: Sequence[Mapping[str, object]] | None, model: str
) -> int:
    """Tokens of a chat request, by OpenAI's published overheads.

    messages: as the client sent them; what is not of the documented shape counts nothing.
    Text is counted, an image is `IMAGE_TOKENS`; sound and files are left out.
    """
    texts: list[str] = []
    total = _PRIMING
    for message in messages:
        total += _PER_MESSAGE
        texts.append(_text(message.get("role")))
        name = message.get("name")
        if isinstance(name, str):
            texts.append(name)
            total += _PER_NAME
        total += _add_content(message.get("content"), texts)
        texts.append(_text(message.get("refusal")))
        for call in _mappings(message.get("tool_calls")):
            function = _mapping(call.get("function"))
            texts += (_text(function.get("name")), _text(function.get("arguments")))
            total += _PER_MESSAGE
    functions = [_mapping(tool.get("function")) for tool in tools or ()]
    if functions:
        total += _AFTER_FUNCTIONS + sum(_add_function(function, texts) for function in functions)
    return total + sum(count_text(text, model) for text in texts if text)


def _add_content(content: object, texts: list[str]) -> int:
    """Put the text of a message's content in `texts`. Returns the tokens of its images."""
    if isinstance(content, str):
        texts.append(content)
        return 0
    total = 0
    for part in _mappings(content):
        texts.append(_text(part.get("text")))
        if part.get("type") == "image_url":
            low = _mapping(part.get("image_url")).get("detail") == "low"
            total += IMAGE_TOKENS_LOW_DETAIL if low else IMAGE_TOKENS
    return total


def _add_function(function: Mapping[str, object], texts: list[str]) -> int:
    """Put the words of a function's declaration in `texts`. Returns its overhead.

    What the schema of a parameter holds beside type, description and choices is counted as JSON.
    """
    texts.append(f"{_text(function.get('name'))}:{_text(function.get('description')).rstrip('.')}")
    properties = _mapping(_mapping(function.get("parameters")).get("properties"))
    total = _PER_FUNCTION
    if properties:
        total += _PER_PROPERTIES
    for key, schema in properties.items():
        total += _PER_PROPERTY
        details = dict(_mapping(schema))
        kind = _text(details.pop("type", ""))
        description = _text(details.pop("description", "")).rstrip(".")
        choices = details.pop("enum", None)
        texts.append(f"{key}:{kind}:{description}")
        if isinstance(choices, list):
            total += _PER_ENUM + _PER_CHOICE * len(choices)
            texts += map(str, choices)
        if details:
            texts.append(msgspec.json.encode(details).decode())
    return total


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> Iterator[Mapping[str, object]]:
    return (item for item in value if isinstance(item, Mapping)) if isinstance(value, list) else iter(())


def _pieces(text: str) -> Iterator[str]:
    """`text` in pieces of at most `PIECE_LENGTH`, cut where no token crosses if there is such a place."""
    at = 0
    while len(text) - at > PIECE_LENGTH:
        limit = at + PIECE_LENGTH
        end = limit
        while not _cut.match(text, end):
            end = text.rfind(" ", limit - _SEARCHED, end)
            if end < 0:
                end = limit
                break
        yield text[at:end]
        at = end
    yield text[at:] if at else text


def _encoding(name: str) -> tiktoken.Encoding:
    encoding = _loaded.get(name)
    if encoding is None:
        with _loading:
            encoding = _loaded.get(name)
            if encoding is None:
                encoding = _loaded[name] = _load(name)
    return encoding


def _load(name: str) -> tiktoken.Encoding:
    """Read and check a vocabulary. Raises ValueError when the file is not the published one."""
    import tiktoken

    vocabulary = _VOCABULARIES[name]
    packed = files("llmgw.tokens").joinpath("vocabularies", f"{name}.tiktoken.gz").read_bytes()
    ranks = read_ranks(packed, vocabulary.sha256)
    encoding = tiktoken.Encoding(
        name,
        pat_str=vocabulary.pattern,
        mergeable_ranks=ranks,
        special_tokens=dict(vocabulary.special_tokens),
    )
    # The codec has its own copy; the dictionary, 28 MB for o200k, serves only to decode by name.
    ranks.clear()
    return encoding


def read_ranks(packed: bytes, sha256: str) -> dict[bytes, int]:
    """The tokens of a gzipped `.tiktoken` file and their ranks. Raises ValueError when it is not
    the file that `sha256` names."""
    try:
        raw = gzip.decompress(packed)
    except (OSError, EOFError) as error:
        raise ValueError(f"the vocabulary cannot be unpacked: {error}") from error
    digest = hashlib.sha256(raw).hexdigest()
    if digest != sha256:
        raise ValueError(f"the vocabulary has SHA-256 {digest}, not {sha256}")
    ranks = {}
    for line in raw.splitlines():
        token, _, rank = line.partition(b" ")
        ranks[binascii.a2b_base64(token)] = int(rank)
    return ranks
