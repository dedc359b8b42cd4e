"""Faults that a request asks `echo` for, in its own words: `[[echo status=503 retry-after=7]]`.

    status=503        answer with an error of that status
    retry-after=7     say so in the answer's head
    delay=2s          wait before answering
    tokens=100        answer with so many words instead of the request's
    pace=50           tokens a second, instead of the configured pace
    stall=3           fall silent after so many tokens (0: before the head)
    cut=3             break the connection after so many tokens (0: before the head)
    malformed=3       send garbage after so many tokens (0: instead of an answer)
    usage=none        report no usage

The tokens are those of the answer, so what a stream opens with is not counted. Unstreamed,
`stall` never answers, `cut` breaks off halfway and `malformed` answers garbage, at any number
but 0. The directives are left out of the answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmgw.providers.echo_answers import BadEchoRequest

_DIRECTIVE = re.compile(r"\s*\[\[echo((?:\s+[a-z-]+=[^\s\]]*)+)\s*\]\]")
_MAX = 100_000


@dataclass(slots=True)
class Script:
    """What to do. Counts are None where nothing was asked."""

    status: int = 200
    retry_after: int | None = None
    delay_s: float = 0.0
    tokens: int | None = None
    pace: float | None = None
    stall: int | None = None
    cut: int | None = None
    malformed: int | None = None
    usage: bool = True


def read_script(text: str) -> tuple[Script, str]:
    """The script in `text`, and `text` without it. Raises BadEchoRequest for what it does not know."""
    script = Script()
    for found in _DIRECTIVE.finditer(text):
        for pair in found[1].split():
            name, _, value = pair.partition("=")
            _apply(script, name, value)
    rest = _DIRECTIVE.sub("", text)
    if script.tokens is not None:
        rest = " ".join(f"word{number}" for number in range(script.tokens))
    return script, rest


def _apply(script: Script, name: str, value: str) -> None:
    try:
        if name == "usage" and value == "none":
            script.usage = False
        elif name == "delay":
            script.delay_s = _seconds(value)
        elif name == "pace":
            script.pace = float(_whole(value))
        elif name == "status":
            script.status = _whole(value)
            if not 400 <= script.status <= 599:
                raise ValueError
        elif name in ("tokens", "stall", "cut", "malformed"):
            setattr(script, name, _whole(value))
        elif name == "retry-after":
            script.retry_after = _whole(value)
        else:
            raise BadEchoRequest(f"echo knows no directive '{name}'")
    except ValueError as error:
        if isinstance(error, BadEchoRequest):
            raise
        raise BadEchoRequest(f"echo cannot read '{name}={value[:40]}'") from None


def _whole(value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) > _MAX:
        raise ValueError
    return int(value)


def _seconds(value: str) -> float:
    number, unit = (value[:-2], 0.001) if value.endswith("ms") else (value.removesuffix("s"), 1.0)
    return min(float(_whole(number)) * unit, 3600.0)
