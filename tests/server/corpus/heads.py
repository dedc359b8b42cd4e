"""Header fields: names, values, `Host`, sizes, and those that ask for something."""

from __future__ import annotations

from tests.server.corpus.case import BODY, FIELDS, LINE, OTHER_LINE, Case, answered, fine, post, refused

_CONTROLS = [byte for byte in (*range(32), 127) if byte not in b"\t\n\r"]
_NOT_IN_NAMES = b'()<>@,;\\"/[]?={} \t\x7f\x80\xff'


def _values() -> list[Case]:
    cases = [refused(f"value with byte {byte:#04x}", post(b"X-Note: a%cb" % byte)) for byte in _CONTROLS]
    cases += [
        refused("value with NUL in the credential", post(host=b"Host: gateway.test\r\nX-Key: sk\x00test")),
        refused("value with CR", post(b"X-Note: a\rb")),
        refused("value with LF", post(b"X-Note: a\nb")),
        refused("value with LF and a field", post(b"X-Note: a\nX-Admin: b")),
        refused("value with CR and a field", post(b"X-Note: a\rX-Admin: b")),
        refused("value folded with a space", post(b"X-Note: a\r\n b")),
        refused("value folded with a tab", post(b"X-Note: a\r\n\tb")),
        refused("value folded at its start", post(b"X-Note:\r\n a")),
        refused("host folded", post(host=b"Host:\r\n gateway.test")),
        refused("folded before the first field", post(host=b" Host: gateway.test")),
        fine("value with high bytes", post(b"X-Note: \x80\xff\xc3\xa9")),
        fine("value empty", post(b"X-Note:")),
        fine("value of blanks", post(b"X-Note: \t ")),
        fine("value with blanks around it", post(b"X-Note: \t a \t ")),
        fine("value with a tab", post(b"X-Note: a\tb")),
        fine("credential with blanks behind it", post(host=b"Host: gateway.test\r\nX-Api-Key: sk-test \t")),
    ]
    return cases


def _names() -> list[Case]:
    cases = [
        refused(f"name with byte {byte:#04x}", post(b"X-%cNote: a" % byte))
        for byte in (*_NOT_IN_NAMES, *range(9), 11, 12, *range(14, 32))
    ]
    cases += [
        refused("name empty", post(b": a")),
        refused("name without a colon", post(b"X-Note")),
        refused("name behind a space", post(b" X-Note: a")),
        refused("name before a space", post(b"X-Note : a")),
        refused("name before a tab", post(b"X-Note\t: a")),
        refused("line of a space", post(b" ")),
        refused("line of NUL", post(b"\x00")),
        refused("line of a colon", post(b":")),
        refused("length before a space", post(b"Content-Length : %d" % len(BODY), length=False)),
        refused("host before a space", post(host=b"Host : gateway.test")),
        fine("name of every sign", post(b"!#$%&'*+-.^_`|~: a")),
        fine(
            "names in upper case",
            post()
            .upper()
            .replace(BODY.upper(), BODY)
            .replace(LINE.upper(), LINE)
            .replace(b"BEARER SK-TEST", b"Bearer sk-test"),
        ),
    ]
    return cases


