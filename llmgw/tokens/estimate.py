"""Tokens guessed from bytes, for admission: no tokenizer, no parse of the body.

Text. Each byte has a weight in sixteenths of a token, and a text is what its bytes weigh: spaces
weigh nothing, letters a quarter, digits and brackets most of a token; outside ASCII the first byte
of a character, which tells its script, weighs for all of it. The weights are a least-squares fit to
o200k_base, on 900 pieces of prose in 19 languages, code, markup and data, wrapped as chat requests;
so the JSON around the text is in them. They lean to the high side: a guess too low lets a caller
past a limit, one too high is corrected at settlement. `python -m tests.bench estimates` measures it.
Older vocabularies cut other scripts finer (cl100k: Hindi 3 times, Arabic twice).

Bodies above `_EXACT` bytes are weighed by a sample spread over all of them.

Inline data. A base64 value is found by looking at the body every few hundred bytes, told from
text by the member it is in, and priced by what its first bytes say it is:

- images in data URLs: OpenAI, "Images and vision": 85 + 170 a tile of 512 pixels, in high detail;
- other images: Anthropic, "Vision": width * height / 750, up to 1,600; at least the 258 of a
  tile in Gemini, "Understand and count tokens";
- sound: Gemini, same page: 32 tokens a second; as `input_audio`: OpenAI, 10 a second;
- video: Gemini, same page: 263 a second;
- PDF and other files: Anthropic, "PDF support": 1,500 to 3,000 a page, taken for 40 kB.

An image named by a URL has six tiles, or 1,600 tokens. Files named by a URL or an id are left out:
nothing in the body tells their size. A prompt that a provider adds is counted only where it is
published: Anthropic, "Tool use", 159 to 530 tokens by model for a request with tools; 346 are taken.
"""

from __future__ import annotations

import binascii
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import adler32

_ASCII_BYTES_PER_TOKEN = 4
_OTHER_BYTES_PER_TOKEN = 3

# Sixteenths of a token. Continuation bytes and all that is not here weigh nothing.
_UNIT = 16
_WEIGHT_OF: Mapping[bytes, int] = {
    b"abcdefghijklmnopqrstuvwxyz": 4,
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ": 7,
    b"0123456789": 12,
    b"\\-": 10,
    b"(){}[]": 13,
    b"!$%&'+<>?@^`|": 14,
    b".,:;": 4,
    b"=*#~": 4,
    b"/_": 6,
    bytes(range(0xC0, 0xC4)): 16,  # accented Latin
    bytes(range(0xC4, 0xCE)): 21,
    b"\xce\xcf": 7,  # Greek
    bytes(range(0xD0, 0xD6)): 6,  # Cyrillic
    bytes(range(0xD6, 0xD8)): 8,  # Hebrew
    bytes(range(0xD8, 0xE0)): 7,  # Arabic
    b"\xe0": 7,  # Indic scripts, Thai
    b"\xe1": 9,
    b"\xe2": 16,  # typographic marks
    b"\xe3": 13,  # kana
    bytes(range(0xE4, 0xEA)): 15,  # Han
    bytes(range(0xEA, 0xEE)): 14,  # Hangul
    b"\xee\xef": 6,
    bytes(range(0xF0, 0x100)): 40,  # emoji
}
_WEIGHTS = bytes(next((weight for of, weight in _WEIGHT_OF.items() if byte in of), 0) for byte in range(256))

# What a body has besides its text weighs this much: the model's name, `messages`, options.
_OVERHEAD_TOKENS = 12

# adler32 adds up modulo 65521: so many of the heaviest bytes at once, and no more.
_ADDED = 65520 // max(_WEIGHT_OF.values())
_EXACT = 8192
_BLOCKS = 8
_SAMPLED_IN_BLOCK = 640

# Where one byte in `_RARE` is a backslash, windows are searched for \u escapes.
_RARE = 50
_WINDOWS = 16
_WINDOW = 512
_ESCAPE = len(r"\u0000")
_BACKSLASH = ord("\\")

# So many brackets are looked at before a body is taken to have parts.
_BRACKETS = 16
_IN_ARRAY = frozenset((b"{", b'"', b"[", b" ", b"\n", b"\r", b"\t"))

# Shorter bodies without parts are not looked through for files.
_LONE = 2048

# Every so many bytes, a value of base64 would show as so many bytes of its alphabet.
_PROBE = 48
_STEP, _LONG_STEP, _LONG = 512, 2048, 16 * 1024

_FILLERS = b"+/=\\-_"
_LOW, _HIGH = bytes(range(0x80)), bytes(range(0x80, 0x100))
_STANDARD = bytes.maketrans(b"-_", b"+/")

