from __future__ import annotations

import json

import pytest

from llmgw.core.usage import Usage
from llmgw.dialects.endpoints import OLLAMA_CHAT
from llmgw.dialects.ollama_stream import MAX_LINE
from llmgw.dialects.ollama_tap import OllamaBodyTap, OllamaStreamTap

CALL = {"function": {"name": "f", "arguments": {"a": 1}}}
LINES = [
    {"model": "m", "message": {"role": "assistant", "content": "", "thinking": "hm "}, "done": False},
    {"model": "m", "message": {"role": "assistant", "content": "H\u00e9llo"}, "done": False},
    {"model": "m", "message": {"role": "assistant", "content": "", "tool_calls": [CALL]}, "done": False},
    {"model": "m", "done": True, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 3},
]
STREAM = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in LINES)


@pytest.mark.parametrize("size", [1, 7, len(STREAM)])
def test_a_stream_passes_untouched_and_tells_its_usage(size: int) -> None:
    tap = OllamaStreamTap(OLLAMA_CHAT, True)

    out = b"".join(tap.feed(STREAM[at : at + size]) for at in range(0, len(STREAM), size)) + tap.rest()

    assert out == STREAM
    assert tap.usage == Usage(7, 3)
    assert tap.done
    assert not tap.failed
    assert tap.upstream_id is None
    assert tap.delivered_text() == 'hm Héllof{"a": 1}'
    assert tap.delivered_bytes() == len(tap.delivered_text())
    assert tap.moved()
    assert not tap.moved()


def test_a_last_line_without_its_end_is_ended() -> None:
    tap = OllamaStreamTap(OLLAMA_CHAT, False)

    assert tap.feed(STREAM[:-1]) + tap.rest() == STREAM
    assert tap.done


def test_a_line_that_was_cut_does_not_go_on() -> None:
    tap = OllamaStreamTap(OLLAMA_CHAT, False)
    first = STREAM.index(b"\n") + 1

    assert tap.feed(STREAM[: first + 9]) == STREAM[:first]
    assert tap.rest() == b""
    assert not tap.done
    assert tap.usage is None


def test_an_error_of_the_upstreams_is_seen() -> None:
    tap = OllamaStreamTap(OLLAMA_CHAT, False)
    line = b'{"error":"out of memory"}\n'

    assert tap.feed(line) == line
    assert tap.failed
    assert not tap.done


def test_a_line_may_not_grow_for_ever() -> None:
    tap = OllamaStreamTap(OLLAMA_CHAT, False)

    with pytest.raises(ValueError, match="longer than"):
        tap.feed(b"x" * (MAX_LINE + 1))


def test_a_whole_answer_of_either_path() -> None:
    chat = json.dumps({**LINES[1], "done": True, "prompt_eval_count": 7, "eval_count": 3}).encode()
    tap = OllamaBodyTap(chat)
    generated = OllamaBodyTap(b'{"response":"Hi","thinking":"hm ","done":true}')

    assert (tap.body, tap.usage, tap.delivered_text()) == (chat, Usage(7, 3), "Héllo")
    assert (generated.usage, generated.delivered_text()) == (None, "hm Hi")
    assert tap.upstream_id is None
    with pytest.raises(ValueError, match="Ollama"):
        OllamaBodyTap(b"<html>")
