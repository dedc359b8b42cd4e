"""Bodies that arrive whole and cannot be passed on."""

from __future__ import annotations

from tests.server.corpus.case import OTHER_LINE, Case, answered, post

_START = b'{"model":"gpt-4o",'
_BODIES = {
    "empty": b"",
    "half an object": b"{",
    "a list": b"[]",
    "a number": b"5",
    "a text": b'"gpt-4o"',
    "null": b"null",
    "two objects": b'{"model":"gpt-4o"}{"model":"gpt-4o"}',
    "an object and a letter": b'{"model":"gpt-4o"}x',
    "an object and NUL": b'{"model":"gpt-4o"}\x00',
    "single quotes": b"{'model':'gpt-4o'}",
    "a comma too many": b'{"model":"gpt-4o",}',
    "a comment": b'{"model":"gpt-4o"/* */}',
    "a name without quotes": b'{model:"gpt-4o"}',
    "a BOM": b'\xef\xbb\xbf{"model":"gpt-4o"}',
    "UTF-16": '{"model":"gpt-4o"}'.encode("utf-16"),
    "UTF-32": '{"model":"gpt-4o"}'.encode("utf-32"),
    "Latin-1": '{"model":"gpt-4o","x":"é"}'.encode("latin-1"),
    "overlong UTF-8": _START + b'"x":"\xc0\xaf"}',
    "a surrogate in UTF-8": _START + b'"x":"\xed\xa0\x80"}',
    "a cut character": _START + b'"x":"\xe2\x82"}',
    "a lone surrogate": _START + b'"x":"\\ud800"}',
    "surrogates in the wrong order": _START + b'"x":"\\udc00\\ud800"}',
    "a line end in a text": _START + b'"x":"\n"}',
    "NUL in a text": _START + b'"x":"\x00"}',
    "an unknown escape": _START + b'"x":"\\x41"}',
    "a cut escape": _START + b'"x":"\\u00"}',
    "NaN": _START + b'"temperature":NaN}',
    "Infinity": _START + b'"temperature":Infinity}',
    "minus Infinity": _START + b'"temperature":-Infinity}',
    "a number too large": _START + b'"temperature":1e999}',
    "a number with a zero before it": _START + b'"n":01}',
    "a number with a sign": _START + b'"n":+1}',
    "a hexadecimal number": _START + b'"n":0x1}',
    "a number without an end": _START + b'"n":1.}',
    "a long number": _START + b'"n":' + b"9" * 4301 + b"}",
    "the model twice": b'{"model":"gpt-4o","model":"echo"}',
    "the model twice, once escaped": b'{"model":"gpt-4o","mod\\u0065l":"echo"}',
    "the stream twice": _START + b'"stream":false,"stream":true}',
    "no model": b'{"messages":[]}',
    "an empty model": b'{"model":""}',
    "a model that is a number": b'{"model":5}',
    "a model that is null": b'{"model":null}',
    "a model that is a list": b'{"model":["gpt-4o"]}',
    "a model that is an object": b'{"model":{"a":1}}',
    "a stream that is a text": _START + b'"stream":"yes"}',
    "lists in depth": _START + b'"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects in depth": _START + b'"x":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "lists that never end": _START + b'"x":' + b"[" * 200_000,
    "very many members": _START + b",".join(b'"%d":0' % number for number in range(60_000)) + b"}",
    "form data": b"model=gpt-4o",
    "XML": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]><x>&y;</x>',
    "YAML": b"model: !!python/object/apply:os.system [id]",
    "a pickle": b"\x80\x04cos\nsystem\n(S'id'\ntR.",
    "gzip that is not announced": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
}
_BY_THE_APP = ("empty", "half an object", "a BOM", "the model twice", "lists in depth", "NaN", "UTF-16")


BODIES: list[Case] = [
    answered(f"body: {name}", post(body=body), status=400, code="invalid_request")
    for name, body in _BODIES.items()
] + [
    answered(
        f"body: {name}, by the app",
        post(body=_BODIES[name], line=OTHER_LINE),
        status=400,
        code="invalid_request",
    )
    for name in _BY_THE_APP
]