_KEY = re.compile(rb'"(?:data|bytes|\w*(?:url|uri|base64|file|image|audio|video|document)\w*)"\s*:\s*$', re.I)
_DATA_URL = re.compile(rb'data:[^,"]{0,100};base64,')
_MIME = re.compile(rb'"(?:(?:media_?type|mime_?type)"\s*:\s*"|data:)(\w+)', re.I)
_LOW_AFTER = re.compile(rb'"\s*,\s*"detail"\s*:\s*"low"')
_IMAGES = re.compile(
    rb'"(?:type|mime_?[tT]ype)"\s*:\s*"((?:image_url|input_image|image)(?=")|image(?=\\?/))|"detail"\s*:\s*"(low)"'
)
_TILED = (b"image_url", b"input_image")

_BASE_TOKENS, _TILE_TOKENS, _UNSEEN_TILES = 85, 170, 6
_MIN_IMAGE_TOKENS, _MAX_IMAGE_TOKENS, _PIXELS_PER_TOKEN = 258, 1600, 750
_MIN_FILE_TOKENS, _PAGE_TOKENS, _PAGE_BYTES, _MAX_PAGES = 258, 2400, 40_000, 125
_TOOL_PROMPT_TOKENS = 346
_SOUND_TOKENS_PER_S, _INPUT_AUDIO_TOKENS_PER_S, _VIDEO_TOKENS_PER_S = 32, 10, 263

# Bytes a second, at the low rates that speech is sent in; moving pictures at 1 Mbit/s.
_BYTES_PER_S = {"pcm": 32_000, "flac": 40_000, "mp3": 8_000, "opus": 4_000, "video": 125_000}