def _hosts() -> list[Case]:
    invalid = {
        "empty": b"",
        "of blanks": b"  ",
        "with a user": b"user@gateway.test",
        "with a path": b"gateway.test/",
        "with a query": b"gateway.test?x",
        "with a path and a query": b"gateway.test/?",
        "with a fragment": b"gateway.test#x",
        "with a backslash": b"gateway.test\\x",
        "with a space": b"gateway.test other.test",
        "with a comma": b"gateway.test,other.test",
        "with a list": b"gateway.test, gateway.test",
        "with a quote": b'"gateway.test"',
        "with an escape": b"gateway%2etest",
        "with a star": b"*.test",
        "with a scheme": b"http://gateway.test",
        "in UTF-8": "gätewäy.test".encode(),
        "with two dots": b"gateway..test",
        "with a dot at its start": b".gateway.test",
        "of a dot": b".",
        "of a colon": b":",
        "of a port": b":80",
        "with a port too large": b"gateway.test:65536",
        "with a long port": b"gateway.test:000080",
        "with a port of letters": b"gateway.test:http",
        "with a signed port": b"gateway.test:+80",
        "with two ports": b"gateway.test:80:80",
        "with half a bracket": b"[::1",
        "with the other bracket": b"::1]",
        "with an address unbracketed": b"::1",
        "with a name bracketed": b"[gateway.test]",
        "with something behind a bracket": b"[::1]x",
        "with a zone": b"[fe80::1%25eth0]",
        "with a semicolon": b"gateway.test;x",
        "with a long label": b"x" * 64 + b".test",
        "too long": b"x." * 200 + b"test",
        "with an angle": b"<script>",
        "with an equals": b"a=b",
    }
    cases = [refused(f"host {name}", post(host=b"Host: " + host)) for name, host in invalid.items()]
    cases += [
        refused(f"host {name}, by the app", post(host=b"Host: " + invalid[name], line=OTHER_LINE))
        for name in ("empty", "with a user", "with a path", "with a comma")
    ]
    cases += [
        refused("host missing", post(host=None)),
        refused("host missing, by the app", post(host=None, line=OTHER_LINE)),
        refused("host missing of a GET", b"GET /v1/models HTTP/1.1\r\n\r\n"),
        refused("host twice", post(b"Host: gateway.test")),
        refused("host twice and different", post(b"Host: other.test")),
        refused("host twice, by the app", post(b"Host: gateway.test", line=OTHER_LINE)),
        refused("host twice, in another case", post(b"hOST: gateway.test")),
        refused("host twice, once empty", post(b"Host:")),
        refused(
            "host of version 1.0 twice", post(b"Host: other.test", line=b"POST /v1/chat/completions HTTP/1.0")
        ),
        fine("host with a port", post(host=b"Host: gateway.test:8080")),
        fine("host with an empty port", post(host=b"Host: gateway.test:")),
        fine("host with a dot at its end", post(host=b"Host: gateway.test.")),
        fine("host of an address", post(host=b"Host: 127.0.0.1:80")),
        fine("host of a long address", post(host=b"Host: [::1]:80")),
        fine("host with an underscore", post(host=b"Host: llm_gateway:80")),
        fine("host without a blank", post(host=b"Host:gateway.test")),
        fine("host behind blanks", post(host=b"Host: \t gateway.test \t")),
    ]
    return cases


def _sizes() -> list[Case]:
    def large(name: str, *fields: bytes) -> Case:
        return refused(name, post(*fields), status=431, code="headers_too_large")

    many = [b"X-%d: y" % number for number in range(10_000)]
    return [
        large("101 fields", *many[:97]),
        large("1,000 fields", *many[:1000]),
        large("10,000 fields", *many),
        large("200 fields of one name", *[b"X: y"] * 200),
        large("a value of 32 KiB", b"X: " + b"y" * 32_768),
        large("a value of 64 KiB", b"X: " + b"y" * 65_536),
        large("a value of 10 MiB", b"X: " + b"y" * 10_485_760),
        large("a name of 64 KiB", b"X" * 65_536 + b": y"),
        large("50 values of 1 KiB", *[b"X-%d: " % number + b"y" * 1000 for number in range(50)]),
        large("a credential of 64 KiB", b"X-Api-Key: " + b"y" * 65_536),
        refused(
            "a head without an end",
            LINE + b"\r\n" + b"X: y\r\n" * 20_000,
            status=431,
            code="headers_too_large",
        ),
        fine("96 fields", post(*many[:90])),
        fine("a value of 24 KiB", post(b"X: " + b"y" * 24_576)),
    ]


def _encodings() -> list[Case]:
    cases = [
        answered(
            f"content encoding {coding}",
            post(b"Content-Encoding: " + coding.encode()),
            status=415,
            code="unsupported_encoding",
        )
        for coding in (
            "gzip",
            "x-gzip",
            "br",
            "deflate",
            "zstd",
            "compress",
            "gzip, gzip",
            "gzip, identity",
            "GZIP",
            "aes128gcm",
            "nonsense",
        )
    ]
    cases += [
        answered(
            "content encoding twice",
            post(b"Content-Encoding: gzip", b"Content-Encoding: gzip"),
            status=415,
            code="unsupported_encoding",
        ),
        answered(
            "content encoding gzip, by the app",
            post(b"Content-Encoding: gzip", line=OTHER_LINE),
            status=415,
            code="unsupported_encoding",
        ),
        fine("content encoding identity", post(b"Content-Encoding: identity")),
        fine("expectation of continue", post(b"Expect: 100-continue")),
        fine("expectation of continue in upper case", post(b"EXPECT: 100-CONTINUE")),
        fine("expectation of something else", post(b"Expect: 200-ok")),
        fine("expectation of nothing", post(b"Expect:")),
        fine("expectation of continue, by the app", post(b"Expect: 100-continue", line=OTHER_LINE)),
    ]
    return cases


