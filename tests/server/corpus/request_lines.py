"""Methods, targets, versions and line ends."""

from __future__ import annotations

from tests.server.corpus.case import BODY, CHUNKED, FIELDS, HOST, LINE, Case, answered, fine, post, refused

_PATH = b"/v1/chat/completions"


def _line(method: bytes = b"POST", target: bytes = _PATH, version: bytes = b"HTTP/1.1") -> bytes:
    return post(line=b"%b %b %b" % (method, target, version))


def _methods() -> list[Case]:
    unknown = {
        "lower case": b"post",
        "mixed case": b"Post",
        "unknown": b"FOO",
        "longer than a known one": b"POSTS",
        "with a digit": b"P0ST",
        "with NUL": b"POST\x00",
        "with a quote": b'"POST"',
        "with a hash": b"#POST",
        "with a high byte": b"\x80OST",
        "behind a space": b" POST",
        "behind a tab": b"\tPOST",
        "behind a NUL": b"\x00POST",
        "behind a colon": b":POST",
        "behind a BOM": b"\xef\xbb\xbfPOST",
        "too long": b"A" * 300,
    }
    cases = [refused(f"method {name}", _line(method)) for name, method in unknown.items()]
    cases += [
        answered(
            f"method {method} on a path that takes POST",
            _line(method.encode()),
            status=405,
            code="method_not_allowed",
        )
        for method in (
            "GET",
            "PUT",
            "DELETE",
            "PATCH",
            "OPTIONS",
            "TRACE",
            "PROPFIND",
            "PURGE",
            "M-SEARCH",
            "QUERY",
            "LINK",
        )
    ]
    cases += [
        refused("method CONNECT with an authority", _line(b"CONNECT", b"gateway.test:80")),
        refused("method CONNECT with a path", _line(b"CONNECT")),
        refused("method CONNECT with a URL", _line(b"CONNECT", b"http://gateway.test/")),
        refused("method missing", _line(b"")),
        refused("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        refused("TLS in the clear", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x11" * 300),
        refused("SSH", b"SSH-2.0-OpenSSH_9.9\r\n"),
        refused("SOCKS5", b"\x05\x01\x00"),
        refused("SMTP", b"EHLO gateway.test\r\n"),
        refused("Redis", b"*1\r\n$4\r\nPING\r\n"),
        refused("PROXY protocol", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + post()),
        refused("an answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        refused("zeros", b"\x00" * 64),
    ]
    return cases


def _versions() -> list[Case]:
    versions = {
        "0.9": b"HTTP/0.9",
        "1.2": b"HTTP/1.2",
        "2.0": b"HTTP/2.0",
        "2": b"HTTP/2",
        "3.0": b"HTTP/3.0",
        "1.10": b"HTTP/1.10",
        "11.1": b"HTTP/11.1",
        "01.1": b"HTTP/01.1",
        "1.1 and a letter": b"HTTP/1.1x",
        "1.1 and a space": b"HTTP/1.1 ",
        "1.1 and a tab": b"HTTP/1.1\t",
        "1.1 and NUL": b"HTTP/1.1\x00",
        "1": b"HTTP/1",
        "1 and a dot": b"HTTP/1.",
        "with a comma": b"HTTP/1,1",
        "with a sign": b"HTTP/+1.1",
        "in lower case": b"http/1.1",
        "misspelt": b"HTPT/1.1",
        "with a space inside": b"HTTP /1.1",
        "without a slash": b"HTTP1.1",
        "of another protocol": b"HTTQ/1.1",
        "hexadecimal": b"HTTP/0x1.1",
        "empty": b"",
    }
    cases = [refused(f"version {name}", _line(version=version)) for name, version in versions.items()]
    cases += [
        refused("version missing, HTTP/0.9", b"GET /v1/models\r\n\r\n"),
        refused("version missing with fields", post(line=b"POST " + _PATH)),
        refused("version twice", post(line=LINE + b" HTTP/1.1")),
        fine("version 1.0", _line(version=b"HTTP/1.0"), closes=True),
        fine("version 1.0 without a host", post(line=b"POST %b HTTP/1.0" % _PATH, host=None), closes=True),
        fine(
            "version 1.0 that asks to stay",
            post(b"Connection: keep-alive", line=b"POST %b HTTP/1.0" % _PATH),
            closes=True,
        ),
        refused(
            "version 1.0 with chunks",
            post(CHUNKED, line=b"POST %b HTTP/1.0" % _PATH, length=False, body=b"0\r\n\r\n"),
        ),
    ]
    return cases


def _targets() -> list[Case]:
    invalid = {
        "without a slash": b"v1/chat/completions",
        "an authority": b"gateway.test:80",
        "a question mark": b"?x=1",
        "with NUL": _PATH + b"\x00",
        "with NUL inside": b"/v1/chat\x00/completions",
        "with a tab": _PATH + b"\tx",
        "with a form feed": _PATH + b"\x0c",
        "with an escape": _PATH + b"\x1b[31m",
        "with DEL": _PATH + b"\x7f",
        "with a high byte": _PATH + b"\x80",
        "in UTF-8": "/v1/chät/completions".encode(),
        "with a high byte in the query": _PATH + b"?x=\xff",
        "with NUL in the query": _PATH + b"?x=\x00",
        "with a space": b"/v1/chat completions",
        "with a fragment": _PATH + b"#x",
        "with a fragment behind a query": _PATH + b"?x#y",
        "with CR": b"/v1/chat\r/completions",
        "a star": b"*",
        "of another authority": b"http://other.test" + _PATH,
        "of another port": b"http://gateway.test:81" + _PATH,
        "of a user": b"http://gateway.test@other.test" + _PATH,
        "of a user here": b"http://user@gateway.test" + _PATH,
        "of an empty authority": b"http://" + _PATH,
        "of no authority": b"http:" + _PATH,
        "of another scheme": b"ftp://gateway.test" + _PATH,
        "of a file": b"file:///etc/passwd",
        "of a scheme only": b"http://",
        "of a broken address": b"http://[::1" + _PATH,
        "of a host with a backslash": b"http://other.test\\@gateway.test" + _PATH,
        "with a fragment of an authority": b"http://gateway.test#@other.test" + _PATH,
        "without a scheme": b"://gateway.test" + _PATH,
    }
    return [refused(f"target {name}", _line(target=target)) for name, target in invalid.items()]


def _paths() -> list[Case]:
    elsewhere = {
        "escaped NUL": b"/v1/chat%00/completions",
        "escaped line end": b"/v1/chat%0d%0aX:y/completions",
        "escaped slash": b"/v1/chat%2fcompletions",
        "escaped backslash": b"/v1/chat%5ccompletions",
        "escaped dots": b"/v1/%2e%2e/chat/completions",
        "escaped twice": b"/v1/%252e%252e/chat/completions",
        "an escaped letter": b"/v1/ch%61t/completions",
        "half an escape": b"/v1/chat/completions%",
        "a broken escape": b"/v1/chat/completions%zz",
        "overlong UTF-8": b"/v1/%c0%af/chat/completions",
        "an escape of Unicode": b"/v1/chat%u002fcompletions",
        "dots": b"/v1/../v1/chat/completions",
        "a dot": b"/v1/./chat/completions",
        "dots and a semicolon": b"/v1/..;/chat/completions",
        "a backslash": b"/v1\\chat\\completions",
        "a slash at its end": _PATH + b"/",
        "a parameter": _PATH + b";x=1",
        "a full stop at its end": _PATH + b".",
    }
    cases = [
        answered(f"target with {name}", _line(target=target), status=404, code="not_found")
        for name, target in elsewhere.items()
    ]
    flat = {
        "two slashes at its start": b"/" + _PATH,
        "upper case": b"/V1/CHAT/COMPLETIONS",
        "a URL inside": b"/http://other.test/v1/chat/completions",
        "nothing but a slash": b"/",
        "a way out": b"/../../../../etc/passwd",
    }
    cases += [
        answered(f"target with {name}", _line(target=target), status=404, code="not_found")
        for name, target in flat.items()
    ]
    cases += [
        refused("target empty", post(line=b"POST  HTTP/1.1")),
        refused("target twice", post(line=b"POST %b %b HTTP/1.1" % (_PATH, _PATH))),
        answered("target * of OPTIONS", _line(b"OPTIONS", b"*"), status=404, code="not_found"),
        fine("target of this authority", _line(target=b"http://gateway.test" + _PATH)),
        fine("target of this authority in upper case", _line(target=b"HTTP://GATEWAY.TEST" + _PATH)),
        fine("target with a query", _line(target=_PATH + b"?x=%00&y=%0d%0a")),
        fine("target with an odd query", _line(target=_PATH + b"?;&==&?//..\\|{}")),
        fine("target behind two spaces", _line(b"POST ")),
    ]
    return cases


def _long_targets() -> list[Case]:
    cases = [
        refused(
            f"target of {size} bytes",
            _line(target=b"/v1/" + b"x" * (size - 4)),
            status=414,
            code="uri_too_long",
        )
        for size in (8_193, 9_000, 20_000)
    ]
    cases += [
        refused(
            f"target of {size} bytes without an end",
            b"GET /v1/" + b"x" * (size - 4),
            status=414,
            code="uri_too_long",
        )
        for size in (65_540, 1_048_576)
    ]
    return cases


def _line_ends() -> list[Case]:
    return [
        refused("line ends of LF", post(end=b"\n")),
        refused("line ends of CR", post(end=b"\r")),
        refused("line ends of LF CR", post(end=b"\n\r")),
        refused("line ends of CR CR LF", post(end=b"\r\r\n")),
        refused("line end of LF behind the request line", post().replace(b"\r\n", b"\n", 1)),
        refused("line end of CR behind the request line", post().replace(b"\r\n", b"\r", 1)),
        refused("line end of LF behind the host", post().replace(HOST + b"\r\n", HOST + b"\n")),
        refused("line end of CR behind the host", post().replace(HOST + b"\r\n", HOST + b"\r")),
        refused("empty line of LF", post().replace(b"\r\n\r\n", b"\r\n\n")),
        refused("empty line of CR", post().replace(b"\r\n\r\n", b"\r\n\rX")),
        refused("end of head of two LF", post().replace(b"\r\n\r\n", b"\n\n")),
        refused("empty line behind the request line", post(line=LINE + b"\r\n ")),
        fine("empty lines before the request", b"\r\n\r\n" + post()),
        refused("a line before the request", b"x\r\n" + post()),
        refused("a space behind the request line's end", post().replace(b"\r\n", b"\r\n ", 1)),
        refused("vertical tab in the request line", post(line=LINE.replace(b" ", b"\x0b", 1))),
        refused("tabs in the request line", post(line=LINE.replace(b" ", b"\t"))),
        refused("NUL behind the request line", post(line=LINE + b"\x00")),
        Case(
            "byte by byte", tuple(bytes([byte]) for byte in post()), ((200, None),), upstream=1, closes=False
        ),
        Case(
            "cut in the middle of each line",
            (
                *(piece + b"\r\n" for piece in (LINE, HOST, *FIELDS)),
                b"Content-Length: %d\r" % len(BODY),
                b"\n\r",
                b"\n" + BODY,
            ),
            ((200, None),),
            upstream=1,
            closes=False,
        ),
    ]


METHODS = _methods()
VERSIONS = _versions()
TARGETS = _targets()
PATHS = _paths()
LONG_TARGETS = _long_targets()
LINE_ENDS = _line_ends()
