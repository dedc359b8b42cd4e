"""Where a body ends: lengths, transfer codings, chunks and trailers."""

from __future__ import annotations

from tests.server.corpus.case import BODY, CHUNKED, OTHER_LINE, Case, chunked, fine, post, refused

_SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer sk-test\r\n\r\n"
_CHUNK = b"%x\r\n%b\r\n" % (len(BODY), BODY)
_LAST = b"0\r\n\r\n"


def _lengths() -> list[Case]:
    size = str(len(BODY)).encode()
    invalid = {
        "signed": b"+" + size,
        "negative": b"-1",
        "hexadecimal": b"0x3f",
        "with an underscore": b"6_2",
        "with a fraction": size + b".0",
        "with an exponent": b"6e1",
        "with a comma": size + b",",
        "a list": size + b", " + size,
        "a list of two": size + b", 0",
        "with a space inside": b"6 2",
        "with a tab inside": b"6\t2",
        "empty": b"",
        "of blanks": b"  ",
        "quoted": b'"' + size + b'"',
        "with a semicolon": size + b";",
        "of letters": b"all",
        "with NUL": size + b"\x00",
        "of 2^64": b"18446744073709551616",
        "of 30 digits": b"9" * 30,
        "of 5,000 digits": b"9" * 5000,
        "in other digits": "６２".encode(),
        "with a word": size + b" bytes",
        "with a vertical tab": b"\x0b" + size,
        "folded": b"\r\n " + size,
    }
    cases = [
        refused(f"length {name}", post(b"Content-Length: " + value, length=False))
        for name, value in invalid.items()
    ]
    one = b"Content-Length: " + size
    cases += [
        refused("length twice", post(one)),
        refused("length twice and different", post(b"Content-Length: 0")),
        refused("length twice, by the app", post(b"Content-Length: 0", line=OTHER_LINE)),
        refused("length thrice", post(one, one)),
        refused("length negative, by the app", post(b"Content-Length: -1", length=False, line=OTHER_LINE)),
        refused(
            "length larger than any",
            post(b"Content-Length: 18446744073709551615", length=False),
            status=413,
            code="request_too_large",
        ),
        refused(
            "length over the cap",
            post(b"Content-Length: 1048577", length=False),
            status=413,
            code="request_too_large",
        ),
        fine("length with zeros before it", post(b"Content-Length: 000" + size, length=False)),
        fine("length with blanks around it", post(b"Content-Length:  \t" + size + b" \t", length=False)),
        fine("length in upper case", post(b"CONTENT-LENGTH: " + size, length=False)),
    ]
    return cases


