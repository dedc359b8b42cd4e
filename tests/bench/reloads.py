"""`python -m tests.bench reloads`: what following the configuration costs, and what it never does.

Traffic goes on through spells without edits and spells with one each 0.6 s, in turns, so that both
meet the machine in the same mood. Each configuration calls another upstream model, which an answer
names in its body, so an answer made of two generations would show.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import Bound, percentile
from tests.bench.findings import Finding
from tests.bench.served import Served, serving
from tests.bench.traffic import MODEL, Outcome, Traffic

EVERY_S = 0.6
SPELL = 33
"""Edits in a spell."""
QUIET_S = 8.0
PER_SECOND = 200.0
STREAM_WORDS = 60
FIRST_TOKEN_MS = 50
EFFECT_S = 1.0
REJECT_MS = 200.0
BROKEN = 100
_OURS = (f"{MODEL}:", "acme:", "tenant-")
"""Lines that begin with a name of our own: another is as good."""
_NS = 1e9


@dataclass(slots=True)
class Edits:
    """What was written when. spells: begin and end of those with edits."""

    written_ns: list[int]
    spells: list[tuple[int, int]]

    def in_spell(self, moment_ns: int) -> bool:
        return any(begin <= moment_ns <= end for begin, end in self.spells)


def measure(
    work: Path, edits: int, workers: list[int], cpu: int, say: Callable[[str], None]
) -> list[Finding]:
    """The figures for each number of workers, and those of broken files."""
    figures: list[Finding] = []
    for count in workers:
        with serving(work, count, first_token_ms=FIRST_TOKEN_MS, cpu=cpu) as served:
            figures += _reloads(served, edits, say)
            if count == workers[0]:
                figures += _broken(served, edits, say)
    return figures


def _reloads(served: Served, edits: int, say: Callable[[str], None]) -> list[Finding]:
    made = Edits([], [])
    generations = {served.generation(number): number for number in range(edits + 1)}
    done = threading.Event()
    name = f"reloads, {served.workers} worker{'s' if served.workers > 1 else ''}"

    def edit() -> None:
        try:
            _edit(served, edits, made, name, say)
        finally:
            done.set()

    traffic = Traffic(served.port, PER_SECOND, STREAM_WORDS, drain_s=10.0)
    editor = threading.Thread(target=edit)
    editor.start()
    traffic.run(done.is_set)
    editor.join()
    say(f"{name}: {len(traffic.outcomes)} requests, sent late by {_p99_ms(traffic.late_ns):.2f} ms at p99")
    for failure in sorted(set(traffic.failures))[:5]:
        say(f"[red]{failure}[/]")
    whole = [one for one in traffic.outcomes if one.failure is None]
    mixed = [one for one in whole if one.model != f"generation-{generations.get(one.generation, -1)}"]
    late = [one for one in whole if not _in_time(one, made, generations)]
    figures = [
        _none(name, f"failed, of {len(traffic.outcomes):,} requests", len(traffic.outcomes) - len(whole)),
        _none(
            name,
            f"truncated, of {sum(one.streamed for one in traffic.outcomes):,} streams",
            sum(failure.startswith(("truncated", "cut")) for failure in traffic.failures),
        ),
        _none(name, "answers of mixed or unknown generations", len(mixed)),
        _none(name, f"answers by what was replaced {EFFECT_S:g} s before", len(late)),
        Finding(
            name,
            "longest until an edit was in effect everywhere",
            _slowest_s(whole, made, generations),
            "s",
            Bound(at_most=EFFECT_S),
        ),
        Finding(
            name,
            f"reloads, of {edits} edits",
            served.metric("llmgw_config_reloads"),
            detail="edits that come together are one",
        ),
    ]
    for what, of, streams in (
        ("p99 of answers", _total_ns, False),
        ("p99 to a stream's first event", _first_ns, True),
    ):
        chosen = [one for one in whole if one.streamed == streams]
        quiet = [of(one) for one in chosen if not made.in_spell(one.sent_ns)]
        busy = [of(one) for one in chosen if made.in_spell(one.sent_ns)]
        quiet_ms, busy_ms = _p99_ms(quiet), _p99_ms(busy)
        figures.append(
            Finding(
                name,
                f"{what}, with edits over without",
                busy_ms / quiet_ms,
                "",
                Bound(at_most=1.1),
                f"{busy_ms:.1f} ms over {quiet_ms:.1f} ms, of which the provider takes {FIRST_TOKEN_MS}",
            )
        )
    return figures


def _edit(served: Served, edits: int, made: Edits, name: str, say: Callable[[str], None]) -> None:
    """Spells of edits between quiet ones, the first and the last of which are quiet."""
    made.written_ns.append(time.monotonic_ns())
    number = 0
    while number < edits:
        time.sleep(QUIET_S)
        say(f"{name}: edit {number + 1} of {edits}")
        begin = due = time.monotonic()
        for _ in range(min(SPELL, edits - number)):
            number += 1
            served.write(number)
            made.written_ns.append(time.monotonic_ns())
            due += EVERY_S
            time.sleep(max(0.0, due - time.monotonic()))
        made.spells.append((int(begin * _NS), int(time.monotonic() * _NS)))
        # The last one takes effect before the quiet.
        time.sleep(EFFECT_S)
    time.sleep(QUIET_S)


def _in_time(one: Outcome, made: Edits, generations: dict[str, int]) -> bool:
    """Whether what answered was at least what had been written a second before it was sent."""
    newest = bisect_right(made.written_ns, one.sent_ns - int(EFFECT_S * _NS)) - 1
    return generations.get(one.generation, -1) >= newest


def _slowest_s(whole: list[Outcome], made: Edits, generations: dict[str, int]) -> float:
    """The longest from an edit to the last request that began in a generation before it."""
    slowest = 0
    for one in whole:
        following = generations.get(one.generation, -1) + 1
        if following < len(made.written_ns):
            slowest = max(slowest, one.sent_ns - made.written_ns[following])
    return slowest / _NS


def _broken(served: Served, number: int, say: Callable[[str], None]) -> list[Finding]:
    """Broken files, each read when asked."""
    good = served.text(number)
    before = served.ask("workers")["workers"][0]["generation"]
    reloads = served.metric("llmgw_config_reloads")
    took_ms: list[float] = []
    unplaced = 0
    for text in broken(good):
        served.file.write_text(text)
        began = time.monotonic()
        answer = served.ask("reload")
        took_ms.append((time.monotonic() - began) * 1e3)
        problems = answer["problems"]
        placed = problems and all("llmgw.yaml:" in problem for problem in problems)
        unplaced += not placed
        if not placed:
            say(f"[red]no place: {problems} of {text[-80:]!r}[/]")
    after = served.ask("workers")["workers"][0]["generation"]
    effects = (after != before) + served.metric("llmgw_config_reloads") - reloads
    name = f"{len(took_ms)} broken files"
    served.file.write_text(good)
    return [
        _none(name, "with an effect", effects),
        _none(name, "refused without their place", unplaced),
        Finding(
            name, "slowest to be refused, reading included", max(took_ms), "ms", Bound(at_most=REJECT_MS)
        ),
    ]


def broken(good: str) -> list[str]:
    """A hundred different ways to be wrong."""
    lines = good.splitlines()
    found: list[str] = []
    for index, line in enumerate(lines):
        if ":" in line:
            found.append("\n".join([*lines[:index], line.replace(":", "", 1), *lines[index + 1 :]]))
            if not line.strip().startswith(_OURS):
                found.append("\n".join([*lines[:index], line.replace(":", "x:", 1), *lines[index + 1 :]]))
            found.append("\n".join([*lines[:index], line + " [", *lines[index + 1 :]]))
            found.append("\n".join([*lines[:index], "\t" + line, *lines[index + 1 :]]))
    found += [good + more for more in ("\0", "- 1\n", "a: &a [*a]\n", "<<: {}\n", "version: 1\n")]
    found += [good.replace("demo", "") + f"include: [missing-{number}.yaml]\n" for number in range(BROKEN)]
    return found[:BROKEN]


def _total_ns(one: Outcome) -> int:
    return one.done_ns - one.sent_ns


def _first_ns(one: Outcome) -> int:
    return one.first_ns - one.sent_ns


def _p99_ms(values_ns: list[int]) -> float:
    return percentile(values_ns, 0.99) / 1e6


def _none(scenario: str, what: str, value: float) -> Finding:
    return Finding(scenario, what, value, "", Bound(at_most=0))