def _wishes() -> list[Case]:
    cases = []
    upgrades = {
        "to a WebSocket": (
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            b"Sec-WebSocket-Version: 13",
        ),
        "to HTTP/2, as Java's client asks": (
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
        ),
        "to TLS": (b"Connection: upgrade", b"Upgrade: TLS/1.2"),
        "to several": (b"Connection: keep-alive, Upgrade", b"Upgrade: h2c, websocket"),
        "to nothing": (b"Connection: Upgrade", b"Upgrade:"),
        "that its connection does not tell": (b"Upgrade: h2c",),
        "that only its connection tells": (b"Connection: Upgrade",),
    }
    for name, fields in upgrades.items():
        cases.append(fine(f"upgrade {name}", post(*fields)))
        cases.append(fine(f"upgrade {name}, by the app", post(*fields, line=OTHER_LINE)))
    h2c = upgrades["to HTTP/2, as Java's client asks"]
    cases += [
        fine(
            "upgrade in chunks",
            post(
                *h2c,
                b"Transfer-Encoding: chunked",
                length=False,
                body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
            ),
        ),
        fine("upgrade whose body comes later", post(*h2c)[:-20], post()[-20:]),
        Case(
            "upgrade twice in a row", (post(*h2c) * 2,), ((200, None), (200, None)), upstream=2, closes=False
        ),
        Case(
            "upgrade with a request for its body",
            (post(*h2c, body=b"GET /v1/models HTTP/1.1\r\nHost: gateway.test\r\n\r\n"),),
            closes=False,
        ),
        Case(
            "upgrade without a body and a request behind it",
            (
                b"GET /v1/models HTTP/1.1\r\nHost: gateway.test\r\n"
                b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + post(),
            ),
            ((401, "invalid_credentials"), (200, None)),
            upstream=1,
            closes=False,
        ),
        fine("connection close", post(b"Connection: close"), closes=True),
        fine("connection close in upper case", post(b"CONNECTION: CLOSE"), closes=True),
        fine("connection close among others", post(b"Connection: keep-alive, close"), closes=True),
        fine("connection close twice", post(b"Connection: close", b"Connection: close"), closes=True),
        refused("connection that names the credential", post(b"Connection: Authorization, X-Request-Id")),
        refused("connection that names the host", post(b"Connection: Host, Content-Length")),
        refused(
            "connection that names who is asking", post(b"Connection: close", b"Connection: X-Forwarded-For")
        ),
        fine("connection that names the request", post(b"Connection: X-Request-Id, TE")),
        *(
            refused(f"identity spelled {name}", post(f"{name}: a".encode()))
            for name in ("X_User", "X.Forwarded.For", "X-Forwarded_For", "X_Forwarded-Client-Cert")
        ),
        fine("connection of nonsense", post(b"Connection: ,,;=")),
        answered(
            "credential twice",
            post(b"Authorization: Bearer sk-rival"),
            status=401,
            code="invalid_credentials",
        ),
        answered(
            "credential in high bytes",
            post(host=b"Host: gateway.test\r\nX-Api-Key: \xff\xfe"),
            status=401,
            code="invalid_credentials",
        ),
        answered(
            "credential missing",
            post().replace(FIELDS[0] + b"\r\n", b""),
            status=401,
            code="invalid_credentials",
        ),
        fine(
            "identity of others",
            post(
                b"X-Forwarded-For: 10.0.0.1",
                b"X-User: root",
                b"X-Tenant: rival",
                b"X-Authenticated-User: root",
                b"Client-Cert: :AAAA:",
            ),
        ),
        fine(
            "method override",
            post(b"X-HTTP-Method-Override: DELETE", b"X-Original-URL: /admin", b"X-Rewrite-URL: /admin"),
        ),
    ]
    return cases


VALUES = _values()
NAMES = _names()
HOSTS = _hosts()
SIZES = _sizes()
ENCODINGS = _encodings()
WISHES = _wishes()
