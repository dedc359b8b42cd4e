"""JSON with the texts in it redacted; whatever has no match keeps its bytes.

`rewritten` goes over a whole document without building it. Each string is a text of its own, but
for those that hold no words: identifiers, signatures, what is base64. Objects that a tool was
called with, or gave back, may hold anything under any name, so all of them is looked at, names and
numbers included. What proves a thought, a signature, is emptied when the thought was changed, since
it would prove another one. In answers, what spells them out token by token is left out.

`JsonStream` does it to JSON that comes in pieces, as tools' arguments do. A match outside of the
strings becomes a string, so that JSON stays JSON. A text of a request that is JSON itself is read
that way, too, where it has characters that are spelt by their numbers: what they spell is found.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from llmgw.redaction.rule import Rule
from llmgw.redaction.text import PLACEHOLDERS, TextStream, redacted

Path = tuple[str | int, ...]
Rewrite = Callable[[str], str]

_TOKEN = re.compile(r'"((?:[^"\\]++|\\.)*+)"(\s*+:\s*+)?|[{}\[\]]', re.DOTALL)
_SHORTEST = 6
"""Characters of the shortest match there is."""
_NO_WORDS = frozenset(
    {
        *("id", "call_id", "tool_call_id", "tool_use_id", "item_id", "file_id", "container_id"),
        *("response_id", "previous_response_id", "system_fingerprint", "obfuscation"),
        *("signature", "thoughtSignature", "thought_signature", "encrypted_content"),
        *("type", "role", "object", "model", "status", "finish_reason", "stop_reason"),
        *("media_type", "mimeType", "mime_type"),
    }
)
_FREE = frozenset({"arguments", "args", "input", "metadata", "data"})
_FUNCTION_RESPONSES = frozenset({"functionResponse", "function_response"})
"""Members whose objects are the caller's or the model's own; of the latter, the one named `response`."""
_PROOFS = frozenset({"signature", "thoughtSignature", "thought_signature", "encrypted_content"})
_THOUGHTS = frozenset({"thinking", "reasoning", "reasoning.text"})
_SPELT_OUT = frozenset({"logprobs", "top_logprobs", "logprobsResult", "token_ids", "prompt_logprobs"})
_NUMBERS = re.compile(r"\[\s*+[0-9]")
_BINARY = re.compile(r"(?:data:[^,]{0,256};base64,)?[A-Za-z0-9+/_-]{512,}+=*+")


class _Frame:
    """An object or a list. key: the member that it stands in. name: where in the one around it."""

    __slots__ = ("changed", "index", "is_list", "is_thought", "key", "name", "proofs")

    def __init__(self, key: str, name: str | int, *, is_list: bool) -> None:
        self.key = key
        self.name = name
        self.is_list = is_list
        self.index = -1
        self.is_thought = False
        self.changed = False
        self.proofs: list[tuple[int, int]] = []


def rewritten(
    text: str,
    rules: tuple[Rule, ...],
    counts: Counter[str],
    *,
    answer: bool = False,
    at: Mapping[Path, Rewrite] | None = None,
) -> str:
    """A JSON document with its texts redacted; the same object when there was nothing.

    answer: it is a model's, so that tokens are left out of it.
    at: what is done with the strings at certain places instead.
    """
    edits: list[tuple[int, int, str]] = []
    frame = _Frame("", "", is_list=True)
    frames = [frame]
    key = ""
    position = 0
    while (token := _TOKEN.search(text, position)) is not None:
        begin, position = token.span()
        raw = token[1]
        if token[2] is not None:
            key = raw
            if raw == "thought" and text.startswith("true", position):
                frame.is_thought = True
            continue
        sign = token[0]
        if sign in "}]":
            if len(frames) > 1:
                frames.pop()
                if frame.is_thought and frame.changed:
                    edits += ((*proof, '""') for proof in frame.proofs)
                frames[-1].changed = frames[-1].changed or frame.changed
                frame = frames[-1]
                key = frame.key if frame.is_list else ""
            continue
        frame.index += 1
        if raw is None:
            if answer and (key in _SPELT_OUT or (key == "context" and _NUMBERS.match(text, begin))):
                position = _end(text, begin)
                edits.append((begin, position, "[]" if sign == "[" else "null"))
            elif sign == "{" and _is_free(key, frame):
                position = _end(text, begin)
                new = in_json(text[begin:position], rules, counts)
                if new is not None:
                    frame.changed = True
                    edits.append((begin, position, new))
            else:
                frame = _Frame(key, frame.index if frame.is_list else key, is_list=sign == "[")
                frames.append(frame)
            continue
        rewrite = None
        if at:
            place = (*(one.name for one in frames[2:]), frame.index if frame.is_list else key)
            rewrite = at.get(place)
        if rewrite is not None:
            said = _decoded(raw)
            new = rewrite(said)
        else:
            if key == "type" and raw in _THOUGHTS:
                frame.is_thought = True
            elif key in _PROOFS:
                frame.proofs.append((begin, position))
            if len(raw) < _SHORTEST or key in _NO_WORDS or _BINARY.fullmatch(raw):
                continue
            said = _decoded(raw)
            inside = key == "arguments" or (not answer and "\\u" in said and _is_json(said))
            new = in_json(said, rules, counts) if inside else redacted(said, rules, counts)
            frame.changed = frame.changed or (new is not None and new != said)
        if new is not None and new != said:
            edits.append((begin, position, f'"{_encoded(new)}"'))
    return _spliced(text, edits)


def in_json(text: str, rules: tuple[Rule, ...], counts: Counter[str]) -> str | None:
    """JSON that may hold anything anywhere, redacted; None when there was nothing."""
    found: Counter[str] = Counter()
    new = JsonStream(rules, found).feed(text, last=True)
    counts.update(found)
    return new if found else None


class JsonStream:
    """JSON that comes in pieces.

    counts: matches by kind.
    """

    __slots__ = ("_outside", "_rest", "_string", "counts", "rules")

    def __init__(self, rules: tuple[Rule, ...], counts: Counter[str]) -> None:
        self.rules = rules
        self.counts = counts
        self._outside = TextStream(rules, counts)
        self._string: TextStream | None = None
        self._rest = ""

    @property
    def held(self) -> int:
        return len(self._rest) + self._outside.held + (self._string.held if self._string is not None else 0)

    def feed(self, piece: str, *, last: bool = False) -> str:
        """What may go on by now; with `last`, all of it."""
        text = self._rest + piece
        self._rest = ""
        out: list[str] = []
        at = 0
        while at < len(text):
            string = self._string
            if string is None:
                end = text.find('"', at)
                between = self._outside.feed(text[at : end if end >= 0 else len(text)], last=end >= 0)
                out.append(_PLACEHOLDER.sub(r'"\g<0>"', between))
                if end < 0:
                    break
                out.append('"')
                self._outside = TextStream(self.rules, self.counts)
                self._string = TextStream(self.rules, self.counts)
                at = end + 1
                continue
            found = _CONTENT.match(text, at)
            assert found is not None
            at = found.end()
            out.append(_encoded(string.feed(_decoded(found[0]))))
            if at == len(text):
                break
            if text[at] == '"':
                out.append(_encoded(string.feed("", last=True)) + '"')
                self._string = None
                at += 1
            elif len(text) - at < _LONGEST_ESCAPE and not last:
                self._rest = text[at:]
                break
            else:
                out.append(_encoded(string.feed(text[at])))
                at += 1
        if last:
            if self._string is not None:
                out.append(_encoded(self._string.feed("", last=True)))
            out.append(_PLACEHOLDER.sub(r'"\g<0>"', self._outside.feed("", last=True)))
        return "".join(out)


_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS.values())))
_HIGH = r"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW = r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_CONTENT = re.compile(
    rf'(?:[^"\\]++|{_HIGH}{_LOW}|(?!{_HIGH}(?:\\(?:u[0-9a-fA-F]{{0,3}})?)?\Z)\\(?:u[0-9a-fA-F]{{4}}|[^u]))*+',
    re.DOTALL,
)
"""Of a string, up to an escape that is not whole yet."""
_LONGEST_ESCAPE = 12
_BAD_ESCAPE = re.compile(r'\\(?:(?=["\\/bfnrtu])(?!u(?![0-9a-fA-F]{4}))(.)|)', re.DOTALL)
_TO_ESCAPE = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')


def _decoded(raw: str) -> str:
    """The text of a string's characters as JSON has them."""
    if "\\" not in raw:
        return raw
    try:
        text = json.loads(f'"{raw}"', strict=False)
    except ValueError:
        text = json.loads(f'"{_BAD_ESCAPE.sub(_mended, raw)}"', strict=False)
    assert isinstance(text, str)
    return text