def _codings() -> list[Case]:
    values = {
        "unknown": b"xchunked",
        "chunked and identity": b"chunked, identity",
        "identity and chunked": b"identity, chunked",
        "chunked twice": b"chunked, chunked",
        "gzip and chunked": b"gzip, chunked",
        "chunked and gzip": b"chunked, gzip",
        "identity": b"identity",
        "gzip": b"gzip",
        "deflate": b"deflate",
        "compress": b"compress",
        "trailers": b"trailers",
        "cut": b"chunke",
        "longer": b"chunkedd",
        "with a parameter": b"chunked;q=1",
        "with a comma before it": b", chunked",
        "with a comma behind it": b"chunked,",
        "with a semicolon behind it": b"chunked;",
        "with a word behind it": b"chunked x",
        "with a word behind a tab": b"chunked\tx",
        "with a word before it": b"x chunked",
        "with a vertical tab before it": b"\x0bchunked",
        "with a form feed before it": b"\x0cchunked",
        "with NUL behind it": b"chunked\x00",
        "with a high byte before it": b"\xa0chunked",
        "with a high byte behind it": b"chunked\x85",
        "quoted": b'"chunked"',
        "in single quotes": b"'chunked'",
        "bracketed": b"(chunked)",
        "with a colon": b": chunked",
        "folded": b"\r\n chunked",
        "folded with a tab": b"\r\n\tchunked",
        "with LF": b"\nchunked",
        "with CR": b"\rchunked",
        "empty": b"",
        "of a blank": b" ",
        "before a tab": b"chunked\t",
        "in UTF-8": "chunkеd".encode(),
        "with a word of spaces": b"chun ked",
        "escaped": b"ch%75nked",
    }
    cases = []
    for name, value in values.items():
        field = b"Transfer-Encoding: " + value
        cases.append(refused(f"coding {name}", post(field, length=False, body=_CHUNK + _LAST)))
        cases.append(refused(f"coding {name}, beside a length", post(field)))
    cases += [
        refused("coding twice", post(CHUNKED, CHUNKED, length=False, body=_CHUNK + _LAST)),
        refused(
            "coding twice and different",
            post(CHUNKED, b"Transfer-Encoding: identity", length=False, body=_CHUNK + _LAST),
        ),
        refused(
            "coding twice, identity first",
            post(b"Transfer-Encoding: identity", CHUNKED, length=False, body=_CHUNK + _LAST),
        ),
        refused(
            "coding twice, by the app",
            post(CHUNKED, CHUNKED, length=False, body=_CHUNK + _LAST, line=OTHER_LINE),
        ),
        refused(
            "coding before a space", post(b"Transfer-Encoding : chunked", length=False, body=_CHUNK + _LAST)
        ),
        refused(
            "coding behind a space", post(b" Transfer-Encoding: chunked", length=False, body=_CHUNK + _LAST)
        ),
        refused(
            "coding unknown, by the app",
            post(b"Transfer-Encoding: xchunked", length=False, body=_LAST, line=OTHER_LINE),
        ),
        refused(
            "coding gzip and chunked, by the app",
            post(b"Transfer-Encoding: gzip, chunked", length=False, body=_LAST, line=OTHER_LINE),
        ),
        refused(
            "coding of a GET",
            b"GET /v1/models HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: x\r\n\r\n",
        ),
        fine("coding in upper case", post(b"TRANSFER-ENCODING: CHUNKED", length=False, body=_CHUNK + _LAST)),
        fine(
            "coding behind blanks",
            post(b"Transfer-Encoding: \t chunked ", length=False, body=_CHUNK + _LAST),
        ),
    ]
    return cases


