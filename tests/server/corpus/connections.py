"""Several requests on a connection, and clients that end in the middle of one."""

from __future__ import annotations

from tests.server.corpus.case import BODY, CHUNKED, HOST, LINE, OTHER_LINE, Case, chunked, post

_GET = b"GET /v1/models HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer sk-test\r\n\r\n"
_OK = (200, None)
_BAD = (400, "invalid_request")


def _pipelines() -> list[Case]:
    return [
        Case("20 requests at once", (post() * 20,), (_OK,) * 20, upstream=20, closes=False),
        Case(
            "20 requests at once, by the app",
            (post(line=OTHER_LINE) * 20,),
            (_OK,) * 20,
            upstream=20,
            closes=False,
        ),
        Case(
            "30 requests of three kinds at once",
            ((post() + _GET + post(line=OTHER_LINE)) * 10,),
            (_OK,) * 30,
            upstream=20,
            closes=False,
        ),
        Case(
            "a request behind a bad body", (post(body=b"{") + post(),), (_BAD, _OK), upstream=1, closes=False
        ),
        Case(
            "a request behind a path that is not there",
            (post(line=b"POST /v1/nothing HTTP/1.1") + post(),),
            ((404, "not_found"), _OK),
            upstream=1,
            closes=False,
        ),
        Case(
            "a request behind one that is too large",
            (post(b"Content-Length: 2000000", length=False), post()),
            ((413, "request_too_large"),),
        ),
        Case(
            "half a head behind a large request",
            (post(body=BODY + b" " * 60_000) + post()[:40], post()[40:]),
            (_OK, _OK),
            upstream=2,
            closes=False,
        ),
        Case("two hosts behind a request", (post() + post(b"Host: x"),), ("cut",)),
        Case("garbage in the packet of a request", (post() + b"garbage\r\n\r\n",), ("cut",)),
        Case("2,000 requests at once", (_GET * 2000,), ("cut",)),
        Case("a request behind garbage", (b"garbage\r\n\r\n" + post(),), (_BAD,)),
        Case("a request behind two hosts", (post(b"Host: x") + post(),), (_BAD,)),
        Case("a request behind a smuggled one", (post(CHUNKED) + post(),), (_BAD,)),
        Case(
            "garbage behind a close",
            (post(b"Connection: close") + b"\x00\x01garbage\r\n\r\n",),
            (_OK,),
            upstream=1,
        ),
        Case("a request behind a close", (post(b"Connection: close") + post(),), (_OK,), upstream=1),
        Case(
            "a request behind a close, by the app",
            (post(b"Connection: close", line=OTHER_LINE) + post(),),
            (_OK,),
            upstream=1,
        ),
        Case(
            "a request behind version 1.0",
            (post(line=b"POST /v1/chat/completions HTTP/1.0") + post(),),
            (_OK,),
            upstream=1,
        ),
        Case("garbage behind an answer", (post(), b""), (_OK,), upstream=1, closes=False),
        Case(
            "empty lines between requests",
            (post() + b"\r\n\r\n" + post(),),
            (_OK, _OK),
            upstream=2,
            closes=False,
        ),
        Case(
            "a body longer than it says",
            (post(body=b"{}")[:-2] + b"{}" + post(),),
            (_BAD, _OK),
            upstream=1,
            closes=False,
        ),
    ]


def _leavers() -> list[Case]:
    whole = post()
    head = whole[: -len(BODY)]
    cuts = {
        "at once": b"",
        "in the method": b"PO",
        "behind the method": b"POST ",
        "in the target": b"POST /v1/ch",
        "in the version": LINE[:-2],
        "before the request line's LF": LINE + b"\r",
        "behind the request line": LINE + b"\r\n",
        "in a name": LINE + b"\r\nHo",
        "in a value": LINE + b"\r\nHost: gate",
        "behind a field": LINE + b"\r\n" + HOST + b"\r\n",
        "before the head's last LF": head[:-1],
        "before the body": head,
        "in the body": whole[:-5],
        "before the body, by the app": post(line=OTHER_LINE)[: -len(BODY)],
        "in the body, by the app": post(line=OTHER_LINE)[:-5],
        "before a chunk": chunked(b""),
        "in a chunk's size": chunked(b"3"),
        "behind a chunk's size": chunked(b"3e\r\n"),
        "in a chunk": chunked(b"3e\r\n" + BODY[:9]),
        "behind a chunk": chunked(b"3e\r\n" + BODY + b"\r\n"),
        "before the last line": chunked(b"3e\r\n" + BODY + b"\r\n0\r\n"),
        "in a trailer": chunked(b"3e\r\n" + BODY + b"\r\n0\r\nX: "),
        "in a chunk, by the app": chunked(b"3e\r\n" + BODY[:9], line=OTHER_LINE),
        "behind an empty line": b"\r\n",
    }
    return [Case(f"leaves {name}", (sent,), (), leaves=True) for name, sent in cuts.items()]


PIPELINES = _pipelines()
LEAVERS = _leavers()