def _mended(found: re.Match[str]) -> str:
    return found[0] if found[1] is not None else "\\\\"


def _encoded(text: str) -> str:
    if _TO_ESCAPE.search(text) is None:
        return text
    plain = any("\ud800" <= one <= "\udfff" for one in text)
    return json.dumps(text, ensure_ascii=plain)[1:-1]


def _is_json(text: str) -> bool:
    """Whether a text is a document of its own, as results of tools are."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        msgspec.json.decode(text.encode())
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return True


def _is_free(key: str, frame: _Frame) -> bool:
    """Whether an object that stands in `frame` may hold anything under any name."""
    return not frame.is_list and (key in _FREE or (key == "response" and frame.key in _FUNCTION_RESPONSES))


def _end(text: str, begin: int) -> int:
    """Where what begins with a bracket ends."""
    depth = 0
    for token in _TOKEN.finditer(text, begin):
        if token[1] is None:
            depth += 1 if token[0] in "{[" else -1
            if depth == 0:
                return token.end()
    return len(text)


def _spliced(text: str, edits: list[tuple[int, int, str]]) -> str:
    if not edits:
        return text
    pieces: list[str] = []
    at = 0
    for start, end, new in sorted(edits):
        pieces += (text[at:start], new)
        at = end
    pieces.append(text[at:])
    return "".join(pieces)
