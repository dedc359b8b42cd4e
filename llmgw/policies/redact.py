"""Takes personal data and secrets out of what is asked and out of what is answered.

Stands in a plan only where the configuration names kinds. A request is redacted once it may pass,
before anything keeps it or sends it on: every text of its JSON, whatever the dialect, with all else
byte for byte as it came; of a form, its fields but not its files.

Promise: with `on_error: block`, what could not be redacted goes nowhere.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable

from llmgw.core.errors import RedactionFailed
from llmgw.core.exchange import Exchange
from llmgw.redaction.json_text import rewritten
from llmgw.redaction.rule import Rule
from llmgw.redaction.text import redacted, rules_of
from llmgw.wire.envelope import Envelope
from llmgw.wire.multipart import parse_form

OFF_LOOP_BYTES = 32 * 1024
"""A body above this is redacted in a thread, so that other requests go on meanwhile."""
REQUEST, RESPONSE = "request", "response"
FAILED = "failed"


class Redaction:
    """What is redacted of a plan's requests and answers.

    requests, responses: kinds. blocks: what cannot be redacted is not passed on.
    """

    __slots__ = ("_asked", "answered", "blocks", "requests", "responses")

    def __init__(self, requests: Iterable[str], responses: Iterable[str], *, blocks: bool = True) -> None:
        self.requests = tuple(requests)
        self.responses = tuple(responses)
        self.blocks = blocks
        self._asked: tuple[Rule, ...] = rules_of(self.requests)
        self.answered: tuple[Rule, ...] = rules_of(self.responses)

    def joined(self, other: Redaction | None) -> Redaction:
        """Both: for a request that one plan hands on to another."""
        if other is None:
            return self
        return Redaction(
            dict.fromkeys((*self.requests, *other.requests)),
            dict.fromkeys((*self.responses, *other.responses)),
            blocks=self.blocks or other.blocks,
        )

    def request(self, ex: Exchange) -> None:
        """Redact what is asked. Raises RedactionFailed."""
        if not self._asked:
            return
        counts: Counter[str] = Counter()
        try:
            if ex.form is None:
                self._json(ex, counts)
            else:
                self._form(ex, counts)
        except Exception as error:
            self.fail(ex, REQUEST, error)
        note(ex, REQUEST, counts)

    def answer(self, ex: Exchange, body: bytes) -> bytes:
        """A whole answer or error as the client gets it. Raises RedactionFailed."""
        counts: Counter[str] = Counter()
        try:
            text, code = _text(body)
            if text.lstrip()[:1] in ("{", "["):
                new = rewritten(text, self.answered, counts, answer=True)
            else:
                new = redacted(text, self.answered, counts)
        except Exception as error:
            self.fail(ex, RESPONSE, error)
            return body
        note(ex, RESPONSE, counts)
        return body if new == text else new.encode(code)

    def fail(self, ex: Exchange, at: str, error: Exception) -> None:
        """Count a failure. Raises RedactionFailed where it blocks."""
        note(ex, at, {FAILED: 1})
        if self.blocks:
            raise RedactionFailed(
                f"the {at} could not be redacted, so it was not passed on", detail=type(error).__name__
            ) from error

    def _json(self, ex: Exchange, counts: Counter[str]) -> None:
        text = ex.body.decode()
        new = rewritten(text, self._asked, counts)
        if new != text:
            body = new.encode()
            envelope = Envelope(body)
            ex.body, ex.envelope = body, envelope

    def _form(self, ex: Exchange, counts: Counter[str]) -> None:
        form = ex.form
        assert form is not None
        edits: dict[str, str] = {}
        for part in form.parts:
            if part.filename is None and part.name != "model":
                text = form.raw[part.start : part.end].decode()
                new = redacted(text, self._asked, counts)
                if new != text:
                    edits[part.name] = new
        if edits:
            ex.body = form.spliced(edits)
            ex.form = parse_form(ex.body, ex.fields.get(b"content-type", b"").decode("latin-1"))


def _text(body: bytes) -> tuple[str, str]:
    """A body as text, and its encoding. Raises ValueError for one that is none."""
    if b"\0" in body:
        raise ValueError("the body is not a text")
    try:
        return body.decode(), "utf-8"
    except UnicodeDecodeError:
        return body.decode("latin-1"), "latin-1"


def note(ex: Exchange, at: str, counts: Counter[str] | dict[str, int]) -> None:
    """Add to what was redacted of a request and its answer, for whoever counts it."""
    for kind, count in counts.items():
        if ex.redactions is None:
            ex.redactions = Counter()
        ex.redactions[at, kind] += count


class Redact:
    """Redacts requests. Implements `ports.policy.Policy`."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction

    def admit(self, ex: Exchange) -> Awaitable[None] | None:
        """Raises RedactionFailed."""
        if len(ex.body) > OFF_LOOP_BYTES:
            return redact_off_loop(self._redaction, ex)
        self._redaction.request(ex)
        return None


async def redact_off_loop(redaction: Redaction, ex: Exchange) -> None:
    """As `Redaction.request`, in a thread."""
    await asyncio.get_running_loop().run_in_executor(None, redaction.request, ex)
