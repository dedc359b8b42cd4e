"""Routes that no request gets to: an earlier one takes all of theirs, or nothing is served there.

What is said is certain, and not all that could be: patterns of which one is wider than the other
are told apart, those that overlap are not looked into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from llmgw.config.problems import Problem, problem_at, render_path
from llmgw.config.routes import MAX_VALUE, HeaderMatch, MatchSettings, RouteSettings
from llmgw.config.source import ListNode, Node, node_at, place_of, plain

_SERVED = ("v1", "v1beta", "v2", "openai", "api", "rerank")
"""The first segments of the paths that are served."""
_TENANT = "{tenant}"
_SET = re.compile(r"\[!?+\]?+[^\]]*\]")
"""One of these characters, as `fnmatch` reads it."""


def warnings_of_routes(root: Node) -> Iterator[Problem]:
    """One for each such route. root: of a valid document."""
    node = node_at(root, ("routes",))
    before: list[tuple[frozenset[tuple[str, ...]], RouteSettings]] = []
    for index, item in enumerate(node.items if isinstance(node, ListNode) else ()):
        route = RouteSettings.model_validate(plain(item))
        plain_words = frozenset(_plain_words(route.match))
        # Nearly all pairs differ in a plain word, so only the others are looked at closely.
        taken = next(
            (at for at, (said, one) in enumerate(before) if said <= plain_words and covers(one, route)), None
        )
        if taken is not None:
            first = ("routes", taken)
            where = f"{place_of(root, first)} {render_path(first)}"
            reason = f'no request gets here: "{before[taken][1].name}" at {where} takes every one before'
            yield problem_at(place_of(root, ("routes", index)), ("routes", index), reason)
        elif (segment := _unserved(route)) is not None:
            path = ("routes", index, "match", "path")
            left = " once strip_prefix is off" if route.strip_prefix is not None else "; set strip_prefix"
            reason = f"no request gets here: nothing is served below /{segment}{left}"
            yield problem_at(place_of(root, path), path, reason)
        before.append((plain_words, route))


def _plain_words(match: MatchSettings) -> Iterator[tuple[str, ...]]:
    """Conditions that only a route with the very same one can be covered by."""
    for name in ("tenant", "user"):
        if (value := getattr(match, name)) is not None:
            yield name, value
    for label, value in match.key_labels.items():
        yield "label", label, value
    for kind, matches in (("claim", match.claim), ("header", match.headers)):
        for name, value in matches.items():
            if value.equals is not None:
                yield kind, name, value.equals


def covers(earlier: RouteSettings, later: RouteSettings) -> bool:
    """Whether every request that fits `later` fits `earlier`."""
    # A request without a prefix is for every route, one with a prefix for those that take it off.
    if later.strip_prefix not in (None, earlier.strip_prefix):
        return False
    wide, narrow = earlier.match, later.match
    return (
        wide.tenant in (None, narrow.tenant)
        and wide.user in (None, narrow.user)
        and wide.key_labels.items() <= narrow.key_labels.items()
        and (wide.model is None or _model_covers(wide.model, narrow.model or "*"))
        and (wide.host is None or (narrow.host is not None and _host_covers(wide.host, narrow.host)))
        and _values_cover(wide.headers, narrow.headers)
        and _values_cover(wide.claim, narrow.claim)
        and (wide.path is None or _path_covers(wide.path.split("/"), (narrow.path or "/**").split("/")))
    )


def _model_covers(wide: str, narrow: str) -> bool:
    if wide == narrow:
        return True
    # What the narrower one leaves open is a character that only an asterisk can stand for.
    if not set("?[") & set(wide):
        return fnmatchcase(_SET.sub("?", narrow), wide)
    return not set("*?[") & set(narrow) and fnmatchcase(narrow, wide)


def _host_covers(wide: str, narrow: str) -> bool:
    if wide.startswith("*."):
        return narrow.removeprefix(_TENANT).removeprefix("*").endswith(wide[1:])
    return wide == narrow


def _values_cover(wide: Mapping[str, HeaderMatch], narrow: Mapping[str, HeaderMatch]) -> bool:
    return all(
        (other := narrow.get(name)) is not None and _value_covers(value, other)
        for name, value in wide.items()
    )


def _value_covers(wide: HeaderMatch, narrow: HeaderMatch) -> bool:
    if wide == narrow:
        return True
    if wide.present is not None:
        return wide.present and narrow.present is not False
    if wide.prefix is not None:
        return (narrow.equals or narrow.prefix or "").startswith(wide.prefix)
    value = narrow.equals
    if wide.regex is None or value is None or len(value.encode()) > MAX_VALUE:
        return False
    return re.fullmatch(wide.regex.encode(), value.encode()) is not None


def _path_covers(wide: Sequence[str], narrow: Sequence[str]) -> bool:
    """Segment by segment: `fits[j]` says whether what is left of `wide` covers `narrow[j:]`."""
    fits = [False] * len(narrow) + [True]
    for glob in reversed(wide):
        rest = fits
        fits = [False] * len(narrow) + [glob == "**" and rest[-1]]
        for at in range(len(narrow) - 1, -1, -1):
            if glob == "**":
                fits[at] = rest[at] or fits[at + 1]
            elif narrow[at] != "**":
                fits[at] = rest[at + 1] and _segment_covers(glob, narrow[at])
    return fits[0]


def _segment_covers(wide: str, narrow: str) -> bool:
    return fnmatchcase(narrow, wide.replace("[", "[[]").replace("?", "[?]"))


def _unserved(route: RouteSettings) -> str | None:
    """The first segment of a path at which nothing is served."""
    path = route.match.path
    if path is None:
        return None
    first = path.removeprefix(route.strip_prefix or "").split("/")[1]
    return None if "*" in first or first in _SERVED else first