def _both() -> list[Case]:
    size = b"Content-Length: %d" % len(_SMUGGLED)
    return [
        refused("coding and length", post(CHUNKED, size, length=False, body=_LAST + _SMUGGLED)),
        refused("length and coding", post(size, CHUNKED, length=False, body=_LAST + _SMUGGLED)),
        refused(
            "coding and length, by the app",
            post(CHUNKED, size, length=False, body=_LAST + _SMUGGLED, line=OTHER_LINE),
        ),
        refused(
            "length and coding, by the app",
            post(size, CHUNKED, length=False, body=_LAST + _SMUGGLED, line=OTHER_LINE),
        ),
        refused("coding and length of 0", post(CHUNKED, b"Content-Length: 0", length=False, body=_LAST)),
        refused(
            "coding in upper case and length",
            post(b"TRANSFER-ENCODING: CHUNKED", size, length=False, body=_LAST + _SMUGGLED),
        ),
        refused(
            "coding and length of a GET",
            _SMUGGLED[:-2] + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    ]


def _chunks() -> list[Case]:
    sizes = {
        "hexadecimal by prefix": b"0x%x" % len(BODY),
        "signed": b"+%x" % len(BODY),
        "negative": b"-1",
        "with an underscore": b"3_f",
        "of 20 digits": b"F" * 20,
        "of 2^64": b"10000000000000000",
        "empty": b"",
        "of letters": b"g",
        "behind a space": b" %x" % len(BODY),
        "before a space": b"%x " % len(BODY),
        "before a tab": b"%x\t" % len(BODY),
        "with a space inside": b"3 f",
        "with a comma": b"3,f",
        "with a fraction": b"3.f",
        "with an h": b"%xh" % len(BODY),
        "with NUL": b"%x\x00" % len(BODY),
        "quoted": b'"%x"' % len(BODY),
        "in other digits": "３".encode(),
        "with a vertical tab": b"%x\x0b" % len(BODY),
    }
    cases = [
        refused(f"chunk size {name}", chunked(size + b"\r\n" + BODY + b"\r\n" + _LAST))
        for name, size in sizes.items()
    ]
    cases += [
        refused(
            f"chunk size {name}, by the app",
            chunked(sizes[name] + b"\r\n" + BODY + b"\r\n" + _LAST, line=OTHER_LINE),
        )
        for name in ("hexadecimal by prefix", "signed", "negative", "of 20 digits", "before a space")
    ]
    extensions = {
        "of NUL": b";x\x00",
        "of LF": b";x\ny",
        "of CR": b";x\ry",
        "empty": b";",
        "of a space": b"; ",
        "behind a space": b" ;x",
        "of an escape": b";\x1b",
        "of a high byte": b";\xff",
        "of a bracket": b";(x)",
    }
    line = b"%x" % len(BODY)
    cases += [
        refused(f"chunk extension {name}", chunked(line + extension + b"\r\n" + BODY + b"\r\n" + _LAST))
        for name, extension in extensions.items()
    ]
    huge = b"x" * 65_536
    cases += [
        refused("chunk extension of 1 MiB", chunked(line + b";"), *[huge] * 16),
        refused("chunk extension of 1 MiB, by the app", chunked(line + b";", line=OTHER_LINE), *[huge] * 16),
        refused(
            "chunk extensions more than the body", chunked(b""), *[b"1;%b\r\n \r\n" % (b"x" * 4096)] * 64
        ),
        refused("chunk size of 100,000 zeros", chunked(b""), *[b"0" * 20_000] * 20),
        refused("chunk size before LF", chunked(line + b"\n" + BODY + b"\r\n" + _LAST)),
        refused("chunk size before CR", chunked(line + b"\r" + BODY + b"\r\n" + _LAST)),
        refused("chunk before LF", chunked(line + b"\r\n" + BODY + b"\n" + _LAST)),
        refused("chunk before CR", chunked(line + b"\r\n" + BODY + b"\r" + _LAST)),
        refused("chunk before nothing", chunked(line + b"\r\n" + BODY + _LAST)),
        refused("chunk before two letters", chunked(line + b"\r\n" + BODY + b"XX" + _LAST)),
        refused("chunk longer than it says", chunked(b"%x\r\n" % (len(BODY) - 1) + BODY + b"\r\n" + _LAST)),
        refused("chunk shorter than it says", chunked(b"%x\r\n" % (len(BODY) + 4) + BODY + b"\r\n" + _LAST)),
        refused("last chunk before LF", chunked(_CHUNK + b"0\n\r\n")),
        refused("last chunk before CR", chunked(_CHUNK + b"0\rX")),
        refused("last chunk before a space", chunked(_CHUNK + b"0 \r\n\r\n")),
        refused("last empty line of CR", chunked(_CHUNK + b"0\r\n\rX")),
        refused("no chunk at all", chunked(b"\r\n\r\n")),
        refused("a body where chunks should be", chunked(BODY)),
        refused("chunk of an unfinished body, by the app", chunked(_CHUNK, line=OTHER_LINE), b"XX\r\n"),
        refused("chunk of an unfinished body", chunked(_CHUNK), b"XX\r\n"),
        fine("chunk extension of a name", chunked(line + b";x\r\n" + BODY + b"\r\n" + _LAST)),
        fine("chunk extension of a value", chunked(line + b";x=y\r\n" + BODY + b"\r\n" + _LAST)),
        fine("chunk extension in quotes", chunked(line + b';x="a b"\r\n' + BODY + b"\r\n" + _LAST)),
        fine("chunk extensions", chunked(line + b";x;y=z;k\r\n" + BODY + b"\r\n0;x\r\n\r\n")),
        fine("chunk size with zeros before it", chunked(b"000" + line + b"\r\n" + BODY + b"\r\n" + _LAST)),
        fine("chunk size in upper case", chunked(line.upper() + b"\r\n" + BODY + b"\r\n" + _LAST)),
        fine("last chunk of zeros", chunked(_CHUNK + b"000\r\n\r\n")),
        fine("chunks of a byte", chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + _LAST)),
        fine("chunks byte by byte", *[bytes([byte]) for byte in chunked(_CHUNK + _LAST)]),
        fine("chunks by the app", chunked(_CHUNK + _LAST, line=OTHER_LINE)),
        refused(
            "chunks over the cap",
            chunked(b""),
            *[b"10000\r\n" + b" " * 65_536 + b"\r\n"] * 17,
            status=413,
            code="request_too_large",
        ),
    ]
    return cases


