"""Form fields are found and replaced; what two readers could see differently is refused."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmgw.wire.multipart import Form, parse_boundary, parse_form

CONTENT_TYPE = "multipart/form-data; boundary=xyz"
FILE = bytes(range(256)) * 40 + b"\r\n--xy\r\n\r\n"


def field(name: str, value: bytes, extra: str = "") -> bytes:
    head = f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\n{extra}\r\n'
    return head.encode() + value + b"\r\n"


def upload(name: str, filename: str, value: bytes) -> bytes:
    head = f'--xyz\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
    return head.encode() + b"Content-Type: audio/mpeg\r\n\r\n" + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--xyz--\r\n"


def parse(body: bytes) -> Form:
    return parse_form(body, CONTENT_TYPE)


BODY = form(field("model", b"whisper-1"), upload("file", "a;b.mp3", FILE), field("language", "é".encode()))


def test_fields_and_files() -> None:
    """Fields are read by name; a file is a span with its name and size."""
    found = parse(BODY)

    assert found.field("model") == "whisper-1"
    assert found.field("language") == "é"
    assert found.field("prompt") is None
    (file,) = found.files
    assert (file.name, file.filename, file.content_type, file.size) == (
        "file",
        "a;b.mp3",
        "audio/mpeg",
        len(FILE),
    )
    assert BODY[file.start : file.end] == FILE


def test_spliced() -> None:
    """Some values change; every other byte stays."""
    found = parse(BODY)

    changed = found.spliced({"language": "fr", "model": "whisper-large-v3"})

    assert changed == form(
        field("model", b"whisper-large-v3"), upload("file", "a;b.mp3", FILE), field("language", b"fr")
    )
    assert found.spliced({}) is BODY


def test_spliced_refuses_what_it_cannot_do() -> None:
    """An absent field, a file, and a value that would end its part."""
    found = parse(BODY)

    with pytest.raises(ValueError, match="'voice' is absent"):
        found.spliced({"voice": "x"})
    with pytest.raises(ValueError, match="must not be a file"):
        found.spliced({"file": "x"})
    with pytest.raises(ValueError, match="cannot hold the boundary"):
        found.spliced({"model": "x\r\n--xyz--"})


@given(st.text(max_size=20), st.binary(max_size=60))
def test_spliced_reads_back(value: str, content: bytes) -> None:
    """What was put in is what the next reader finds, and the file is untouched."""
    assume("--xyz" not in value and b"--xyz" not in content)
    before = parse(form(upload("file", "f", content), field("model", b"a")))

    after = parse(before.spliced({"model": value}))

    assert after.field("model") == value
    assert after.raw[after.files[0].start : after.files[0].end] == content


def test_empty_values_and_empty_form() -> None:
    """Empty fields, empty file names, no parts at all, and a leading line end."""
    found = parse(b"\r\n" + form(field("model", b""), upload("file", "", b"")))

    assert found.field("model") == ""
    assert found.files[0].filename == ""
    assert parse(b"--xyz--").parts == ()


def test_unquoted_and_extended_parameters() -> None:
    """Names without quotes, header names in any case, `filename*` beside or without `filename`."""
    body = (
        b"--xyz\r\ncontent-disposition: FORM-DATA; Name=model ;\r\n"
        b"content-type: text/plain; charset=UTF-8\r\n\r\nm\r\n"
        b"--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename*=utf-8''a.mp3\r\n\r\nf\r\n--xyz--"
    )
    found = parse(body)

    assert found.field("model") == "m"
    assert found.files[0].filename == "utf-8''a.mp3"


def test_repeated_fields() -> None:
    """A list of values is fine until it is asked for as one; `model` is refused at once."""
    found = parse(form(field("tag[]", b"a"), field("tag[]", b"b")))

    with pytest.raises(ValueError, match=r"'tag\[\]' occurs twice"):
        found.field("tag[]")
    with pytest.raises(ValueError, match="'model' occurs twice"):
        parse(form(field("model", b"a"), field("model", b"b")))
    with pytest.raises(ValueError, match="'model' occurs twice"):
        parse(form(field("model", b"a"), upload("model", "m", b"b")))


PART = b'--xyz\r\nContent-Disposition: form-data; name="model"\r\n'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "does not begin"),
        (b"preamble\r\n" + BODY, "does not begin"),
        (b"--xy", "does not begin"),
        (b"--xyz", "followed by something else"),
        (b"--xyz\r\n", "no end of its headers"),
        (b"--xyz \r\n" + BODY, "followed by something else"),
        (b"--xyz\n" + BODY, "followed by something else"),
        (BODY[:-9], "no last boundary"),
        (BODY[:-4], "followed by something else"),
        (BODY + b"more", "goes on after"),
        (BODY + BODY, "goes on after"),
        (PART + b"\r\na\r\n--xyzz\r\n\r\n--xyz--", "followed by something else"),
        (PART + b"\r\na\n" + PART.replace(b"\r", b"") + b"\nb\r\n--xyz--", "inside a part"),
        (PART + b"\r\nsee --xyz here\r\n--xyz--", "inside a part"),
        (PART + b"a b\r\n\r\nx\r\n--xyz--", "malformed header"),
        (PART + b" folded: x\r\n\r\nx\r\n--xyz--", "malformed header"),
        (PART + b"X: a\nY: b\r\n\r\nx\r\n--xyz--", "malformed header"),
        (PART + b"X: a\x00\r\n\r\nx\r\n--xyz--", "malformed header"),
        (PART + b"X: \xff\r\n\r\nx\r\n--xyz--", "not valid UTF-8"),
        (PART + b'Content-Disposition: form-data; name="b"\r\n\r\nx\r\n--xyz--', "header twice"),
        (PART + b"X: " + b"a" * 9000 + b"\r\n\r\nx\r\n--xyz--", "too many"),
        (b"--xyz\r\n\r\nx\r\n--xyz--", "no end of its headers|malformed|no last"),
        (b"--xyz\r\nContent-Type: text/plain\r\n\r\nx\r\n--xyz--", "has no name"),
        (b"--xyz\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--xyz--", "has no name"),
        (b'--xyz\r\nContent-Disposition: form-data; name=""\r\n\r\nx\r\n--xyz--', "has no name"),
        (PART.replace(b"name=", b"name*=utf-8''model; name=") + b"\r\nx\r\n--xyz--", "has no name"),
        (PART.replace(b'"model"', b'"a"; name="model"') + b"\r\nx\r\n--xyz--", "parameter twice"),
        (PART.replace(b'"model"', b'"model') + b"\r\nx\r\n--xyz--", "malformed"),
        (PART.replace(b'"model"', b'"mo\\del"') + b"\r\nx\r\n--xyz--", "unusable name"),
        (PART.replace(b'"model"', b'" model"') + b"\r\nx\r\n--xyz--", "unusable name"),
        (PART.replace(b'"model"', b'"mo\tdel"') + b"\r\nx\r\n--xyz--", "unusable name"),
        (PART + b"Content-Transfer-Encoding: base64\r\n\r\nx\r\n--xyz--", "transfer encoding"),
        (PART + b"Content-Type: text/plain; charset=utf-7\r\n\r\nx\r\n--xyz--", "not UTF-8"),
    ],
)
def test_b07_ambiguous_forms_are_refused(body: bytes, reason: str) -> None:
    """Each has a reader that would see other fields than we do."""
    with pytest.raises(ValueError, match=reason):
        parse(body)


def test_field_that_is_not_text() -> None:
    """A field is text; other bytes are refused when it is asked for."""
    with pytest.raises(ValueError, match="not valid UTF-8"):
        parse(form(field("model", b"\xff"))).field("model")
    with pytest.raises(ValueError, match="must not be a file"):
        parse(form(upload("model", "m", b"x"))).field("model")


def test_b07_too_many_parts() -> None:
    """Ten thousand parts cost no more than the cap."""
    body = form(*[field("a", b"b")] * 10_000)

    with pytest.raises(ValueError, match="more than 100 parts"):
        parse(body)
    assert len(parse_form(body, CONTENT_TYPE, max_parts=10_000).parts) == 10_000


def test_b07_hostile_boundary_is_linear() -> None:
    """A body of dashes under a boundary of dashes is read once, not once per byte."""
    boundary = "-" * 69 + "x"
    body = b"--" + boundary.encode() + b"\r\n" + b"-" * (1024 * 1024)
    began = time.perf_counter()

    with pytest.raises(ValueError, match="headers"):
        parse_form(body, f"multipart/form-data; boundary={boundary}")

    body = PART.replace(b"xyz", boundary.encode()) + b"\r\n" + b"\r\n--" * (256 * 1024)
    with pytest.raises(ValueError, match="no last boundary"):
        parse_form(body, f"multipart/form-data; boundary={boundary}")
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data;charset=utf-8;BOUNDARY="a b:c"', b"a b:c"),
        ("multipart/form-data; boundary=----WebKitFormBoundary7MA4", b"----WebKitFormBoundary7MA4"),
        ("multipart/form-data; boundary=" + "a" * 70, b"a" * 70),
    ],
)
def test_boundary(content_type: str, boundary: bytes) -> None:
    """Quoted or not, in any case, up to seventy characters."""
    assert parse_boundary(content_type) == boundary


@pytest.mark.parametrize(
    ("content_type", "reason"),
    [
        ("application/json", "not multipart"),
        ("", "not multipart"),
        ("multipart/mixed; boundary=a", "not multipart"),
        ("multipart/form-data", "no usable boundary"),
        ('multipart/form-data; boundary=""', "no usable boundary"),
        ('multipart/form-data; boundary="a "', "no usable boundary"),
        ('multipart/form-data; boundary="a\\"b"', "no usable boundary"),
        ("multipart/form-data; boundary=é", "no usable boundary"),
        ("multipart/form-data; boundary=" + "a" * 71, "longer than 70"),
        ("multipart/form-data; boundary=" + "-" * 1024 * 1024, "too long"),
        ("multipart/form-data; boundary=a; boundary=b", "parameter twice"),
        ('multipart/form-data; boundary="a', "malformed"),
    ],
)
def test_b07_boundary_refused(content_type: str, reason: str) -> None:
    """No boundary, two of them, or one that is none."""
    with pytest.raises(ValueError, match=reason):
        parse_boundary(content_type)
