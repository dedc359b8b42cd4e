"""Requests with what they must not say taken out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmgw.core.errors import RedactionFailed
from llmgw.core.exchange import Exchange
from llmgw.dialects.endpoints import CHAT_COMPLETIONS, ENDPOINTS
from llmgw.engine.body import open_body
from llmgw.policies import redact
from llmgw.policies.redact import Redact, Redaction

MAIL = "bob@example.com"


def asked(
    body: bytes, *, path: str = CHAT_COMPLETIONS.path, content_type: bytes = b"application/json"
) -> Exchange:
    ex = Exchange("r", ENDPOINTS[path], {b"content-type": content_type}, body, None, 0.0, 0.0, "g")
    open_body(ex)
    return ex


def test_the_body_and_what_is_seen_of_it_are_the_same() -> None:
    ex = asked(json.dumps({"model": "m", "messages": [{"content": MAIL}], "stream": True}).encode())

    assert Redact(Redaction(["email"], [])).admit(ex) is None

    assert json.loads(ex.body)["messages"] == [{"content": "[EMAIL]"}]
    assert ex.envelope is not None
    assert ex.envelope.raw is ex.body
    assert ex.redactions == {("request", "email"): 1}


def test_a_body_without_any_is_the_same_object() -> None:
    body = b'{"model": "m", "messages": []}'
    ex = asked(body)

    Redact(Redaction(["email"], [])).admit(ex)

    assert ex.body is body
    assert ex.redactions is None


def test_twice_is_once() -> None:
    ex = asked(json.dumps({"model": "m", "messages": [{"content": MAIL}]}).encode())
    redaction = Redaction(["email"], [])
    redaction.request(ex)
    once = ex.body

    redaction.request(ex)

    assert ex.body is once
    assert ex.redactions == {("request", "email"): 1}


async def test_a_long_body_is_redacted_in_a_thread() -> None:
    words = "word " * 20_000
    ex = asked(json.dumps({"model": "m", "messages": [{"content": f"{words}{MAIL}"}]}).encode())

    waiting = Redact(Redaction(["email"], [])).admit(ex)

    assert waiting is not None
    await waiting
    assert json.loads(ex.body)["messages"][0]["content"] == f"{words}[EMAIL]"


def test_a_form() -> None:
    """Its fields but the model, and not its files."""
    part = 'Content-Disposition: form-data; name="{}"{}\r\n\r\n{}'.format
    parts = [part("model", "", "m"), part("prompt", "", MAIL), part("file", '; filename="a"', MAIL)]
    body = "".join(f"--b\r\n{one}\r\n" for one in parts) + "--b--\r\n"
    path, kind = "/v1/audio/transcriptions", b"multipart/form-data; boundary=b"
    ex = asked(body.encode(), path=path, content_type=kind)

    Redaction(["email"], []).request(ex)

    assert ex.form is not None
    assert ex.form.raw is ex.body
    assert ex.form.field("prompt") == "[EMAIL]"
    assert ex.body.count(MAIL.encode()) == 1


@pytest.mark.parametrize("blocks", [True, False])
def test_what_cannot_be_redacted(blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told why but the log, and that not with what was asked."""

    def breaks(*_: Any, **__: Any) -> str:
        raise ValueError(MAIL)

    monkeypatch.setattr(redact, "rewritten", breaks)
    ex = asked(json.dumps({"model": "m", "messages": [{"content": MAIL}]}).encode())
    redaction = Redaction(["email"], ["email"], blocks=blocks)

    if blocks:
        for attempt in (lambda: redaction.request(ex), lambda: redaction.answer(ex, ex.body)):
            with pytest.raises(RedactionFailed) as failed:
                attempt()
            assert (failed.value.status, failed.value.code) == (500, "redaction_failed")
            assert MAIL not in f"{failed.value.message} {failed.value.detail}"
    else:
        redaction.request(ex)
        assert redaction.answer(ex, ex.body) is ex.body
    assert ex.redactions == {("request", "failed"): 1, ("response", "failed"): 1}


def test_an_answer_that_is_no_text() -> None:
    ex = asked(b'{"model": "m"}')

    with pytest.raises(RedactionFailed):
        Redaction([], ["email"]).answer(ex, MAIL.encode("utf-16"))
    assert Redaction([], ["email"]).answer(ex, b"caf\xe9 bob@example.com") == b"caf\xe9 [EMAIL]"
    assert Redaction([], ["email"]).answer(ex, b"an error for bob@example.com") == b"an error for [EMAIL]"


def test_two_together() -> None:
    both = Redaction(["email"], ["ip"]).joined(Redaction(["ip", "email"], [], blocks=False))

    assert (both.requests, both.responses, both.blocks) == (("email", "ip"), ("ip",), True)