def _trailers() -> list[Case]:
    invalid = {
        "a length": b"Content-Length: 5",
        "a coding": b"Transfer-Encoding: chunked",
        "without a colon": b"X",
        "with a space in its name": b"X y: z",
        "before a space": b"X : y",
        "folded": b"X: y\r\n z",
        "with NUL": b"X: y\x00",
        "with CR": b"X: y\rZ: a",
        "with LF": b"X: y\nZ: a",
        "empty": b": y",
        "with a control byte": b"X: \x01",
    }
    cases = [
        refused(f"trailer {name}", chunked(_CHUNK + b"0\r\n" + trailer + b"\r\n\r\n"))
        for name, trailer in invalid.items()
    ]
    cases += [
        refused(
            "trailers of 40 KiB",
            chunked(_CHUNK + b"0\r\nX: " + b"y" * 40_960 + b"\r\n\r\n"),
            status=431,
            code="headers_too_large",
        ),
        refused(
            "trailers of 200 fields",
            chunked(_CHUNK + b"0\r\n" + b"X: y\r\n" * 200 + b"\r\n"),
            status=431,
            code="headers_too_large",
        ),
        refused(
            "trailers of 200 fields, by the app",
            chunked(_CHUNK + b"0\r\n" + b"X: y\r\n" * 200 + b"\r\n", line=OTHER_LINE),
            status=431,
            code="headers_too_large",
        ),
        fine("trailer", chunked(_CHUNK + b"0\r\nX: y\r\n\r\n")),
        fine(
            "trailer that names a credential",
            chunked(_CHUNK + b"0\r\nAuthorization: Bearer sk-rival\r\n\r\n", b"Trailer: Authorization"),
        ),
        Case(
            "trailer as the only credential",
            (
                chunked(_CHUNK + b"0\r\nAuthorization: Bearer sk-test\r\n\r\n").replace(
                    b"Authorization: Bearer sk-test\r\n", b"", 1
                ),
            ),
            ((401, "invalid_credentials"),),
            closes=False,
        ),
        Case(
            "trailer as the only credential, by the app",
            (
                chunked(_CHUNK + b"0\r\nAuthorization: Bearer sk-test\r\n\r\n", line=OTHER_LINE).replace(
                    b"Authorization: Bearer sk-test\r\n", b"", 1
                ),
            ),
            ((401, "invalid_credentials"),),
            closes=False,
        ),
        fine(
            "trailer that names another host, by the app",
            chunked(_CHUNK + b"0\r\nHost: other.test\r\n\r\n", line=OTHER_LINE),
        ),
    ]
    return cases


LENGTHS = _lengths()
CODINGS = _codings()
LENGTH_AND_CODING = _both()
CHUNKS = _chunks()
TRAILERS = _trailers()