# Where in the data, what is there, what the data then is. The first that fits.
_MAGIC = (
    (0, b"\x89PNG", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF8", "gif"),
    (8, b"WEBP", "webp"),
    (8, b"WAVE", "wav"),
    (0, b"%PDF", "file"),
    (0, b"PK\x03\x04", "file"),
    (0, b"ID3", "mp3"),
    (0, b"\xff\xfb", "mp3"),
    (0, b"\xff\xf3", "mp3"),
    (0, b"OggS", "opus"),
    (0, b"fLaC", "flac"),
    (4, b"ftypM4A", "mp3"),
    (4, b"ftyphei", "image"),
    (4, b"ftypmif1", "image"),
    (4, b"ftypavif", "image"),
    (4, b"ftyp", "video"),
    (0, b"\x1a\x45\xdf\xa3", "video"),
)
_KIND_OF_MIME = {b"image": "image", b"audio": "pcm", b"video": "video", b"text": "text"}
_IMAGE_KINDS = {"png", "jpeg", "gif", "webp", "image"}


@dataclass(frozen=True, slots=True)
class _Inline:
    """A base64 value, from its first byte to the quote after it, and what it will cost.

    image: as what kind of image, if it is one: tiled, low or other.
    """

    start: int
    end: int
    tokens: int
    image: str


def estimate_tokens(n_bytes: int, ascii: bool) -> int:
    """Tokens in so many bytes of UTF-8. Zero only for no bytes.

    ascii: whether all of them are ASCII (`bytes.isascii` is quick to ask).
    """
    return -(-n_bytes // (_ASCII_BYTES_PER_TOKEN if ascii else _OTHER_BYTES_PER_TOKEN))


def estimate_request(body: bytes | bytearray | memoryview) -> int:
    """Input tokens that the JSON body of a request will be billed for. Zero only for no bytes.

    Never raises: what is not JSON, or is cut short, is guessed as what it looks like.
    """
    if not isinstance(body, bytes):
        body = bytes(body)
    n = len(body)
    parts = _may_have_parts(body)
    if n < _LONE and not parts:
        tokens = _units(body, 0, n) // _UNIT - _OVERHEAD_TOKENS
        return tokens if tokens > 0 else min(n, 1)
    values = _inline_values(body)
    tokens = units = begin = 0
    texts = []
    for value in values:
        texts.append((begin, value.start))
        begin = value.end
        tokens += value.tokens
    texts.append((begin, n))
    for start, end in texts:
        units += _units(body, start, end)
    if parts:
        tokens += _unseen_images(body, texts, values)
        # In a long body it would not be noticed.
        if n < _LONG and b'"input_schema"' in body:
            tokens += _TOOL_PROMPT_TOKENS
    return tokens + max(units // _UNIT - _OVERHEAD_TOKENS, min(n, 1))


def _may_have_parts(body: bytes) -> bool:
    """Whether a message may be more than one string: quick to deny for plain text.

    Parts are in a second array, inside that of the messages, or in Ollama's `images`. A bracket
    in a text is rarely before a brace, a quote (there it has a backslash) or a space.
    """
    at = body.find(b"[")
    if at < 0:
        return False
    if body.find(b'"images"', max(at - 16, 0), at) >= 0:
        return True
    for _ in range(_BRACKETS):
        at = body.find(b"[", at + 1)
        if at < 0:
            return False
        if body[at + 1 : at + 2] in _IN_ARRAY:
            return True
    return True


def _units(body: bytes, start: int, end: int) -> int:
    """What the text from `start` to `end` weighs, in sixteenths of a token."""
    n = end - start
    if n <= _EXACT:
        text = body[start:end]
        if _BACKSLASH in text and b"\\u" in text:
            return _weigh(_unescaped(text)) + _weigh(text.translate(None, _LOW))
        return _weigh(text)
    # Text repeats: characters every 2, 3 or 4 bytes, escapes every 6, rows at any width. Steps
    # prime to 6 see all bytes of a character; two of them in turn see more of the rows.
    span = -(-n // _BLOCKS)
    step = 6 * (span // (6 * _SAMPLED_IN_BLOCK) + 1) - 1
    units = backslashes = 0
    for n_block, begin in enumerate(range(start, end, span)):
        every = step + n_block % 2 * 2
        sample = body[begin : min(begin + span, end) : every]
        units += _weigh(sample) * every
        backslashes += sample.count(_BACKSLASH) * every
    if backslashes * _RARE > n:
        return _units_with_escapes(body, start, end, backslashes) or units
    return units


def _units_with_escapes(body: bytes, start: int, end: int, backslashes: int) -> int:
    """What a text full of backslashes weighs; 0 when they do not begin `\\u` escapes.

    A sample of single bytes cannot tell an escape's digits from others. Windows do, and show what
    an escape weighs, what the bytes between escapes do, and how many backslashes begin one.
    """
    n = end - start
    windows = bytearray()
    for at in range(start, end, -(-n // _WINDOWS)):
        begin = max(body.find(b"\\", at, min(at + _ESCAPE, end)), at)
        windows += body[begin : min(begin + _WINDOW, end)]
    in_windows = windows.count(b"\\u")
    if not in_windows:
        return 0
    plain = _unescaped(windows)
    others = _weigh(plain.translate(None, _HIGH)) + _weigh(windows.translate(None, _LOW))
    escaped = _weigh(plain.translate(None, _LOW))
    escapes = backslashes * in_windows // windows.count(_BACKSLASH)
    n_others = max(len(windows) - in_windows * _ESCAPE, 1)
    return escaped * escapes // in_windows + others * max(n - escapes * _ESCAPE, 0) // n_others


def _weigh(text: bytes | bytearray) -> int:
    """The sum of the bytes' weights, at memory speed."""
    weights = text.translate(_WEIGHTS)
    if len(weights) <= _ADDED:
        return adler32(weights, 0) & 0xFFFF
    return sum(adler32(weights[at : at + _ADDED], 0) & 0xFFFF for at in range(0, len(weights), _ADDED))


def _unescaped(text: bytes | bytearray) -> bytes:
    """The ASCII in a text, with its `\\u` escapes as UTF-8; an escape cut short is left out."""
    plain = text.translate(None, _HIGH).decode("raw_unicode_escape", "ignore")
    if not plain.isascii():
        # Joins the two halves of a character beyond the BMP.
        plain = plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return plain.encode()


def _inline_values(body: bytes) -> list[_Inline]:
    """Every base64 value that is longer than the distance of two looks.

    A string is judged once, and the search goes on after it: linear for any body.
    """
    found: list[_Inline] = []
    n = len(body)
    step = _STEP if n < _LONG else _LONG_STEP
    at = judged = 0
    while at < n:
        if body[at : at + _PROBE].translate(None, _FILLERS).isalnum():
            quote = body.rfind(b'"', judged, at)
            judged = body.find(b'"', at)
            if judged < 0:
                judged = n
            value = _inline_value(body, quote + 1, judged) if quote >= 0 else None
            if value is not None:
                found.append(value)
            at = judged
        at += step
    return found


def _inline_value(body: bytes, start: int, end: int) -> _Inline | None:
    """The string from `start` to `end` as inline data; None when it is text."""
    before = body[max(start - 192, 0) : start - 1]
    in_array = before.rstrip()[-1:] in (b"[", b",")
    if before.endswith(b"\\") or not (in_array or _KEY.search(before[-64:])):
        return None
    url = _DATA_URL.match(body, start, end)
    if url is not None:
        start = url.end()
    head = _decoded(body[start : min(start + 128, end)])
    if head is None:
        return None
    kind = next((kind for at, magic, kind in _MAGIC if head.startswith(magic, at)), None)
    if kind is None:
        if in_array and url is None:
            return None
        kind = _declared_kind(body[max(start - 256, 0) : start], body[end : end + 96])
    if kind is None:
        return None
    size = (end - start) * 3 // 4
    if kind in _IMAGE_KINDS:
        if kind == "jpeg":
            head = _decoded(body[start : min(start + 8192, end)]) or head
        width_height = _read_size(kind, head)
        if url is None:
            return _Inline(start, end, _image_tokens(width_height), "other")
        if _LOW_AFTER.match(body, end):
            return _Inline(start, end, _BASE_TOKENS, "low")
        return _Inline(start, end, _tiled_image_tokens(width_height), "tiled")
    if kind == "text":
        return _Inline(start, end, estimate_tokens(size, head.isascii()), "")
    if kind == "file":
        tokens = min(size, _MAX_PAGES * _PAGE_BYTES) * _PAGE_TOKENS // _PAGE_BYTES
        return _Inline(start, end, max(tokens, _MIN_FILE_TOKENS), "")
    per_s = _INPUT_AUDIO_TOKENS_PER_S if b"input_audio" in before else _SOUND_TOKENS_PER_S
    if kind == "video":
        per_s = _VIDEO_TOKENS_PER_S
    return _Inline(start, end, -(-size * per_s // _bytes_per_s(kind, head)), "")


def _declared_kind(before: bytes, after: bytes) -> str | None:
    """What inline data is by its media type; None when nothing beside it says that it is data."""
    declared = _MIME.findall(before) or _MIME.findall(after)
    if declared:
        return _KIND_OF_MIME.get(declared[-1].lower(), "file")
    if b"input_audio" in before:
        return "pcm"
    return "file" if b"base64" in before else None


def _decoded(text: bytes) -> bytes | None:
    """The first bytes that base64 in a JSON string stands for; None when it is not base64."""
    text = text.replace(b"\\/", b"/").replace(b"\\r", b"").replace(b"\\n", b"").rstrip(b"\\")
    try:
        return binascii.a2b_base64(text[: len(text) & -4].translate(_STANDARD), strict_mode=True)
    except binascii.Error:
        # Not a failure: it is text, or base64 with something foreign in it, and counted as text.
        return None


def _bytes_per_s(kind: str, head: bytes) -> int:
    if kind == "wav":
        declared = int.from_bytes(head[28:32], "little")
        return declared if declared >= 1000 else _BYTES_PER_S["pcm"]
    return _BYTES_PER_S[kind]


def _read_size(kind: str, data: bytes) -> tuple[int, int] | None:
    """Width and height from an image's first bytes; None when they are not among them."""
    try:
        if kind == "png":
            return struct.unpack_from(">II", data, 16)
        if kind == "gif":
            return struct.unpack_from("<HH", data, 6)
        if kind == "webp":
            return _read_webp_size(data)
        if kind == "jpeg":
            return _read_jpeg_size(data)
    except struct.error:
        # Cut short: the size is as unknown as that of an image not sent along.
        return None
    return None


def _read_webp_size(data: bytes) -> tuple[int, int] | None:
    """RFC 9649, sections 2.5 to 2.7: lossy, lossless and extended files."""
    if data[12:16] == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


def _read_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """From the frame header, which camera files have behind a thumbnail: mostly out of reach."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def _tiled_image_tokens(width_height: tuple[int, int] | None) -> int:
    """OpenAI's: within 2048 x 2048, the shorter side at most 768, then tiles of 512."""
    if width_height is None or min(width_height) < 1:
        return _BASE_TOKENS + _TILE_TOKENS * _UNSEEN_TILES
    scale = min(1.0, 2048 / max(width_height), 768 / min(width_height))
    across, down = (max(round(side * scale), 1) for side in width_height)
    return _BASE_TOKENS + _TILE_TOKENS * -(-across // 512) * -(-down // 512)


def _image_tokens(width_height: tuple[int, int] | None) -> int:
    """Anthropic's, and at least Gemini's least."""
    if width_height is None:
        return _MAX_IMAGE_TOKENS
    width, height = width_height
    return min(max(-(-width * height // _PIXELS_PER_TOKEN), _MIN_IMAGE_TOKENS), _MAX_IMAGE_TOKENS)


def _unseen_images(body: bytes, texts: Sequence[tuple[int, int]], values: Sequence[_Inline]) -> int:
    """Tokens of the images that the body speaks of and that are not among `values`."""
    if all(body.find(b"image", start, end) < 0 for start, end in texts):
        return 0
    tiled = other = low = 0
    for start, end in texts:
        for image, is_low in _IMAGES.findall(body, start, end):
            if is_low:
                low += 1
            elif image in _TILED:
                tiled += 1
            else:
                other += 1
    for value in values:
        tiled -= value.image in ("tiled", "low")
        other -= value.image == "other"
        low -= value.image == "low"
    tiled, other = max(tiled, 0), max(other, 0)
    low = min(max(low, 0), tiled)
    tokens = _BASE_TOKENS * tiled + _TILE_TOKENS * _UNSEEN_TILES * (tiled - low)
    return tokens + _MAX_IMAGE_TOKENS * other
