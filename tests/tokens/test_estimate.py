"""The cheap guess is near the real count, in any script, and a picture is not its base64."""

from __future__ import annotations

import base64
import json
import random
import struct

import pytest

from llmgw.tokens.estimate import estimate_request, estimate_tokens
from tests.bench.estimates import (
    CHINESE,
    ENGLISH,
    LEAST,
    MEAN_ERROR,
    MOST,
    TEXTS,
    Result,
    mean_error,
    measure,
    png,
)

QUESTION = "What is in this?"


def chat(content: object, **more: object) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **more}).encode()


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def image_url(url: str, **more: object) -> bytes:
    """A question with an image, OpenAI's way."""
    parts = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": url, **more}}]
    return chat(parts)


def source(kind: str, media_type: str, data: bytes) -> bytes:
    """A question with inline data, Anthropic's way."""
    inline = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
    return chat([{"type": "text", "text": QUESTION}, {"type": kind, "source": inline}])


def noise(n_bytes: int, head: bytes = b"") -> bytes:
    return head + random.Random(5).randbytes(n_bytes - len(head))


def wav(seconds: int) -> bytes:
    """Speech at 16 kHz, 16 bits."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    return noise(32_000 * seconds, b"RIFF\0\0\0\0WAVE" + form + b"data\0\0\0\0")


def jpeg(width: int, height: int) -> bytes:
    """Application data, a quantisation table, then the frame."""
    before = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(10) + b"\xff\xdb\x00\x43" + bytes(65)
    return noise(3000, before + b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", height, width))


def webp(chunk: bytes) -> bytes:
    return noise(3000, b"RIFF\0\0\0\0WEBP" + chunk)


PLAIN = estimate_request(chat([{"type": "text", "text": QUESTION}]))


def added(body: bytes) -> int:
    """The tokens of what the question has beside it, and a few for the JSON around that."""
    return estimate_request(body) - PLAIN


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return measure()


def test_rounded_up() -> None:
    """One byte is one token; no bytes are none."""
    assert [estimate_tokens(n, ascii=True) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]
    assert [estimate_tokens(n, ascii=False) for n in (0, 1, 3, 4)] == [0, 1, 1, 2]


def test_every_sample_is_near_its_count(results: list[Result]) -> None:
    """Prose in nine languages, code, data, tools, images: none far below, none twice as high."""
    wrong = [(r.sample.name, r.ratio) for r in results if not LEAST <= r.ratio <= MOST]

    assert wrong == []


def test_the_samples_are_near_on_average(results: list[Result]) -> None:
    assert mean_error(results) <= MEAN_ERROR


@pytest.mark.parametrize("name", TEXTS)
def test_escaped_text_is_as_long_as_plain(name: str) -> None:
    """`\\u` escapes, six bytes a character, are not what is billed."""
    request = {"model": "m", "prompt": TEXTS[name]}
    plain = estimate_request(json.dumps(request, ensure_ascii=False).encode())

    assert estimate_request(json.dumps(request).encode()) == pytest.approx(plain, rel=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_long_mixtures_are_the_same_escaped(seed: int) -> None:
    """The windows that stand for a long escaped text, scripts in turn, stand for all of it."""
    draw = random.Random(seed)
    pieces = draw.choices([ENGLISH, CHINESE, TEXTS["Russian"], TEXTS["Hindi"]], k=60)
    text = "".join(piece[draw.randrange(200) : draw.randrange(300, 900)] for piece in pieces)
    plain = estimate_request(json.dumps({"prompt": text}, ensure_ascii=False).encode())

    assert estimate_request(json.dumps({"prompt": text}).encode()) == pytest.approx(plain, rel=0.15)


def test_escapes_of_escapes_are_text() -> None:
    """JSON within a string: the model reads the escapes themselves, a few tokens a character."""
    once = estimate_request(chat(CHINESE))
    twice = estimate_request(chat(json.dumps(CHINESE)))

    assert twice > 3 * once


def test_escapes_beside_other_text() -> None:
    """Some clients escape only markup: what is UTF-8 already stays what it is."""
    text = f"{CHINESE} <b>{CHINESE}</b>" * 3
    plain = json.dumps({"prompt": text}, ensure_ascii=False)
    escaped = plain.replace("<", "\\u003c").replace(">", "\\u003e")

    assert estimate_request(escaped.encode()) == estimate_request(plain.encode())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_kind_of_bytes(kind: type) -> None:
    body = chat(ENGLISH)

    assert estimate_request(kind(body)) == estimate_request(body)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"a":"\\u12', b'"', b"[", b"\\", b"[{" * 5000])
def test_what_is_not_json(body: bytes) -> None:
    """Something is at least a token, nothing is none."""
    assert estimate_request(body) >= min(len(body), 1)
    assert estimate_request(b"") == 0


def test_any_bytes_are_a_number_that_fits_them() -> None:
    """Never negative, never more than images and heavy bytes could come to."""
    draw = random.Random(20240501)
    pieces = [
        *(piece.encode() for piece in (ENGLISH, CHINESE, json.dumps(CHINESE))),
        *(b'"data":"', b'"type":"image"', b"data:image/png;base64,", b'"', b"\\", b"\\u", b"[", b'[{"'),
        *(base64.b64encode(data) for data in (png(9, 9, 3000), jpeg(9, 9), wav(1), noise(2000))),
    ]
    for _ in range(500):
        body = b"".join(draw.choices(pieces, k=draw.randrange(1, 12)))
        body = body[: draw.randrange(len(body) + 1)]

        assert 0 <= estimate_request(body) <= 3 * len(body) + 1600 * body.count(b"image")


def test_more_text_is_not_less() -> None:
    """Exactly so while all bytes are weighed, within the sample's error beyond."""
    draw = random.Random(3)
    text, before = "", 0
    for _ in range(200):
        text += draw.choice([ENGLISH, CHINESE, "x = [1, 2]\n"])[: draw.randrange(200)]
        body = chat(text)
        now = estimate_request(body)

        assert now >= (before if len(body) < 8000 else before * 0.9)
        before = now


