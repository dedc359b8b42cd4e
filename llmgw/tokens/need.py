"""How many tokens a request asks for, before anybody has counted them."""

from __future__ import annotations

from msgspec import Struct

from llmgw.core.exchange import Exchange
from llmgw.core.operation import Operation
from llmgw.tokens.estimate import estimate_request, estimate_tokens
from llmgw.wire.envelope import EnvelopeError

_CAPS = {
    Operation.CHAT: ("max_completion_tokens", "max_tokens"),
    Operation.COMPLETION: ("max_tokens",),
    Operation.RESPONSES: ("max_output_tokens",),
}
"""Members that cap the answer, by operation; where there are two, the newer name first."""
NESTED_CAPS = {"ollama": ("options", "num_predict"), "gemini": ("generationConfig", "maxOutputTokens")}
"""Of the dialects that cap the answer inside another member: that member, and the cap's name."""
_CHOICES = ("n", "best_of")
_NESTED_CHOICES = {"gemini": ("generationConfig", "candidateCount")}
_ALSO = {
    "generationConfig": "generation_config",
    "maxOutputTokens": "max_output_tokens",
    "candidateCount": "candidate_count",
}
"""Second spellings that Google takes. (Protocol Buffers: JSON format)"""
_SILENT = frozenset({Operation.EMBEDDINGS, Operation.MODERATION, Operation.RERANK})
"""Operations that answer with no tokens."""
_FORM_INPUT_TOKENS = 256
"""Of a form: its text is a short prompt, and files are not billed by their bytes."""
_TEXT_BYTES = 4096
"""A body this short cannot hold much but text, and the length alone says enough of it."""
_ABSURD = 10**9
"""More tokens than all answers to a request can have. Counters add up many such in 64 bits."""


class Need(Struct, frozen=True, gc=False):
    """input: an estimate. stated: the cap of one answer, None where the caller names none."""

    input: int
    stated: int | None
    choices: int
    silent: bool = False

    @property
    def expected(self) -> int:
        """Input, and what the caller says it may get."""
        return self.input + self.output(0)

    def output(self, reserve: int) -> int:
        """The most it may get; `reserve` for each answer where the caller names no cap."""
        if self.silent:
            return 0
        return min(_ABSURD, (reserve if self.stated is None else self.stated) * self.choices)


def need_of(ex: Exchange) -> Need:
    """The need of a request whose body is open. Worked out once."""
    known = ex.need
    if isinstance(known, Need):
        return known
    need = ex.need = _need(ex)
    return need


def input_tokens(ex: Exchange) -> int:
    """An estimate of its input alone, for the record of a request that is lost with its process."""
    known = ex.need
    if isinstance(known, Need):
        return known.input
    if ex.envelope is None:
        return _FORM_INPUT_TOKENS
    if len(ex.body) <= _TEXT_BYTES:
        return estimate_tokens(len(ex.body), ascii=ex.body.isascii())
    return estimate_request(ex.body)


def used_tokens(ex: Exchange) -> int:
    """What it came to in the end: input and output."""
    usage = ex.usage
    return usage.input_tokens + usage.output_tokens if usage is not None and ex.opened else 0


def _need(ex: Exchange) -> Need:
    operation = ex.endpoint.operation
    if ex.envelope is None:
        return Need(_FORM_INPUT_TOKENS, None, 1)
    tokens = estimate_request(ex.body)
    if operation in _SILENT:
        return Need(tokens, 0, 1, True)
    nested = NESTED_CAPS.get(ex.endpoint.dialect)
    if nested is not None:
        several = _NESTED_CHOICES.get(ex.endpoint.dialect)
        candidates = _inside(ex, *several) if several is not None else None
        return Need(tokens, _inside(ex, *nested), max(1, candidates or 1))
    stated = next((cap for name in _CAPS.get(operation, ()) if (cap := _whole(ex, name)) is not None), None)
    choices = max(1, *(_whole(ex, name) or 1 for name in _CHOICES))
    if operation is Operation.COMPLETION:
        choices *= _prompts(ex)
    return Need(tokens, stated, choices)


def _prompts(ex: Exchange) -> int:
    """How many prompts there are, each of which is answered: texts, or lists of tokens."""
    prompts = _value(ex, "prompt")
    if isinstance(prompts, list) and prompts and isinstance(prompts[0], str | list):
        return len(prompts)
    return 1


def _whole(ex: Exchange, name: str) -> int | None:
    """A member that is a number of at least 0; what is none is for the provider to refuse."""
    return _cap(_value(ex, name))


def _inside(ex: Exchange, outer: str, inner: str) -> int | None:
    """The same for a member of an object, in either spelling."""
    for name in (outer, _ALSO.get(outer)):
        value = None if name is None else _value(ex, name)
        if isinstance(value, dict):
            return _cap(value.get(inner, value.get(_ALSO.get(inner))))
    return None


def _value(ex: Exchange, name: str) -> object:
    assert ex.envelope is not None
    if name not in ex.envelope.members:
        return None
    try:
        return ex.envelope.value(name)
    except EnvelopeError:
        return None


def _cap(value: object) -> int | None:
    # Some servers take `1e5` for a whole number.
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return None
    return int(min(value, _ABSURD))