@pytest.mark.parametrize("text", ["test ", "foobar ", "hello world", "0123456789\n", "абв ", "很好"])
def test_repeated_text_is_not_missed_by_the_sample(text: str) -> None:
    """However the period falls, a long text weighs what its parts weigh."""
    short = estimate_request(chat(text * (4000 // len(text.encode()))))
    long = estimate_request(chat(text * (40_000 // len(text.encode()))))

    assert long == pytest.approx(10 * short, rel=0.15)


@pytest.mark.parametrize(
    ("size", "tokens"),
    [((1024, 1024), 765), ((2048, 4096), 1105), ((512, 512), 255), ((100, 5000), 85 + 4 * 170)],
)
def test_data_url_is_priced_in_tiles(size: tuple[int, int], tokens: int) -> None:
    """OpenAI's own examples, and a sliver."""
    assert tokens <= added(image_url(data_url(png(*size, 3000)))) <= tokens + 40


@pytest.mark.parametrize("n_bytes", [2000, 20_000, 750_000])
def test_size_in_bytes_does_not_matter(n_bytes: int) -> None:
    """A megabyte of base64 is an image like any other."""
    assert added(image_url(data_url(png(1024, 1024, n_bytes)))) == pytest.approx(765, abs=40)


def test_low_detail() -> None:
    """85 tokens, sent along or named by a URL."""
    assert added(image_url(data_url(png(1024, 1024, 9000)), detail="low")) == pytest.approx(85, abs=45)
    assert added(image_url("https://example.org/cat.png", detail="low")) == pytest.approx(85, abs=45)


def test_image_named_by_url_counts_as_one() -> None:
    one = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    text = {"type": "text", "text": QUESTION}

    assert added(chat([text, one])) == pytest.approx(1105, abs=45)
    assert added(chat([text, one, one])) == pytest.approx(2 * 1105, abs=90)
    assert added(chat([text, {"type": "image", "source": {"type": "url", "url": "https://e.org/a"}}])) > 1600


def test_image_sent_along_and_image_named() -> None:
    """Each is counted once."""
    sent = {"type": "image_url", "image_url": {"url": data_url(png(512, 512, 5000))}}
    named = {"type": "input_image", "image_url": "https://example.org/cat.png"}

    assert added(chat([sent, named, {"type": "text", "text": QUESTION}])) == pytest.approx(255 + 1105, abs=70)


@pytest.mark.parametrize(
    ("image", "tokens"),
    [
        (png(1000, 1000, 3000), 1334),
        (noise(3000, b"GIF89a" + struct.pack("<HH", 600, 600)), 480),
        (jpeg(900, 800), 960),
        (webp(b"VP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 900, 800)), 960),
        (webp(b"VP8L\0\0\0\0\x2f" + struct.pack("<I", 899 | 799 << 14)), 960),
        (webp(b"VP8X\0\0\0\0\0\0\0\0" + (899).to_bytes(3, "little") + (799).to_bytes(3, "little")), 960),
        (png(20, 20, 3000), 258),
        (png(9000, 9000, 3000), 1600),
        (noise(3000, b"\0\0\0\x18ftypheic"), 1600),
        (noise(3000, b"\xff\xd8\xff\xe1\xff\xff"), 1600),
        (webp(b"ANIM"), 1600),
    ],
    ids=[
        "png",
        "gif",
        "jpeg",
        "webp",
        "webp-lossless",
        "webp-extended",
        "tiny",
        "huge",
        "heic",
        "no-frame",
        "no-chunk",
    ],
)
def test_source_is_priced_by_its_pixels(image: bytes, tokens: int) -> None:
    """Width and height come from the file's head; a size unknown is the largest."""
    assert added(source("image", "image/png", image)) == pytest.approx(tokens, abs=50)


def test_pretty_printed_and_other_orders() -> None:
    """White space around the colon and members in another order change nothing."""
    data = base64.b64encode(png(1000, 1000, 30_000)).decode()
    source = f'{{"data"\n :\t"{data}", "media_type" : "image/png"}}'
    body = f'{{"messages":[{{"content":[{{"source" : {source}, "type" : "image"}}]}}]}}'

    assert estimate_request(body.encode()) == pytest.approx(1334, abs=40)


def test_escaped_slashes() -> None:
    """PHP writes `\\/`, in the media type and in the data."""
    body = image_url(data_url(jpeg(512, 512), "image/jpeg")).replace(b"/", b"\\/")

    assert added(body) == pytest.approx(255, abs=40)


def test_image_without_a_size() -> None:
    """Base64 that is nearly all line breaks has no room for one in its first bytes."""
    inline = {"mimeType": "image/png", "data": "iVBORw0K" + "\n" * 1500}

    assert added(chat([{"text": QUESTION}, {"inlineData": inline}])) == pytest.approx(1600, abs=40)


def test_gemini_and_bedrock_members() -> None:
    data = base64.b64encode(png(1000, 1000, 5000)).decode()
    for inline in (
        {"inlineData": {"mimeType": "image/png", "data": data}},
        {"inline_data": {"mime_type": "image/png", "data": data}},
        {"image": {"format": "png", "source": {"bytes": data}}},
    ):
        body = json.dumps({"contents": [{"parts": [{"text": QUESTION}, inline]}]}).encode()

        assert added(body) == pytest.approx(1334, abs=40)


def test_image_without_arrays() -> None:
    """Google reads a single part without its array."""
    inline = {"mimeType": "image/png", "data": base64.b64encode(png(1000, 1000, 5000)).decode()}
    body = json.dumps({"contents": {"parts": {"inlineData": inline}}}).encode()

    assert estimate_request(body) == pytest.approx(1334, abs=40)


def test_ollama_images() -> None:
    """Strings of an array, without a word of what they are."""
    images = [base64.b64encode(image).decode() for image in (png(1000, 1000, 5000), jpeg(900, 800))]
    generate = json.dumps({"model": "llava", "prompt": QUESTION, "images": images}).encode()
    talk = {"role": "user", "content": QUESTION, "images": images}

    assert added(generate) == pytest.approx(1334 + 960, abs=40)
    assert added(json.dumps({"messages": [talk]}).encode()) == pytest.approx(1334 + 960, abs=40)


@pytest.mark.parametrize(
    ("media_type", "data", "tokens"),
    [
        ("audio/wav", wav(10), 320),
        ("audio/pcm", noise(320_000), 320),
        ("audio/mpeg", noise(80_000, b"ID3"), 320),
        ("audio/ogg", noise(40_000, b"OggS"), 320),
        ("video/mp4", noise(250_000, b"\0\0\0\x18ftypisom"), 526),
        ("application/pdf", noise(400_000, b"%PDF-1.7\n"), 24_000),
        ("application/pdf", noise(2000, b"%PDF-1.7\n"), 258),
        ("application/x-thing", noise(40_000), 2400),
        ("text/plain", ENGLISH.encode() * 10, len(ENGLISH) * 10 // 4),
    ],
)
def test_sound_films_and_files(media_type: str, data: bytes, tokens: int) -> None:
    """Sound and films go by the second, files by their length."""
    inline = {"mime_type": media_type, "data": base64.b64encode(data).decode()}
    body = json.dumps({"contents": [{"parts": [{"text": QUESTION}, {"inline_data": inline}]}]}).encode()

    assert added(body) == pytest.approx(tokens, rel=0.02, abs=30)


@pytest.mark.parametrize("data", [wav(10), noise(320_000)], ids=["wav", "raw"])
def test_input_audio(data: bytes) -> None:
    """OpenAI's own rate: ten tokens a second."""
    audio = {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": "wav"}}

    assert added(chat([{"type": "text", "text": QUESTION}, audio])) == pytest.approx(100, abs=30)


def test_file_in_a_data_url() -> None:
    data = data_url(noise(80_000, b"%PDF-1.7\n"), "application/pdf")
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": data}}

    assert added(chat([{"type": "text", "text": QUESTION}, file])) == pytest.approx(4800, rel=0.02)


def test_base64_in_a_text_is_text() -> None:
    """What a user pastes is billed by the letter, data URL or not, escaped JSON or not."""
    pasted = base64.b64encode(png(1000, 1000, 30_000)).decode()
    for text in (
        pasted,
        "data:image/png;base64," + pasted,
        f"look: data:image/png;base64,{pasted}",
        json.dumps({"type": "base64", "data": pasted}),
    ):
        assert estimate_request(chat(text)) > 10_000


def test_long_word_in_a_member_named_data_is_text() -> None:
    """A tool's argument may have that name: without a type, data it cannot recognise is text."""
    call = {"type": "tool_use", "name": "hash", "input": {"data": noise(6000).hex()}}

    assert estimate_request(chat([call])) > 3000


def test_array_of_long_words_is_text() -> None:
    """An embeddings request of words without spaces."""
    words = [noise(3000).hex(), noise(4000).hex()]

    assert estimate_request(json.dumps({"model": "m", "input": words}).encode()) > 5000


def test_published_tool_prompt() -> None:
    """Anthropic bills a prompt of its own for tools, beside their declarations."""
    tool = {"name": "f", "description": "x", "input_schema": {"type": "object"}}
    function = {"name": "f", "description": "x", "parameters": {"type": "object"}}

    more = estimate_request(chat(QUESTION, tools=[tool])) - estimate_request(chat(QUESTION, tools=[function]))

    assert more == pytest.approx(346, abs=5)


@pytest.mark.parametrize("cut", [2000, 100_000, 399_999])
def test_body_cut_within_an_image(cut: int) -> None:
    """An image without its end is an image."""
    assert estimate_request(image_url(data_url(png(1024, 1024, 300_000)))[:cut]) < 3000


@pytest.mark.parametrize(
    "marker",
    [
        b";base64,",
        b'"data":"',
        b'"data":"iVBORw0KGgo',
        b'"image_url":{"url":"data:image/png;base64,' + b"A" * 60,
        b'["' + b"A" * 3000 + b'",',
        b'"' + b"A" * 600,
        b"A" * 60 + b" ",
        b'"type":"image"',
        b"\\u",
        b"[{",
    ],
)
def test_nothing_but_markers(marker: bytes) -> None:
    """Megabytes of what the search looks for are one pass over it, and no error."""
    body = b'{"messages":[{"content":[{' + marker * min(100_000, 4_000_000 // len(marker))

    assert 0 < estimate_request(body) <= 1700 * 100_000
